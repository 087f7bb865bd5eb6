"""Labels on thought and EOS only, rows padded, own thoughts put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from o1_retriever import O1Embedder
from o1_retriever.training.batch import Assembler, JointBatch
from o1_retriever.training.examples import Example

MakeExamples = Callable[..., list[Example]]
MakeAssembler = Callable[..., Assembler]
BASE = {"pos": ["p"], "neg": ["n"]}


def test_labels_by_hand(examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder) -> None:
    """`<query> q </query> <thought> a b EOS <emb>`: a, b and EOS are predicted from positions 3, 4, 5."""
    examples = examples_of([{"query": "q", "thought": "ab", **BASE}, {"query": "q", "thought": "", **BASE}])
    batch = assembler(tiny)(examples, {})
    a, b = tiny.prompts.text_ids(["ab"], 9).ids[0]
    prompt = tiny.prompts.queries(["q"], 9).ids[0]
    eos, emb, pad = tiny.prompts.eos, tiny.prompts.emb, tiny.prompts.pad
    assert batch.queries.ids.tolist() == [[*prompt, a, b, eos, emb], [*prompt, emb, pad, pad, pad]]
    assert batch.queries.last.tolist() == [7, 4]
    assert batch.labels.rows.tolist() == [0, 0, 0]
    assert batch.labels.positions.tolist() == [3, 4, 5]
    assert batch.labels.tokens.tolist() == [a, b, eos]


def test_widths_are_multiples(examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder) -> None:
    batch = assembler(tiny, multiple=8)(examples_of([{"query": "q" * 20, "thought": "t", **BASE}]), {})
    assert batch.queries.ids.shape[1] == 32 and batch.passages is not None and batch.passages.ids.shape == (4, 8)


def test_own_thoughts_are_read_and_not_written(
    examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder
) -> None:
    examples = examples_of([{"query": "q", "thought": "given", **BASE}], own=1.0)
    waiting = assembler(tiny)(examples, {})
    sampled = assembler(tiny)(examples, {examples[0].visit: [7, 8]})
    assert len(waiting.labels.tokens) == len("given") + 1, "until one is sampled the row keeps its thought"
    assert len(sampled.labels.tokens) == 0
    assert sampled.queries.ids[0].tolist()[-4:] == [7, 8, tiny.prompts.eos, tiny.prompts.emb]
    nothing = assembler(tiny)(examples, {examples[0].visit: []})
    assert nothing.queries.ids[0].tolist()[-2:] == [tiny.prompts.eos, tiny.prompts.emb]


def test_evidence_is_read_its_target_written(
    examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder
) -> None:
    row = {"query": "q", "thought": "found", "evidence": True, "target": "st", **BASE}
    batch = assembler(tiny)(examples_of([row, {"query": "r", "thought": "t", **BASE}]), {})
    assert len(batch) == 2 and len(batch.queries.ids) == 3
    assert batch.labels.rows.tolist() == [1, 1, 2, 2, 2]
    assert tiny.prompts.thought_text(batch.labels.tokens.tolist()[2:4]) == "st"
    without = assembler(tiny, contrastive_weight=1.0)(examples_of([row]), {})
    assert len(without.queries.ids) == 1 and len(without.labels.tokens) == 0


def test_parts_that_nothing_needs_are_left_out(
    examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder
) -> None:
    examples = examples_of([{"query": "q", "thought": "t", **BASE}])
    writing = assembler(tiny, contrastive_weight=0.0)(examples, {})
    assert writing.passages is None and writing.bare is None and len(writing.labels.tokens) == 2
    bare = assembler(tiny, no_thought_weight=1.0)(examples, {}).bare
    assert bare is not None and bare.ids[0].tolist() == [*examples[0].prompt, tiny.prompts.emb]


def test_moving_keeps_everything(examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder) -> None:
    def flat(value: Any) -> list[Any]:
        if isinstance(value, torch.Tensor):
            return [value.device.type, value.shape]
        return [flat(v) for v in vars(value).values()] if hasattr(value, "__dict__") else [value]

    batch = assembler(tiny)(examples_of([{"query": "q", "thought": "t", **BASE}]), {})
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, JointBatch) and moved.facts.real.device.type == "meta"
    assert flat(batch) == flat(batch.to(torch.device("cpu"))) != flat(moved)


def test_a_cut_thought_has_no_end(examples_of: MakeExamples, assembler: MakeAssembler, tiny: O1Embedder) -> None:
    """EOS follows it, since `<emb>` is read behind EOS, but is not learned: the model would learn to stop there."""
    row = {"query": "q", "thought": "abcdef", **BASE}
    cut = assembler(tiny)(examples_of([row], max_thought_tokens=3), {})
    assert len(cut.labels.tokens) == 3 and tiny.prompts.eos not in cut.labels.tokens
    assert cut.queries.ids[0].tolist()[-2:] == [tiny.prompts.eos, tiny.prompts.emb]


def test_padding_stays_within_the_context(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    from o1_retriever.training.config import LossSettings

    examples = examples_of([{"query": "q" * 20, "thought": "t", **BASE}])
    assert Assembler(tiny.prompts, 8, LossSettings(), context=27)(examples, {}).queries.ids.shape[1] == 27

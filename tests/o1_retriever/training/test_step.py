"""A step's loss and gradients against formulas written out, and the gradient cache against the plain step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from o1_retriever import O1Embedder
from o1_retriever.training.batch import Assembler
from o1_retriever.training.config import LossSettings
from o1_retriever.training.examples import Example
from o1_retriever.training.joint import install
from o1_retriever.training.step import JointStep, NonFiniteLossError
from o1_retriever.training.teacher import Teacher

MakeEmbedder = Callable[..., O1Embedder]
MakeExamples = Callable[..., list[Example]]
Rows = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def step_of(assembler: Callable[..., Assembler]) -> Callable[..., JointStep]:
    """`step_of(embedder, settings, chunk_size)` on the embedder's own model, which is taught joint batches."""

    def make(embedder: O1Embedder, settings: LossSettings, chunk_size: int = 0, teacher: Any = None) -> JointStep:
        install(embedder.model)
        assemble = assembler(embedder, multiple=8, teacher=teacher, **dataclasses.asdict(settings))
        return JointStep(
            embedder.model, settings, assemble, chunk_size, Tensor.backward, nullcontext, torch.device("cpu")
        )

    return make


def gradients(embedder: O1Embedder) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in embedder.model.named_parameters() if p.grad is not None}
    embedder.model.zero_grad(set_to_none=True)
    return found


def test_loss_by_hand(examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any) -> None:
    """0.8 * mean_i -log softmax_j(<q_i, p_j> / 0.02) + 0.2 * mean over labels of -log p, from inference's vectors."""
    embedder, rows = make_embedder(), rows_of(3)
    examples = examples_of(rows, embedder=embedder, group_size=2)
    values = step_of(embedder, LossSettings()).run(examples, {})
    queries = embedder.encode_query([r["query"] for r in rows], thoughts=[[r["thought"]] for r in rows])
    texts = [embedder.checkpoint.tokenizer.decode(ids[:-1]) for e in examples for ids in e.passages]
    scores = (queries @ embedder.encode_document(texts).T / 0.02).astype(float)
    expected = sum(math.log(sum(math.exp(s - row[2 * i]) for s in row)) for i, row in enumerate(scores)) / 3
    assert float(values["contrastive"]) == pytest.approx(expected, rel=1e-4)
    lengths = sum(len(e.thought or []) + 1 for e in examples)
    nll = 0.0
    for example in examples:
        ids = torch.tensor([embedder.prompts.close(example.prompt, example.thought)])
        with torch.no_grad():
            logp = embedder.model(input_ids=ids).logits[0].log_softmax(-1)
        nll -= sum(float(logp[t, ids[0, t + 1]]) for t in range(len(example.prompt) - 1, ids.shape[1] - 2))
    assert float(values["generation"]) == pytest.approx(nll / lengths, rel=1e-4)
    assert float(values["loss"]) == pytest.approx(0.8 * expected + 0.2 * nll / lengths, rel=1e-4)


FURTHER = {"no_thought_weight": 0.3, "matching_weight": 0.2, "distillation_weight": 0.1}


@pytest.mark.parametrize("chunk_size", [1, 3, 4])
@pytest.mark.parametrize("further", [{}, FURTHER, {"contrastive_weight": 1.0}, {"contrastive_weight": 0.0}])
def test_cached_gradients_equal_plain_ones(
    chunk_size: int,
    further: dict[str, float],
    examples_of: MakeExamples,
    rows_of: Rows,
    make_embedder: MakeEmbedder,
    step_of: Any,
) -> None:
    embedder, rows = make_embedder(), rows_of(8)
    for row in rows[::2]:
        row |= {"pos_scores": [1.0], "neg_scores": [0.1, 0.2, 0.3]}
    rows[1]["thought"], rows[3]["neg"] = "", rows[3]["neg"][:1]
    settings = LossSettings(**further)
    examples = examples_of(rows, embedder=embedder)
    plain = step_of(embedder, settings).run(examples, {})
    expected = gradients(embedder)
    cached = step_of(embedder, settings, chunk_size).run(examples, {})
    found = gradients(embedder)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = gradient.norm().clamp(min=1e-6)
        assert (found[name] - gradient).norm() / scale < 1e-5, name
    assert {n: float(v) for n, v in cached.items()} == pytest.approx({n: float(v) for n, v in plain.items()}, rel=1e-4)


@pytest.mark.parametrize("groups", [2, 3, 100])
@pytest.mark.parametrize("chunk_size", [0, 3])
def test_length_groups_change_nothing(
    groups: int,
    chunk_size: int,
    examples_of: MakeExamples,
    rows_of: Rows,
    make_embedder: MakeEmbedder,
    step_of: Any,
) -> None:
    embedder, rows = make_embedder(), rows_of(8)
    for index, row in enumerate(rows):
        row["pos"] = [" ".join([row["pos"][0], *["more"] * (5 * index)])]
    settings = LossSettings(no_thought_weight=0.3, passage_generation_weight=0.5, passage_generation_share=1.0)
    examples = examples_of(rows, embedder=embedder)
    plain = step_of(embedder, settings).run(examples, {})
    expected = gradients(embedder)
    step = step_of(embedder, settings, chunk_size)
    step.assemble.length_groups = groups
    widths = step.assemble(examples, {}).passages.widths
    assert len(widths) > 1 and widths[0] < widths[-1] and list(widths) == sorted(widths)
    values = step.run(examples, {})
    assert {n: float(v) for n, v in values.items()} == pytest.approx({n: float(v) for n, v in plain.items()}, rel=1e-4)
    for name, gradient in gradients(embedder).items():
        assert (gradient - expected[name]).norm() / expected[name].norm().clamp(min=1e-6) < 1e-5, name


def test_dropout_is_replayed(
    examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """With dropout the second pass must see the first's masks: the surrogate's value then equals <v, dL/dv>."""
    embedder = make_embedder("gpt2")
    for module in embedder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    embedder.model.train()
    examples = examples_of(rows_of(4), embedder=embedder)
    step = step_of(embedder, LossSettings(contrastive_weight=1.0), 2)
    seen: list[Tensor] = []
    forward = step._forward

    def watch(batch: Any, with_nll: bool) -> dict[str, Tensor]:
        result = forward(batch, with_nll)
        seen.append(result["queries"].detach())
        return result  # type: ignore[no-any-return]

    step._forward = watch
    torch.manual_seed(0)
    step.run(examples, {})
    after = torch.rand(1)
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
    torch.manual_seed(0)
    step.run(examples, {})
    assert torch.equal(torch.rand(1), after)


def test_scale_and_masks(examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any) -> None:
    embedder = make_embedder()
    examples = examples_of(rows_of(4), embedder=embedder)
    step_of(embedder, LossSettings()).run(examples, {})
    whole = gradients(embedder)
    step_of(embedder, LossSettings()).run(examples, {}, scale=0.25)
    for name, gradient in gradients(embedder).items():
        torch.testing.assert_close(gradient * 4, whole[name], rtol=1e-3, atol=1e-6)


def test_fillers_and_copies_are_no_negatives(
    examples_of: MakeExamples, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """Two queries with the same positive and no negatives: nothing is left to contrast with, so the loss is 0."""
    embedder = make_embedder()
    rows = [{"query": q, "pos": ["the same"], "neg": [], "thought": "t"} for q in ("a", "b")]
    values = step_of(embedder, LossSettings()).run(examples_of(rows, embedder=embedder), {})
    assert float(values["contrastive"]) == pytest.approx(0.0, abs=1e-6)


def test_other_positives_of_a_row_are_no_negatives(
    examples_of: MakeExamples, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """Each query's positive is another known positive of the other's row: nothing is left to contrast with."""
    embedder = make_embedder()
    rows = [{"query": q, "pos": ["one text", "another"], "neg": [], "thought": "t"} for q in "abcdef"]
    examples = examples_of(rows, embedder=embedder)
    assert len({e.identities[0] for e in examples}) == 2, "both are drawn"
    values = step_of(embedder, LossSettings()).run(examples, {})
    assert float(values["contrastive"]) == pytest.approx(0.0, abs=1e-6)


def test_nothing_to_learn_still_steps(examples_of: MakeExamples, make_embedder: MakeEmbedder, step_of: Any) -> None:
    """Generation alone, on a batch whose queries have no thoughts: zero gradients, not a crash."""
    embedder = make_embedder()
    rows = [{"query": "a", "pos": ["p"], "neg": [], "thought": ""}]
    values = step_of(embedder, LossSettings(contrastive_weight=0.0)).run(examples_of(rows, embedder=embedder), {})
    assert float(values["loss"]) == 0.0
    assert all(float(g.abs().max()) == 0 for g in gradients(embedder).values())


@pytest.mark.parametrize("chunk_size", [0, 1])
def test_a_loss_that_is_not_finite_names_the_rows(
    chunk_size: int, examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    embedder, rows = make_embedder(), rows_of(3)
    rows[1]["query"] = "ZZZ"
    examples = examples_of(rows, embedder=embedder)
    token = embedder.prompts.text_ids(["Z"], 1).ids[0][0]
    with torch.no_grad():
        embedder.model.get_input_embeddings().weight[token] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"contrastive.*rows\.jsonl:2\. Look at these rows"):
        step_of(embedder, LossSettings(), chunk_size).run(examples, {})


class FixedTeacher:
    """Vectors that depend on the text's length alone."""

    def passages(self, texts: list[str]) -> Tensor:
        return torch.stack([torch.eye(32)[len(text) % 32] for text in texts])

    queries = passages
    thoughts = Teacher.thoughts


def test_teacher_and_passage_terms_by_hand(
    examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """1 - cosine to the teacher over real passages and bare queries; -log p of the passages' own tokens."""
    embedder, rows = make_embedder(), rows_of(2)
    rows[0]["neg"] = rows[0]["neg"][:1]  # two fillers, which take no part
    settings = LossSettings(
        teacher_passage_weight=2.0,
        teacher_query_weight=3.0,
        passage_generation_weight=5.0,
        passage_generation_share=1.0,
    )
    examples, teacher = examples_of(rows, embedder=embedder), FixedTeacher()
    values = step_of(embedder, settings, teacher=teacher).run(examples, {})
    real = [text for e in examples for text, there in zip(e.texts, e.real, strict=True) if there]
    targets = teacher.passages(real).numpy()
    far = 1 - (embedder.encode_document(real) * targets).sum(axis=1)
    assert len(real) == 6 and float(values["teacher_passage"]) == pytest.approx(float(far.mean()), abs=1e-5)
    queries = [row["query"] for row in rows]
    far = 1 - (embedder.encode_query(queries, 0) * teacher.queries(queries).numpy()).sum(axis=1)
    assert float(values["teacher_query"]) == pytest.approx(float(far.mean()), abs=1e-5)
    nll: list[float] = []
    for ids in embedder.prompts.passages(real, 99).ids:
        with torch.no_grad():
            logp = embedder.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        nll += [-float(logp[t, ids[t + 1]]) for t in range(len(ids) - 2)]
    assert float(values["passage_generation"]) == pytest.approx(sum(nll) / len(nll), rel=1e-4)
    weights = {"contrastive": 0.8, "generation": 0.2, "teacher_passage": 2.0, "teacher_query": 3.0}
    weights["passage_generation"] = 5.0
    assert float(values["loss"]) == pytest.approx(sum(w * float(values[n]) for n, w in weights.items()), rel=1e-5)


@pytest.mark.parametrize("sampled", [0, 2])
def test_teacher_of_own_thoughts_by_hand(
    sampled: int, examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """1 - cosine of queries with own thoughts to the teacher's bare ones; recorded thoughts are left alone."""
    embedder, teacher = make_embedder(), FixedTeacher()
    examples = [dataclasses.replace(e, own=True) for e in examples_of(rows_of(3), embedder=embedder)]
    own = {example.visit: [7, 8, 9] for example in examples[:sampled]}
    values = step_of(embedder, LossSettings(teacher_own_weight=2.0), teacher=teacher).run(examples, own)
    queries = [example.query for example in examples[:sampled]]
    text = embedder.checkpoint.tokenizer.decode([7, 8, 9])
    vectors = embedder.encode_query(queries, thoughts=[[text]] * sampled) if sampled else []
    far = [1 - float(v @ t) for v, t in zip(vectors, teacher.queries(queries).numpy() if sampled else [], strict=True)]
    assert float(values["teacher_own"]) == pytest.approx(sum(far) / max(len(far), 1), abs=1e-5)
    weights = {"contrastive": 0.8, "generation": 0.2, "teacher_own": 2.0}
    assert float(values["loss"]) == pytest.approx(sum(w * float(values[n]) for n, w in weights.items()), rel=1e-5)


def test_teacher_of_given_thoughts_by_hand(
    examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    """1 - cosine to the teacher's (query + thought) + (thought); own, dropped and evidence thoughts do not count."""
    embedder, teacher = make_embedder(), FixedTeacher()
    rows = rows_of(4)
    examples = examples_of(rows, embedder=embedder)
    examples[1] = dataclasses.replace(examples[1], thought=None, thought_text=None, writes=False)
    examples[2] = dataclasses.replace(examples[2], own=True)
    examples[3] = dataclasses.replace(examples[3], writes=False)
    settings = LossSettings(teacher_thought_weight=2.0)
    values = step_of(embedder, settings, teacher=teacher).run(examples, {examples[2].visit: [7, 8, 9]})
    query, thought = rows[0]["query"], rows[0]["thought"]
    both, alone = teacher.passages([f"{query} {thought}", thought]).numpy()
    vector, target = embedder.encode_query([query], thoughts=[[thought]])[0], both + alone
    far = 1 - float(vector @ target) / float(np.linalg.norm(target))
    assert float(values["teacher_thought"]) == pytest.approx(far, abs=1e-5)
    weights = {"contrastive": 0.8, "generation": 0.2, "teacher_thought": 2.0}
    assert float(values["loss"]) == pytest.approx(sum(w * float(values[n]) for n, w in weights.items()), rel=1e-5)
    values = step_of(embedder, settings, teacher=teacher).run([examples[1]], {})
    assert float(values["teacher_thought"]) == 0.0


def test_teacher_and_passage_terms_cached(
    examples_of: MakeExamples, rows_of: Rows, make_embedder: MakeEmbedder, step_of: Any
) -> None:
    embedder = make_embedder()
    examples = examples_of(rows_of(5), embedder=embedder)
    settings = LossSettings(
        teacher_passage_weight=2.0, teacher_query_weight=3.0, teacher_thought_weight=2.0, passage_generation_weight=1.0
    )
    step_of(embedder, settings, teacher=FixedTeacher()).run(examples, {})
    expected = gradients(embedder)
    step_of(embedder, settings, 2, teacher=FixedTeacher()).run(examples, {})
    for name, gradient in gradients(embedder).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm().clamp(min=1e-6), name

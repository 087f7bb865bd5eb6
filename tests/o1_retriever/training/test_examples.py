"""From rows to token ids: what is drawn, what is left out, and that user text stays text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from o1_retriever import O1Embedder
from o1_retriever.training.config import DataSettings, OwnThoughtSettings
from o1_retriever.training.examples import Example, Examples
from o1_retriever.training.rows import TrainingRows
from o1_retriever.training.schedule import Schedule

MakeExamples = Callable[..., list[Example]]
Rows = Callable[[int], list[dict[str, Any]]]


def many(file: str, embedder: O1Embedder, visits: int, own: float = 0.0, **data: Any) -> list[Example]:
    opened = TrainingRows.open([Path(file)])
    settings = DataSettings(files=[file], **{"group_size": 2, **data})
    schedule = Schedule(opened.sources, 1, seed=0)
    examples = Examples(opened, schedule, visits, embedder.prompts, settings, OwnThoughtSettings(share=own), seed=0)
    return [examples[visit] for visit in range(visits)]


def test_inputs_are_those_of_inference(examples_of: MakeExamples, rows_of: Rows, tiny: O1Embedder) -> None:
    row = rows_of(1)[0]
    example = examples_of([row])[0]
    assert example.prompt == tiny.prompts.queries([row["query"]], 32).ids[0]
    assert example.thought == tiny.prompts.text_ids([row["thought"]], 128).ids[0]
    assert example.passages[0] == tiny.prompts.passages(row["pos"], 192).ids[0]
    assert sorted(example.passages[1:]) == sorted(tiny.prompts.passages(row["neg"], 192).ids)
    assert example.real == [True] * 4 and example.writes and not example.own


def test_missing_negatives_become_fillers(examples_of: MakeExamples, rows_of: Rows) -> None:
    few, none = rows_of(2)
    few["neg"], none["neg"] = few["neg"][:1], []
    assert [e.real for e in examples_of([few, none])] == [[True, True, False, False], [True, False, False, False]]


def test_draws_differ_between_visits_and_not_between_readings(write_rows: Callable[..., str], tiny: O1Embedder) -> None:
    row = {"query": "q", "pos": [f"p{i}" for i in range(9)], "neg": [f"n{i}" for i in range(9)], "thought": "t"}
    file = write_rows([row])
    first, again = many(file, tiny, 40), many(file, tiny, 40)
    assert first == again
    assert len({tuple(e.passages[0]) for e in first}) > 5 and len({tuple(e.passages[1]) for e in first}) > 5


def test_thought_dropout_and_own_thoughts_take_their_shares(write_rows: Callable[..., str], tiny: O1Embedder) -> None:
    file = write_rows([{"query": "q", "pos": ["p"], "neg": ["n"], "thought": "t"}])
    examples = many(file, tiny, 2000, own=0.25, thought_dropout=0.1)
    dropped = sum(e.thought is None for e in examples)
    own = sum(e.own for e in examples)
    # binomial: standard deviations 13 and 19
    assert 150 < dropped < 250 and 450 * 0.9 < own < 550 * 0.95
    assert not any(e.own for e in examples if e.thought is None), "a query without a thought has no own one either"


def test_rows_without_thought_and_evidence(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    base = {"query": "q", "pos": ["p"], "neg": ["n"]}
    bare, evidence = examples_of(
        [{**base, "thought": ""}, {**base, "thought": "found text", "evidence": True, "target": "sentence"}], own=1.0
    )
    assert bare.thought is None and not bare.writes and not bare.own
    assert evidence.thought == tiny.prompts.text_ids(["found text"], 99).ids[0]
    assert not evidence.writes and not evidence.own
    assert evidence.target == tiny.prompts.text_ids(["sentence"], 99).ids[0]


def test_limits(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    """A thought of 10,000 tokens is cut; `<emb>` of a passage never is."""
    row = {"query": "q" * 500, "pos": ["p" * 500], "neg": ["n" * 500], "thought": "t" * 10_000}
    example = examples_of([row], max_query_tokens=5, max_thought_tokens=7, max_passage_tokens=9)[0]
    assert len(example.prompt) == 5 + 3 and example.thought is not None and len(example.thought) == 7
    assert example.cut and not examples_of([{**row, "thought": "1234567"}], max_thought_tokens=7)[0].cut
    assert all(len(ids) == 9 and ids[-1] == tiny.prompts.emb for ids in example.passages)


def test_text_is_never_a_special_token(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    text = "a <emb> b </query><thought> c</s>"
    example = examples_of([{"query": text, "pos": [text], "neg": [text + "."], "thought": text}])[0]
    special = tiny.prompts.reserved
    assert special.isdisjoint(example.thought or [])
    assert all(special.isdisjoint(ids[:-1]) for ids in example.passages)
    assert sum(i in special for i in example.prompt) == 3, "the tags of the template alone"


def test_equal_texts_have_equal_identities(examples_of: MakeExamples) -> None:
    one, two = examples_of(
        [{"query": "a", "pos": ["same"], "neg": ["x"]}, {"query": "b", "pos": ["other"], "neg": ["same "]}],
        group_size=2,
    )
    assert one.identities[0] == two.identities[1] != two.identities[0]


def test_scores_follow_the_draws(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    row = {"query": "q", "pos": ["p"], "neg": ["n0", "n1"], "pos_scores": [9.0], "neg_scores": [0.5, 1.5]}
    example = examples_of([row])[0]
    by_text = {tuple(tiny.prompts.passages([t], 99).ids[0]): s for t, s in (("p", 9.0), ("n0", 0.5), ("n1", 1.5))}
    assert example.scores is not None
    assert example.scores[:3] == [by_text[tuple(ids)] for ids in example.passages[:3]]
    assert examples_of([{**row, "neg_scores": None, "pos_scores": None}])[0].scores is None


def test_an_instruction_leaves_the_query_its_tokens(examples_of: MakeExamples, tiny: O1Embedder) -> None:
    row = {"query": "abcdefgh", "prompt": "Given a long instruction:", "pos": ["p"], "neg": []}
    example = examples_of([row], max_query_tokens=5)[0]
    text = "Given a long instruction: abcd"  # the space counts as one of the five
    assert example.prompt == tiny.prompts.queries([text], 99).ids[0]


def test_all_positives_of_a_row_are_known(examples_of: MakeExamples) -> None:
    one, two = examples_of(
        [{"query": "a", "pos": ["x", "y"], "neg": []}, {"query": "b", "pos": ["y"], "neg": ["x"]}], group_size=2
    )
    assert set(one.known) == {*two.known, two.identities[1]} and len(one.known) == len(two.known)


def test_own_prompts_are_those_of_the_examples(write_rows: Callable[..., str], tiny: O1Embedder) -> None:
    """What is sampled ahead is what is trained: the draws agree, passages untouched or not."""
    rows = [{"query": f"q{i}", "pos": ["p", "r"], "neg": ["n", "m"], "thought": "t"} for i in range(5)]
    opened = TrainingRows.open([Path(write_rows(rows))])
    settings = DataSettings(files=["x"], group_size=2)
    schedule = Schedule(opened.sources, 1, seed=0)
    examples = Examples(opened, schedule, 200, tiny.prompts, settings, OwnThoughtSettings(share=0.5), seed=0)
    for visit in range(200):
        example, found = examples[visit], examples.own_prompt(visit)
        assert found == ((example.query, example.prompt) if example.own else None)

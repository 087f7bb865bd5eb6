"""Evaluation during training: which queries and passages are chosen, and the figures against a search by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from o1_retriever import O1Embedder
from o1_retriever.errors import DatasetError, InvalidInputError, InvalidTypeError
from o1_retriever.metrics import ndcg_at_k
from o1_retriever.training.evaluation import EvaluationData, evaluate

MakeEmbedder = Callable[..., O1Embedder]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 passages, 8 questions; q0 to q6 are judged in dev, two relevant passages each, 3 and 1 of worth."""
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    passages = [{"_id": f"p{n}", "title": f"Title {n}", "text": f"passage number {n * 37}"} for n in range(40)]
    queries = [{"_id": f"q{n}", "text": f"which number is {n * 37}?"} for n in range(8)]
    for name, rows in (("corpus", passages), ("queries", queries)):
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\tp{n}\t3\nq{n}\tp{n + 20}\t1\nq{n}\tp{n + 30}\t0\n" for n in range(7))
    (tmp_path / "data" / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return tmp_path / "data"


def test_a_whole_split(folder: Path) -> None:
    data = EvaluationData.read(folder, "dev")
    assert data.name == "data"
    assert data.query_ids == [f"q{n}" for n in range(7)]
    assert data.queries[2] == "which number is 74?"
    assert data.passage_ids == [f"p{n}" for n in range(40)]
    assert data.passages[2] == "Title 2 passage number 74"
    assert data.qrels == {f"q{n}": {f"p{n}": 3, f"p{n + 20}": 1} for n in range(7)}


def test_a_part_is_always_the_same_one(folder: Path) -> None:
    parts = [EvaluationData.read(folder, "dev", max_queries=3, max_passages=15) for _ in range(2)]
    assert parts[0] == parts[1]
    assert len(set(parts[0].query_ids)) == 3
    assert len(set(parts[0].passage_ids)) == 15
    assert parts[0].qrels.keys() == set(parts[0].query_ids)
    relevant = {passage for judged in parts[0].qrels.values() for passage in judged}
    assert len(relevant) == 6
    assert relevant <= set(parts[0].passage_ids)
    numbers = [int(passage[1:]) for passage in parts[0].passage_ids]
    assert numbers == sorted(numbers)
    assert numbers != list(range(15)), "the others are the corpus's first ones, not a sample"


def test_a_larger_part_holds_the_smaller(folder: Path) -> None:
    small = EvaluationData.read(folder, "dev", max_queries=2, max_passages=12)
    large = EvaluationData.read(folder, "dev", max_queries=5, max_passages=30)
    assert large.query_ids[:2] == small.query_ids
    same_queries = EvaluationData.read(folder, "dev", max_queries=2, max_passages=20)
    assert set(small.passage_ids) < set(same_queries.passage_ids)


def test_limits_beyond_the_data_take_all(folder: Path) -> None:
    data = EvaluationData.read(folder, "dev", max_queries=99, max_passages=99)
    assert sorted(data.query_ids) == [f"q{n}" for n in range(7)]
    assert data.passage_ids == [f"p{n}" for n in range(40)]


def test_relevant_passages_alone_are_too_many(folder: Path) -> None:
    assert len(EvaluationData.read(folder, "dev", max_queries=3, max_passages=6).passages) == 6
    with pytest.raises(DatasetError, match=r"have 6 relevant passages, more than max_passages=5: raise it, or lower"):
        EvaluationData.read(folder, "dev", max_queries=3, max_passages=5)


def add(name: str, line: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(f"{line}\n")

    return damage


@pytest.mark.parametrize("limit", [None, 40])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "corpus.jsonl").unlink(), r"corpus\.jsonl cannot be read"),
        (lambda f: (f / "queries.jsonl").unlink(), r"queries\.jsonl cannot be read"),
        (lambda f: (f / "qrels" / "dev.tsv").unlink(), "no judgements at .* splits here: none"),
        (lambda f: (f / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n"), "no query has a relevant"),
        (lambda f: shutil.rmtree(f), "no judgements at"),
        (add("qrels/dev.tsv", "q99\tp1\t1"), r"queries\.jsonl lacks 1 judged queries, like 'q99'"),
        (add("qrels/dev.tsv", "q1\tp99\t1"), r"corpus\.jsonl lacks 1 relevant passages, like 'p99'"),
        (add("corpus.jsonl", '{"_id": "p3", "text": "again"}'), "1 ids are there more than once, like 'p3'"),
        (add("queries.jsonl", '{"_id": "q3", "text": "again"}'), "1 ids are there more than once, like 'q3'"),
        (lambda f: (f / "corpus.jsonl").write_text('{"_id": "p0", "text": " "}\n'), "'p0' has no text"),
    ],
)
def test_bad_data_is_named(folder: Path, damage: Callable[[Path], None], message: str, limit: int | None) -> None:
    damage(folder)
    with pytest.raises(DatasetError, match=message):
        EvaluationData.read(folder, "dev", max_passages=limit)


def test_bad_limits(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="max_queries must be at least 1, got 0"):
        EvaluationData.read(folder, "dev", max_queries=0)
    with pytest.raises(InvalidTypeError, match="max_passages must be an int"):
        EvaluationData.read(folder, "dev", max_passages="9")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queries": []}, "of one length"),
        ({"passages": ["x", "y"]}, "of one length"),
        ({"queries": [], "query_ids": []}, "at least one query"),
        ({"qrels": {}}, r"\['q'\] have none"),
        ({"qrels": {"q": {}}}, r"\['q'\] have none"),
    ],
)
def test_what_does_not_belong_together(fields: dict[str, object], message: str) -> None:
    good = {"query_ids": ["q"], "queries": ["a"], "passage_ids": ["p"], "passages": ["b"], "qrels": {"q": {"p": 1}}}
    with pytest.raises(InvalidInputError, match=message):
        EvaluationData(name="x", **{**good, **fields})  # type: ignore[arg-type]


def test_figures_are_those_of_a_search_by_hand(folder: Path, tiny: O1Embedder) -> None:
    data = EvaluationData.read(folder, "dev")
    found = evaluate(tiny, data, [0, 2])
    assert found.keys() == {"ndcg@10_k0", "ndcg@10_k2", "seconds"}
    assert found["seconds"] > 0
    passages = tiny.encode_document(data.passages)
    for number in (0, 2):
        values = []
        for query, text in zip(data.query_ids, data.queries, strict=True):
            order = np.argsort(-(passages @ tiny.encode_query(text, number)), kind="stable")
            values.append(ndcg_at_k([data.passage_ids[i] for i in order], data.qrels[query], 10))
        assert found[f"ndcg@10_k{number}"] == pytest.approx(np.mean(values), abs=1e-9)
        assert 0 < found[f"ndcg@10_k{number}"] < 1


def test_a_model_in_training_is_measured_without_dropout(folder: Path, make_embedder: MakeEmbedder) -> None:
    data = EvaluationData.read(folder, "dev", max_queries=3)
    embedder = make_embedder("gpt2")
    expected = evaluate(embedder, data, [0, 1])
    embedder.model.train()
    frozen = embedder.model.get_input_embeddings().eval()
    state = torch.get_rng_state()
    for _ in range(2):
        again = evaluate(embedder, data, [0, 1])
        assert {k: v for k, v in again.items() if k != "seconds"} == {
            k: v for k, v in expected.items() if k != "seconds"
        }
    assert torch.equal(torch.get_rng_state(), state)
    assert embedder.model.training
    assert not frozen.training
    assert all(module.training for module in embedder.model.modules() if module is not frozen)
    assert not any(parameter.is_inference() for parameter in embedder.model.parameters())


def test_a_failure_leaves_the_model_in_training(folder: Path, make_embedder: MakeEmbedder) -> None:
    data = EvaluationData.read(folder, "dev", max_queries=1)
    embedder = make_embedder()
    embedder.model.train()
    with pytest.raises(InvalidInputError, match="num_thoughts must be at least 0"):
        evaluate(embedder, data, [-1])
    assert embedder.model.training
    with pytest.raises(InvalidInputError, match="at least one number of thoughts"):
        evaluate(embedder, data, [])

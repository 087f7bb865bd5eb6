"""The encyclopedia demo, with a tiny random model on a slice of its corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demos import encyclopedia
from demos.comparison import Row, compare
from demos.encyclopedia import main, to_node
from o1_retriever import O1Embedder
from o1_retriever.beir import read_corpus, read_qrels

SLICE = ["q01", "q05", "q29", "q36"]


@pytest.fixture
def small_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four questions, their passages and six others."""
    source, target = encyclopedia.CORPUS, tmp_path / "corpus"
    gold = {passage for query in SLICE for passage in read_qrels(source, "test")[query]}
    (target / "qrels").mkdir(parents=True)
    shutil.copy(source / "queries.jsonl", target)
    rows = [json.loads(line) for line in (source / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [row for row in rows if row["_id"] in gold] + [row for row in rows if row["_id"] not in gold][:6]
    (target / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    judged = (source / "qrels/test.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (target / "qrels/test.tsv").write_text(
        "".join([judged[0], *(r for r in judged if r[:3] in SLICE)]), encoding="utf-8"
    )
    monkeypatch.setattr(encyclopedia, "CORPUS", target)
    return target


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every passage's text that reaches the engine, sentences of the extractive reader left out."""
    texts: list[str] = []
    plain = O1Embedder.encode_document

    def record(self: O1Embedder, given: list[str], **kwargs: Any) -> Any:
        if not kwargs:
            texts.extend(given)
        return plain(self, given, **kwargs)

    monkeypatch.setattr(O1Embedder, "encode_document", record)
    yield texts


def test_two_runs(
    small_corpus: Path, tmp_path: Path, tiny_folder: str, embedded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", str(tmp_path / "store"), "--model", tiny_folder, "--questions", "q05", "q29"]
    passages = [passage.full_text for passage in read_corpus(small_corpus)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert embedded == passages
    assert main(arguments) == 0
    second = capsys.readouterr().out
    assert embedded == passages, "the second run embedded again"
    assert f"{len(passages)} passages embedded" in first and "0 passages embedded" in second
    assert first.count("  thought  ") == 6 and first.count("extractive answer: ") == 2
    tables = [
        [line for line in out.splitlines() if line.startswith(("single", "two-hop", "all"))] for out in (first, second)
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 3
    assert "seconds" in second


def test_a_new_passage_is_all_that_is_embedded(
    small_corpus: Path, tmp_path: Path, tiny_folder: str, embedded: list[str]
) -> None:
    arguments = ["--store", str(tmp_path / "store"), "--model", tiny_folder]
    assert main(arguments) == 0
    embedded.clear()
    with (small_corpus / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"_id": "new", "title": "Bees", "text": "Bees dance."}) + "\n")
    assert main(arguments) == 0
    assert embedded == ["Bees Bees dance."]


def test_the_store_of_another_model_is_refused(
    small_corpus: Path, tmp_path: Path, tiny_folder: str, make_embedder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_embedder(seed=1).save_pretrained(tmp_path / "other")
    store = str(tmp_path / "store")
    assert main(["--store", store, "--model", tiny_folder]) == 0
    assert main(["--store", store, "--model", str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "another model" in error and "Traceback" not in error


def test_unknown_model(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path / "store"), "--model", "./no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_nodes_are_stable_and_embed_title_and_text() -> None:
    passages = list(read_corpus(encyclopedia.CORPUS))
    nodes = [to_node(passage) for passage in passages]
    assert [node.get_content(metadata_mode="embed") for node in nodes] == [p.full_text for p in passages]  # type: ignore[arg-type]
    assert len({node.node_id for node in nodes}) == len(passages)
    assert [node.node_id for node in nodes] == [to_node(passage).node_id for passage in passages]


def test_compare_counts_by_hand() -> None:
    types = {"a": "single", "b": "single", "c": "two-hop", "d": "two-hop", "e": "two-hop"}
    qrels = {"a": {"1": 1}, "b": {"2": 1}, "c": {"1": 1, "2": 1}, "d": {"3": 1, "4": 1}, "e": {"5": 1, "6": 1}}
    filler = ["x1", "x2", "x3", "x4"]
    without = {
        "a": ["1", *filler],  # found
        "b": [*filler, "x5", "2"],  # sixth: not found
        "c": ["1", *filler, "2"],  # one of two
        "d": ["4", "3", *filler],  # both
        "e": ["5", *filler],  # one of two
    }
    thinking = {
        "a": ["1", *filler],  # kept
        "b": ["2", *filler],  # gained
        "c": ["2", "x1", "x2", "x3", "1"],  # gained
        "d": ["4", *filler],  # lost
        "e": ["6", *filler],  # still one of two
    }
    assert compare(types, qrels, without, thinking, top_k=5) == [
        Row("single", questions=2, without=1, thinking=2, gained=1, lost=0),
        Row("two-hop", questions=3, without=1, thinking=1, gained=1, lost=1),
        Row("all", questions=5, without=2, thinking=3, gained=2, lost=1),
    ]


def test_shown_questions_exist_and_one_needs_two_passages() -> None:
    qrels = read_qrels(encyclopedia.CORPUS, "test")
    assert {len(qrels[query]) for query in encyclopedia.SHOWN} == {1, 2}

"""What a collection refuses before any long work begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1_eval.collection import Collection
from o1_retriever.errors import DatasetError


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")


def test_reads_the_judged_queries_only(data: Path) -> None:
    collection = Collection.read(data, "dev")
    assert (collection.name, collection.query_ids) == ("little", ["q1", "q2", "q3", "q4"])
    assert collection.passages[0].startswith("Ada Lovelace wrote")
    assert collection.passages[5].startswith("The Nile")
    assert collection.only(["q3"]).queries == ["Which birds swim and do not fly?"]


def test_an_unknown_split_lists_those_that_are_there(data: Path) -> None:
    with pytest.raises(DatasetError, match=r"'dev'"):
        Collection.read(data, "test")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("qrels/dev.tsv", "q77\tp1\t1", "lacks 1 judged queries, like 'q77'"),
        ("corpus.jsonl", '{"_id": "p1", "text": "again"}', "1 ids are there more than once, like 'p1'"),
        ("corpus.jsonl", '{"_id": "a b", "text": "spaces"}', "'a b' is empty or holds white space"),
        ("corpus.jsonl", '{"_id": "e", "title": "", "text": " "}', "passage 'e' has no text"),
        ("corpus.jsonl", "{", r"corpus\.jsonl:19"),
    ],
)
def test_bad_data_is_named(data: Path, file: str, line: str, message: str) -> None:
    append(data / file, line)
    with pytest.raises(DatasetError, match=message):
        Collection.read(data, "dev")


def test_a_split_without_judgements(data: Path) -> None:
    (data / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(DatasetError, match="no query is judged"):
        Collection.read(data, "dev")


def test_no_passages(data: Path) -> None:
    (data / "corpus.jsonl").write_text("")
    with pytest.raises(DatasetError, match="holds no passage"):
        Collection.read(data, "dev")

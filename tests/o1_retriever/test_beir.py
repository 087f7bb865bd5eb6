"""Reading BEIR folders: what is accepted, and how bad lines are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1_retriever.beir import Passage, read_corpus, read_jsonl, read_qrels, read_queries
from o1_retriever.errors import DatasetError


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_passages(tmp_path: Path) -> None:
    write(
        tmp_path / "corpus.jsonl", '{"_id": "a", "title": "T", "text": "x"}\n\n{"_id": 7, "text": "y", "title": null}'
    )
    passages = list(read_corpus(tmp_path))
    assert passages == [Passage("a", "T", "x"), Passage("7", "", "y")]
    assert [passage.full_text for passage in passages] == ["T x", "y"]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_signs_that_only_look_like_line_ends(tmp_path: Path, sign: str) -> None:
    """Unicode knows more line separators than JSONL does."""
    escaped = sign if ord(sign) >= 0x20 else f"\\u{ord(sign):04x}"
    write(tmp_path / "corpus.jsonl", f'{{"_id": "a", "text": "one{escaped}two"}}\n{{"_id": "b", "text": "three"}}\n')
    assert [passage.text for passage in read_corpus(tmp_path)] == [f"one{sign}two", "three"]


def test_windows_line_ends(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", '{"_id": "a", "text": "x"}\r\n{"_id": "b", "text": "y"}\r\n')
    write(tmp_path / "qrels/dev.tsv", "query-id\tcorpus-id\tscore\r\nq\ta\t1\r\n")
    assert [passage.text for passage in read_corpus(tmp_path)] == ["x", "y"]
    assert read_qrels(tmp_path, "dev") == {"q": {"a": 1}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object, got list"),
        ('{"text": "x"}', "'_id' is missing"),
        ('{"_id": "x"}', "'text' is missing"),
        ('{"_id": "x", "text": "a \\ud800 b"}', "lone surrogate"),
        ('{"_id": "x", "text": "y", "title": "\\udfff"}', "lone surrogate"),
    ],
)
def test_bad_passages_are_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "corpus.jsonl", f'{{"_id": "a", "text": "x"}}\n\n{line}\n')
    with pytest.raises(DatasetError, match=rf"corpus\.jsonl:3: .*{message}"):
        list(read_corpus(tmp_path))


def test_passages_before_a_bad_line_are_given(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", '{"_id": "a", "text": "x"}\n{\n')
    passages = read_corpus(tmp_path)
    assert next(passages).id == "a"
    with pytest.raises(DatasetError):
        next(passages)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b'{"_id": "\xff"}\n')
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_jsonl(path))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"corpus\.jsonl cannot be read"):
        list(read_corpus(tmp_path))
    with pytest.raises(DatasetError, match="splits here: none"):
        read_qrels(tmp_path, "dev")


def test_queries_all_or_judged(tmp_path: Path) -> None:
    rows = '{"_id": "a", "text": "x", "metadata": {"n": 1}}\n{"_id": "b", "text": "y"}\n'
    write(tmp_path / "queries.jsonl", rows)
    everything = read_queries(tmp_path)
    assert [(query.id, query.metadata) for query in everything] == [("a", {"n": 1}), ("b", {})]
    assert [query.id for query in read_queries(tmp_path, {"b": {"p": 1}})] == ["b"]


def test_bad_queries_are_named_by_line(tmp_path: Path) -> None:
    write(tmp_path / "queries.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b"}\n')
    with pytest.raises(DatasetError, match=r"queries\.jsonl:2: .*'text' is missing"):
        read_queries(tmp_path)


def test_qrels_leave_out_what_is_not_relevant(tmp_path: Path) -> None:
    write(tmp_path / "qrels/dev.tsv", 'query-id\tcorpus-id\tscore\nq\ta\t2\nq\tb\t0\nr\tc\t-1\nq\t"d\t1\n')
    assert read_qrels(tmp_path, "dev") == {"q": {"a": 2, '"d': 1}}


def test_an_unknown_split_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path / "qrels/dev.tsv", "query-id\tcorpus-id\tscore\n")
    write(tmp_path / "qrels/test.tsv", "query-id\tcorpus-id\tscore\n")
    with pytest.raises(DatasetError, match=r"splits here: \['dev', 'test'\]"):
        read_qrels(tmp_path, "night")


@pytest.mark.parametrize("row", ["q\ta", "q\ta\tmuch", "q 0 a 1"])
def test_bad_judgements(tmp_path: Path, row: str) -> None:
    write(tmp_path / "qrels/dev.tsv", f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(DatasetError, match=r"dev\.tsv:2.*query-id, corpus-id, score"):
        read_qrels(tmp_path, "dev")

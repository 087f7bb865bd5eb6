"""Recorded thoughts: the forms of their files and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1_retriever import RecordedThoughts
from o1_retriever.errors import DatasetError, ThinkerError


def test_forms_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "thoughts.jsonl"
    path.write_text(
        '{"query": "a", "candidates": ["1", "2"]}\n'
        '{"query": "b", "thoughts": ["3"]}\n\n'
        '{"query": "c\\u2028d", "pos": ["p"], "neg": [], "thought": "4\\u2028"}\n'
        '{"query": "e", "thought": "\u20285"}',
        encoding="utf-8",
    )
    recorded = RecordedThoughts.from_file(path)
    assert recorded.think(["b", "a", "c\u2028d", "e"], 1) == [["3"], ["1"], ["4\u2028"], ["\u20285"]]
    assert recorded.think(["a"], 2, evidence=[["ignored"]]) == [["1", "2"]]
    assert "a" in recorded
    assert "z" not in recorded


@pytest.mark.parametrize("query", ["A", "a ", "z"])
def test_a_query_that_was_not_recorded(query: str) -> None:
    with pytest.raises(ThinkerError, match=f"0 thoughts are recorded for {query!r}, 1 were asked for"):
        RecordedThoughts({"a": ["1"]}).think([query], 1)


def test_too_few_are_recorded() -> None:
    with pytest.raises(ThinkerError, match="1 thoughts are recorded for 'a', 2 were asked for"):
        RecordedThoughts({"a": ["1"]}).think(["a"], 2)


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '"a string"',
        "[1]",
        '{"query": "a"}',
        '{"thought": "t"}',
        '{"query": 5, "thought": "t"}',
        '{"query": "a", "thought": null}',
        '{"query": "a", "candidates": "one text, not a list"}',
        '{"query": "a", "thoughts": ["t", 5]}',
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "thoughts.jsonl"
    path.write_text('{"query": "a", "thought": "t"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"thoughts\.jsonl:3: "):
        RecordedThoughts.from_file(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        RecordedThoughts.from_file(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"query": "\xe9", "thought": "t"}\n')
    with pytest.raises(DatasetError, match="cannot be read"):
        RecordedThoughts.from_file(tmp_path / "latin.jsonl")


def test_the_fingerprint_follows_content_not_order() -> None:
    one = RecordedThoughts({"a": ["1"], "b": ["2"]})
    assert one.fingerprint == RecordedThoughts({"b": ["2"], "a": ["1"]}).fingerprint
    assert one.fingerprint != RecordedThoughts({"a": ["1"], "b": ["3"]}).fingerprint

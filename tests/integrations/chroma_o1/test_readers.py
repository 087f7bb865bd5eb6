"""Files to passages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chroma_o1 import Passage
from chroma_o1.readers import PASSAGE_WORDS, read_paths, split
from o1_retriever.errors import DatasetError


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_beir_folder_is_its_corpus(tmp_path: Path) -> None:
    row = {"_id": "d1", "title": "T", "text": "a", "metadata": {"url": "u", "list": [1], "title": "x"}}
    write(tmp_path / "corpus.jsonl", json.dumps(row) + "\n\n" + json.dumps({"_id": 7, "text": "b", "title": None}))
    write(tmp_path / "queries.jsonl", '{"_id": "q", "text": "no passage"}')
    source = str(tmp_path / "corpus.jsonl")
    assert list(read_paths([tmp_path])) == [
        Passage("a", "T", {"url": "u", "source_id": "d1", "source": source}),
        Passage("b", "", {"source_id": "7", "source": source}),
    ]


def test_folders_are_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "second")
    write(tmp_path / "a.md", "# Heading #\n\nfirst")
    write(tmp_path / "c" / "rows.jsonl", '{"text": "third", "year": 1843, "tags": ["x"], "id": "r"}')
    write(tmp_path / "d" / "corpus.jsonl", '{"_id": "1", "text": "fourth"}')
    write(tmp_path / ".hidden" / "e.txt", "never")
    write(tmp_path / "picture.png", b"\x89PNG")
    found = list(read_paths([tmp_path]))
    assert [p.text for p in found] == ["# Heading #\n\nfirst", "second", "third", "fourth"]
    assert [p.title for p in found] == ["Heading", "b", "", ""]
    assert [p.metadata["source_id"] for p in found] == ["a.md#0", "b.txt#0", "r", "1"]
    assert found[2].metadata["year"] == 1843 and "tags" not in found[2].metadata
    assert len(list(read_paths([str(tmp_path / "b.txt"), tmp_path / "a.md"]))) == 2


def test_text_is_split_by_paragraphs() -> None:
    paragraphs = [f"p{i} " + "word " * 59 for i in range(7)]
    parts = list(split("\n\n".join(paragraphs)))
    assert [len(part.split()) for part in parts] == [180, 180, 60]
    assert " ".join(parts).split() == " ".join(paragraphs).split()


def test_long_paragraphs_are_cut_between_sentences_or_words() -> None:
    sentences = " ".join(f"Sentence {i} has " + "many " * 20 + "words." for i in range(40))
    for text in (sentences, "word " * 1000):
        parts = list(split(text))
        assert " ".join(parts).split() == text.split()
        assert max(len(part.split()) for part in parts) <= PASSAGE_WORDS
        assert len(parts) <= 1 + 1.3 * len(text.split()) / PASSAGE_WORDS
    assert all(part.endswith("words.") for part in split(sentences))


def test_empty_files_give_nothing(tmp_path: Path) -> None:
    write(tmp_path / "empty.txt", "\n \n")
    write(tmp_path / "empty.jsonl", "")
    assert list(read_paths([tmp_path])) == []


def test_windows_text_and_bom(tmp_path: Path) -> None:
    write(tmp_path / "w.md", b"\xef\xbb\xbf# Title\r\n\r\nline\r\n")
    [passage] = read_paths([tmp_path / "w.md"])
    assert (passage.title, passage.text) == ("Title", "# Title\n\nline")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\nnot json\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", '{"title": "a"}', r"a\.jsonl:1: a row needs 'text'; it has title"),
        ("a.jsonl", "[1]", r"a\.jsonl:1: expected a JSON object"),
        ("a.jsonl", '{"text": 3}', r"a\.jsonl:1: .*text is int"),
        ("a.jsonl", '{"text": "a", "title": []}', r"a\.jsonl:1: .*title is list"),
        ("a.jsonl", '{"text": "\\ud800"}', r"a\.jsonl:1: .*surrogate"),
        ("a.jsonl", '{"text": "a", "n": 1e999}', r"a\.jsonl:1: .*finite"),
        ("a.txt", b"fine\n\xff\n", r"a\.txt:2: not UTF-8"),
        ("a.pdf", b"%PDF", r"a\.pdf cannot be indexed: expected a folder or"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(read_paths([write(tmp_path / name, content)]))


def test_paths_with_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        list(read_paths([tmp_path / "none"]))
    with pytest.raises(DatasetError, match="holds no file to index"):
        list(read_paths([tmp_path]))


def test_links_to_folders_above_do_not_loop(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(list(read_paths([tmp_path]))) == 1

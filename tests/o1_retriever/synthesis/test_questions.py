"""Questions, corpus and shards: what is skipped is counted, what cannot be right is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from o1_retriever.errors import DatasetError
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.questions import Question, Shard, read_questions


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    texts = {"q1": "one?", "q2": "two?", "q3": "three?", "q4": " ", "q5": "five?"}
    return write(tmp_path / "queries.jsonl", [{"_id": key, "text": text} for key, text in texts.items()])


def test_positives_best_first_and_skips_counted(queries: Path) -> None:
    qrels = {"q1": {"a": 1, "b": 2, "gone": 1}, "q3": {"gone": 1}, "q4": {"a": 1}, "q5": {"c": 1}}
    found = read_questions(queries, qrels, {"a": 0, "b": 1, "c": 2})
    assert found.rows == [Question("q1", "one?", (1, 0)), Question("q5", "five?", (2,))]
    assert dict(found.skipped) == {
        "positive missing from the corpus": 1,
        "no positives": 1,
        "no positive is in the corpus": 1,
        "empty query": 1,
    }


def test_another_corpus_is_refused(queries: Path) -> None:
    with pytest.raises(DatasetError, match=r"None of the 5 queries.*belong together"):
        read_questions(queries, {"q1": {"x": 1}}, {"a": 0})


def test_an_id_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "queries.jsonl", [{"_id": "q", "text": "a"}, {"_id": "q", "text": "b"}])
    with pytest.raises(DatasetError, match="more than once, like 'q'"):
        read_questions(path, {"q": {"a": 1}}, {"a": 0})


def test_shards_part_the_questions() -> None:
    questions = [Question(f"q{i}", "text", (0,)) for i in range(100)]
    parts = [Shard(i, 3).of(questions) for i in (1, 2, 3)]
    assert sorted((q.id for part in parts for q in part), key=lambda i: int(i[1:])) == [q.id for q in questions]
    assert all(len(part) > 20 for part in parts)
    assert Shard.parse("2/4") == Shard(2, 4)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_cannot_be(text: str) -> None:
    with pytest.raises(DatasetError, match="shard"):
        Shard.parse(text)


def test_corpus_reads_any_row(tmp_path: Path) -> None:
    rows = [{"_id": f"p{i}", "title": "Ä" * (i % 3), "text": f"text {i}\u2028 é"} for i in range(50)]
    path = write(tmp_path / "corpus.jsonl", rows)
    path.write_text(path.read_text(encoding="utf-8").replace('{"_id": "p7"', '\n{"_id": "p7"'), encoding="utf-8")
    corpus = CorpusFile(path)
    texts = [f"{row['title']} {row['text']}".strip() for row in rows]
    assert list(corpus) == texts and corpus[10:13] == texts[10:13] and corpus[-1] == texts[-1] and len(corpus) == 50
    assert corpus.row_of["p7"] == 7 and corpus[7] == texts[7]
    with pytest.raises(IndexError):
        corpus[50]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no passage"),
        ('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "two passages with the id 'a'"),
        ('{"_id": "a", "text": "x"}\n{"_id": "b"', ":2: not JSON"),
        ('{"_id": "a"}\n', ":1: a passage needs"),
        ("[1]\n", "expected a JSON object"),
    ],
)
def test_corpora_that_cannot_be(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        CorpusFile(path)


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        CorpusFile(tmp_path / "corpus.jsonl")

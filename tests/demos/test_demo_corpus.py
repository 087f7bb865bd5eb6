"""Checks on the form of the demo corpus in demos/corpus."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parents[2] / "demos" / "corpus"


def read_jsonl(name: str) -> list[dict[str, Any]]:
    lines = (CORPUS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_gold() -> dict[str, list[str]]:
    lines = (CORPUS / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "query-id\tcorpus-id\tscore"
    gold: dict[str, list[str]] = defaultdict(list)
    for line in lines[1:]:
        query_id, passage_id, score = line.split("\t")
        assert score == "1"
        gold[query_id].append(passage_id)
    return gold


PASSAGES = read_jsonl("corpus.jsonl")
QUERIES = read_jsonl("queries.jsonl")


def test_counts() -> None:
    assert len(PASSAGES) == 150
    assert len(QUERIES) == 40
    types = Counter(query["metadata"]["type"] for query in QUERIES)
    assert types == {"single": 20, "two-hop": 20}


def test_ids_are_numbered_in_order() -> None:
    assert [row["_id"] for row in PASSAGES] == [f"d{n:03d}" for n in range(1, 151)]
    assert [row["_id"] for row in QUERIES] == [f"q{n:02d}" for n in range(1, 41)]


def test_titles_and_texts_are_unique() -> None:
    assert len({row["title"].casefold() for row in PASSAGES}) == len(PASSAGES)
    assert len({row["text"] for row in PASSAGES}) == len(PASSAGES)
    assert len({row["text"] for row in QUERIES}) == len(QUERIES)


def test_passage_lengths() -> None:
    for row in PASSAGES:
        assert 50 <= len(row["text"].split()) <= 110, row["_id"]


def test_gold_passages_exist_and_match_the_type() -> None:
    gold = read_gold()
    passage_ids = {row["_id"] for row in PASSAGES}
    assert set(gold) == {query["_id"] for query in QUERIES}
    for query in QUERIES:
        found = gold[query["_id"]]
        assert set(found) <= passage_ids
        expected = 1 if query["metadata"]["type"] == "single" else 2
        assert len(found) == len(set(found)) == expected, query["_id"]


def test_first_answer_is_literally_in_a_gold_passage() -> None:
    gold = read_gold()
    by_id = {row["_id"]: f"{row['title']}\n{row['text']}".casefold() for row in PASSAGES}
    for query in QUERIES:
        answer = query["metadata"]["answers"][0].casefold()
        assert any(answer in by_id[pid] for pid in gold[query["_id"]]), query["_id"]

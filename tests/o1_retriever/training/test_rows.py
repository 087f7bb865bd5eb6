"""Training rows: which rows are good, how bad ones are told, and that rows are read from disk, not from memory."""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import math
import multiprocessing
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from o1_retriever.errors import DatasetError, MissingDependencyError
from o1_retriever.training.hub_rows import HubRows
from o1_retriever.training.row import TrainingRow, parse_row
from o1_retriever.training.rows import TrainingRows, load_rows


def raw(**fields: Any) -> dict[str, Any]:
    return {"query": "q", "pos": ["p"], "neg": ["n"], **fields}


def parse(**fields: Any) -> TrainingRow:
    return parse_row(raw(**fields), "x.jsonl:1", "x")


def write(path: Path, *rows: dict[str, Any] | str | bytes, end: bytes = b"\n") -> Path:
    lines = [json.dumps(row, ensure_ascii=False) if isinstance(row, dict) else row for row in rows]
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + end for line in lines))
    return path


def messages(path: Path, max_bad: int = 10**6) -> list[str]:
    return TrainingRows.open([path], max_bad).bad


# one row


def test_the_authors_row() -> None:
    row = parse_row(
        {"query": "q", "pos": ["p1", "p2"], "neg": ["n1"], "thought": "t", "type": "normal"}, "final.jsonl:3", "final"
    )
    assert row == TrainingRow("final.jsonl:3", "final", "q", ("p1", "p2"), ("n1",), ("t",), None, None, False, "")


def test_a_synthesised_row() -> None:
    row = parse(id="7", thought="best", thoughts=["best", "second"], scores=[0.5, -0.5])
    assert row.thoughts == ("best", "second")


@pytest.mark.parametrize(
    ("fields", "thoughts"),
    [
        ({}, ()),
        ({"thought": "a"}, ("a",)),
        ({"thought": "b", "thoughts": ["a", "b", "c"]}, ("b", "a", "c")),
        ({"thought": "d", "thoughts": ["a", " ", "b"]}, ("d", "a", "b")),
        ({"thought": "", "thoughts": ["a", "b"]}, ()),
        ({"thought": " \n", "thoughts": ["a"]}, ()),
        ({"thoughts": ["b", "", "a"]}, ("b", "a")),
        ({"thought": None, "thoughts": ["a"]}, ("a",)),
        ({"thought": "a", "thoughts": None}, ("a",)),
    ],
)
def test_which_thoughts_in_which_order(fields: dict[str, Any], thoughts: tuple[str, ...]) -> None:
    assert parse(**fields).thoughts == thoughts


def test_a_prompt_goes_before_the_query() -> None:
    assert parse(query="who?", prompt="Answer:").query == "Answer: who?"
    assert [parse(prompt=prompt).query for prompt in ("", " ", None)] == ["q"] * 3


def test_a_row_may_name_its_source() -> None:
    assert [parse(source=source).source for source in ("nq", "", None)] == ["nq", "x", "x"]


def test_a_row_needs_no_negatives() -> None:
    assert [parse(neg=neg).negatives for neg in ([], None, [" "])] == [(), (), ()]
    assert parse_row({"query": "q", "pos": ["p"]}, "x", "x").negatives == ()


def test_blank_texts_are_left_out_with_their_scores() -> None:
    row = parse(pos=["", "p"], pos_scores=[9, 1], neg=["a", " ", "b"], neg_scores=[0.25, 8, -2])
    assert (row.positives, row.positive_scores) == (("p",), (1.0,))
    assert (row.negatives, row.negative_scores) == (("a", "b"), (0.25, -2.0))


def test_no_scores_are_not_the_same_as_scores_of_nothing() -> None:
    assert parse(neg=[], neg_scores=[]).negative_scores == ()
    assert parse(neg=[], neg_scores=None).negative_scores is None
    assert parse(pos_scores=[1]).negative_scores is None


def test_evidence_and_what_is_written_instead() -> None:
    found = parse(thought="a found text", evidence=True, target="a summary")
    assert (found.evidence, found.target, found.thoughts) == (True, "a summary", ("a found text",))
    alone = parse(thought="a found text", evidence=True, target=None)
    assert (alone.evidence, alone.target) == (True, "")
    assert not parse(evidence=None).evidence


def test_texts_are_not_changed() -> None:
    text = " \tZürich 🦊\u2028 "
    row = parse(query=text, pos=[text], neg=[text], thought=text)
    assert (row.query, row.positives, row.negatives, row.thoughts) == (text, (text,), (text,), (text,))


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"query": None}, "'query' is missing or empty"),
    ({"query": " \t"}, "'query' is missing or empty"),
    ({"query": 7}, "'query' must be a string, got int"),
    ({"query": "", "prompt": "only a prompt"}, "'query' is missing or empty"),
    ({"prompt": ["p"]}, "'prompt' must be a string, got list"),
    ({"pos": None}, "'pos' has no text"),
    ({"pos": []}, "'pos' has no text"),
    ({"pos": ["", "\n"]}, "'pos' has no text"),
    ({"pos": "p"}, "'pos' must be a list of strings, got str"),
    ({"pos": ["p", None]}, "'pos[1]' must be a string, got NoneType"),
    ({"neg": "n"}, "'neg' must be a list of strings, got str"),
    ({"neg": ["n", "n", {"text": "n"}]}, "'neg[2]' must be a string, got dict"),
    ({"thought": ["t"]}, "'thought' must be a string, got list"),
    ({"thoughts": "t"}, "'thoughts' must be a list of strings, got str"),
    ({"thought": "", "thoughts": [1]}, "'thoughts[0]' must be a string, got int"),
    ({"source": 1}, "'source' must be a string, got int"),
    ({"evidence": "yes", "thought": "t"}, "'evidence' must be true or false, got str"),
    ({"evidence": 1, "thought": "t"}, "'evidence' must be true or false, got int"),
    ({"evidence": True}, "'evidence' is true, but there is no thought"),
    ({"evidence": True, "thought": "", "thoughts": ["t"]}, "'evidence' is true, but there is no thought"),
    ({"target": "t", "thought": "t"}, "'target' is only for rows with"),
    ({"target": 1, "evidence": True, "thought": "t"}, "'target' must be a string, got int"),
    ({"pos_scores": 1.0}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"pos_scores": []}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"pos_scores": [True]}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"pos_scores": ["1"]}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"pos_scores": [None]}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"pos_scores": [math.nan]}, "'pos_scores' must be a list of 1 finite numbers"),
    ({"neg_scores": [math.inf]}, "'neg_scores' must be a list of 1 finite numbers"),
    ({"neg_scores": [-math.inf]}, "'neg_scores' must be a list of 1 finite numbers"),
    ({"neg_scores": [10**400]}, "'neg_scores' must be a list of 1 finite numbers"),
    ({"neg": ["n", " "], "neg_scores": [1]}, "'neg_scores' must be a list of 2 finite numbers"),
    *(
        ({"evidence": True, "thought": "t", key: value}, rf"'{key}{place}' holds a lone surrogate at character 1")
        for key, value, place in [
            ("query", "a\ud800", ""),
            ("prompt", "a\udfff", ""),
            ("pos", ["a\ud800"], "[0]"),
            ("neg", ["n", "a\ud800"], "[1]"),
            ("thought", "a\ud800", ""),
            ("thoughts", ["a\ud800"], "[0]"),
            ("source", "a\ud800", ""),
            ("target", "a\ud800", ""),
        ]
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS, ids=lambda value: ascii(value)[:60])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        parse(**fields)
    assert str(caught.value).startswith(f"x.jsonl:1: {message}")


@pytest.mark.parametrize("row", [[raw()], "text", None, 1])
def test_rows_that_are_no_objects(row: object) -> None:
    with pytest.raises(DatasetError, match=r"^x\.jsonl:1: expected a JSON object"):
        parse_row(row, "x.jsonl:1", "x")


# files


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_every_row_is_found_again_whatever_its_bytes(tmp_path: Path, end: bytes) -> None:
    queries = ["Zürich", "東京 🦊", "one\u2028line\x85still", "plain", "a\\nb"]
    path = write(tmp_path / "a.jsonl", *(raw(query=query) for query in queries), end=end)
    rows = TrainingRows.open([path])
    assert len(rows) == 5
    assert [rows[i].query for i in (4, 2, 0, 3, 1)] == [queries[i] for i in (4, 2, 0, 3, 1)]
    assert [row.query for row in rows] == queries
    assert [row.where for row in rows] == [f"{path}:{line}" for line in range(1, 6)]


def test_blank_lines_count_as_lines_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "", raw(query="first"), " \t", "\r", raw(query="second"), "")
    rows = TrainingRows.open([path])
    assert [(row.query, row.where) for row in rows] == [("first", f"{path}:2"), ("second", f"{path}:5")]


def test_a_last_line_without_line_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", raw(query="one"), raw(query="two"))
    path.write_bytes(path.read_bytes().rstrip())
    rows = TrainingRows.open([path])
    path.write_bytes(path.read_bytes() + b"\n")  # what an editor does; the row is the same
    assert [row.query for row in rows] == ["one", "two"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", codecs.BOM_UTF8 + json.dumps(raw(query="one")).encode(), raw(query="two"))
    assert [row.query for row in TrainingRows.open([path])] == ["one", "two"]


def test_indices(tmp_path: Path) -> None:
    rows = TrainingRows.open([write(tmp_path / "a.jsonl", *(raw(query=str(i)) for i in range(3)))])
    assert (rows[-1].query, rows[-3].query, rows[np.int64(1)].query) == ("2", "0", "1")
    for index in (3, -4):
        with pytest.raises(IndexError):
            rows[index]


def test_several_files_and_sources(tmp_path: Path) -> None:
    first = write(tmp_path / "nq.jsonl", raw(query="a"), raw(query="b", source="other"))
    nothing = write(tmp_path / "nothing.jsonl", "")
    second = write(tmp_path / "msmarco.v2.jsonl", raw(query="c"), raw(query="d", source="nq"))
    rows = TrainingRows.open([first, nothing, second])
    assert [row.query for row in rows] == ["a", "b", "c", "d"]
    assert rows.source_names == ["nq", "other", "msmarco.v2"]
    assert rows.sources.dtype == np.uint16
    assert rows.sources.tolist() == [0, 1, 2, 0]
    assert [rows.source_names[source] for source in rows.sources] == [row.source for row in rows]
    assert [row.where for row in rows] == [f"{first}:1", f"{first}:2", f"{second}:1", f"{second}:2"]


def test_digests_are_of_all_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "", raw(), b"\xff", "", end=b"\r\n")
    rows = TrainingRows.open([path], max_bad=1)
    assert rows.digests == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}


def test_too_many_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("o1_retriever.training.rows.MOST_SOURCES", 2)
    path = write(tmp_path / "a.jsonl", *(raw(source=source) for source in "aba"))
    assert TrainingRows.open([path]).source_names == ["a", "b"]
    write(path, *(raw(source=source) for source in "abac"))
    with pytest.raises(DatasetError, match=r"a\.jsonl:4: .*more than 2 sources"):
        TrainingRows.open([path])


# bad rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"query": "q", "pos": ["p', "not JSON"),
        (b'{"query": "q", "pos": ["p"]} {}', "not JSON"),
        (b'{"query": "\xff", "pos": ["p"]}', "not UTF-8"),
        (b'{"query": "\xed\xa0\x80", "pos": ["p"]}', "not UTF-8"),
        (b"[" * 200_000, "not JSON"),
        (b"[1]", "expected a JSON object"),
        (b'{"query": "a \\ud800", "pos": ["p"]}', "'query' holds a lone surrogate"),
        (b'{"query": "q", "pos": ["p"], "pos_scores": [NaN]}', "'pos_scores' must be"),
        (b'{"query": "q", "pos": ["p"], "pos_scores": [1e999]}', "'pos_scores' must be"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_bad_lines_are_named_by_number(tmp_path: Path, line: bytes, message: str) -> None:
    path = write(tmp_path / "a.jsonl", raw(query="ä"), "", line, raw(query="last"))
    rows = TrainingRows.open([path], max_bad=1)
    assert [row.query for row in rows] == ["ä", "last"]
    assert (rows.bad_count, len(rows.bad)) == (1, 1)
    assert rows.bad[0].startswith(f"{path}:3: {message}")


def test_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(raw()).encode("utf-16"))
    with pytest.raises(DatasetError, match=r"a\.jsonl:1: not UTF-8"):
        TrainingRows.open([path])


def test_as_many_bad_rows_as_are_allowed(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", "{", raw(), "[]")
    second = write(tmp_path / "b.jsonl", raw(), raw(pos=[]))
    assert len(TrainingRows.open([first, second], max_bad=3)) == 2
    with pytest.raises(DatasetError, match="3 bad rows, 2 are allowed: raise max_bad_rows or mend the file") as caught:
        TrainingRows.open([first, second], max_bad=2)
    for place in (f"{first}:1: ", f"{first}:3: ", f"{second}:2: "):  # the pass went on to the end
        assert place in str(caught.value)


def test_no_bad_row_is_allowed_unless_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", raw(), "{")
    with pytest.raises(DatasetError, match="1 bad rows, 0 are allowed"):
        TrainingRows.open([path])
    with pytest.raises(DatasetError, match="1 bad rows, 0 are allowed"):
        load_rows([str(path)])
    assert len(load_rows([str(path)], max_bad=1)) == 1


def test_many_bad_rows_do_not_flood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.jsonl", raw(), *["{}"] * 1005)
    with caplog.at_level(logging.WARNING):
        rows = TrainingRows.open([path], max_bad=1005)
    assert (rows.bad_count, len(rows.bad)) == (1005, 1000)
    assert rows.bad[999].startswith(f"{path}:1001: ")
    told = [record.getMessage() for record in caplog.records if record.name == "o1_retriever.training.rows"]
    assert len(told) == 21
    assert f"{path}:21: " in told[19]
    assert told[20].startswith("1005 bad rows")
    with pytest.raises(DatasetError) as caught:
        TrainingRows.open([path], max_bad=1004)
    assert len(str(caught.value)) < 1500


def test_good_files_warn_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    TrainingRows.open([write(tmp_path / "a.jsonl", raw(neg=[]))])
    assert not caplog.records


def test_no_rows_at_all(tmp_path: Path) -> None:
    empty, bad = write(tmp_path / "empty.jsonl", ""), write(tmp_path / "bad.jsonl", "{}")
    for paths in ([], [empty], [empty, bad]):
        with pytest.raises(DatasetError, match="no training row"):
            TrainingRows.open(paths, max_bad=5)


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl.gz", b"anything"), ("a.jsonl", b"\x1f\x8b\x08\x00")], ids=["name", "bytes"]
)
def test_compressed_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name} is compressed.*decompress it first"):
        TrainingRows.open([tmp_path / name], max_bad=5)


def test_files_are_all_looked_for_before_any_is_read(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", "{")
    with pytest.raises(DatasetError, match=r"away\.jsonl: no such file"):
        TrainingRows.open([bad, tmp_path / "away.jsonl"])
    with pytest.raises(DatasetError, match="is no regular file"):
        TrainingRows.open([bad, tmp_path])


# rows stay on the disk


def test_rows_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(raw(query=f"{i}", pos=["text " * 4000]) for i in range(50)))
    pickled = pickle.dumps(TrainingRows.open([path]))
    assert len(pickled) < path.stat().st_size / 100
    copy = pickle.loads(pickled)
    assert [copy[i].query for i in (49, 0, 17)] == ["49", "0", "17"]
    assert (copy.sources.tolist(), copy.source_names, len(copy)) == ([0] * 50, ["a"], 50)
    path.unlink()
    with pytest.raises(DatasetError, match=r"a\.jsonl cannot be read"):
        copy[3]


def test_pickles_hold_no_handle_after_reading(tmp_path: Path) -> None:
    rows = TrainingRows.open([write(tmp_path / "a.jsonl", raw(query="one"), raw(query="two"))])
    assert rows[1].query == "two"
    assert pickle.loads(pickle.dumps(rows))[0].query == "one"


def _wrong_reads(rows: TrainingRows, start: int) -> int:
    order = [(start + 7 * i) % len(rows) for i in range(300)]
    return sum(rows[i].query != str(i) for i in order)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_do_not_move_each_others_place(tmp_path: Path) -> None:
    """DataLoader workers inherit what the parent has open, file positions among it."""
    path = write(tmp_path / "a.jsonl", *(raw(query=f"{i}", pos=["x" * (i % 50 + 1)]) for i in range(100)))
    rows = TrainingRows.open([path])
    assert rows[5].query == "5"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap(_wrong_reads, [(rows, 0), (rows, 50)]) == [0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"\n" + content,
        lambda content: content.replace(b"two", b"owt"),
        lambda content: b"".join(reversed(content.splitlines(keepends=True))),
    ],
    ids=["torn", "emptied", "shifted", "same length", "reordered"],
)
def test_a_file_changed_while_training(tmp_path: Path, change: Any) -> None:
    path = write(tmp_path / "a.jsonl", raw(query="one"), raw(query="two"))
    rows = TrainingRows.open([path])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: the file changed while training"):
        rows[1]


# names


def test_an_existing_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner").mkdir()
    write(tmp_path / "owner/name", raw(query="mine"))
    monkeypatch.chdir(tmp_path)
    assert load_rows(["owner/name"])[0].query == "mine"


@pytest.mark.parametrize(
    "name", ["owner/train.jsonl", "owner/train.json", "owner/train.jsonl.gz", "/a/b/c", "a/b/c", "train", "./train"]
)
def test_missing_files_are_not_asked_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=f"^{Path(name)}: no such file"):
        load_rows([name])


def test_the_hub_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'o1-retriever\[train\]'"):
        load_rows(["owner/name@v1"])


def test_files_and_the_hub_are_not_mixed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", raw())
    with pytest.raises(DatasetError, match=r"owner/name.*cannot be mixed"):
        load_rows([str(path), "owner/name"])


# the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `load_dataset` reads as it reads a repository; caches stay within the test."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "my@repository"  # the sign is no revision in a folder's name
    folder.mkdir()
    return folder


def test_rows_of_a_dataset(hub: Path) -> None:
    write(
        hub / "train.jsonl",
        raw(query="a", thought="t", neg=["n"]),
        raw(query="b", pos=["ä", "p"], pos_scores=[1.5, 2], prompt="P:"),
        raw(query=" "),
        raw(query="c", thoughts=["x", "y"], source="other"),
    )
    rows = HubRows.open([hub], max_bad=1)
    assert [(row.query, row.where) for row in rows] == [
        ("a", f"{hub}:row 0"),
        ("P: b", f"{hub}:row 1"),
        ("c", f"{hub}:row 3"),
    ]
    assert [row.thoughts for row in rows] == [("t",), (), ("x", "y")]
    assert (rows[1].positives, rows[1].positive_scores) == (("ä", "p"), (1.5, 2.0))
    assert rows.bad == [f"{hub}:row 2: 'query' is missing or empty: remove the row or give it a query."]
    assert (rows.bad_count, rows.source_names, rows.sources.tolist()) == (1, [str(hub), "other"], [0, 0, 1])
    assert [row.query for row in pickle.loads(pickle.dumps(rows))] == ["a", "P: b", "c"]
    with pytest.raises(DatasetError, match="1 bad rows, 0 are allowed"):
        HubRows.open([hub])


def test_the_digest_of_a_dataset_is_that_of_its_rows(hub: Path) -> None:
    def digest(**fields: Any) -> str:
        write(hub / "train.jsonl", raw(**fields), raw())
        (value,) = HubRows.open([hub]).digests.values()
        return value

    assert digest(query="a") == digest(query="a")
    assert digest(query="a") != digest(query="b")
    assert len(digest()) == 64


def test_several_datasets(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(hub / "train.jsonl", raw(query="a"), raw(query="b"))
    write(tmp_path / "other/train.jsonl", raw(query="c"))
    rows = HubRows.open([hub, tmp_path / "other"])
    assert [row.query for row in rows] == ["a", "b", "c"]
    assert rows[2].where == f"{tmp_path / 'other'}:row 0"


def test_a_dataset_that_cannot_be_loaded(hub: Path) -> None:
    """Tests have no network: what the hub would be asked for does not come."""
    with pytest.raises(DatasetError, match=r"^owner/name is no file, and no split 'train'"):
        load_rows(["owner/name"])
    write(hub / "train.jsonl", "no JSON")
    with pytest.raises(DatasetError, match="no split 'train'"):
        HubRows.open([hub])


def test_name_and_revision(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    write(hub / "train.jsonl", raw())
    load, asked = datasets.load_dataset, []

    def stub(path: str, split: str, revision: str | None) -> Any:
        asked.append((path, split, revision))
        return load(str(hub), split=split)

    monkeypatch.setattr(datasets, "load_dataset", stub)
    rows = load_rows(["owner/name", "owner/name@v1.0", "owner/name@refs/pr/1"])
    assert asked == [("owner/name", "train", revision) for revision in (None, "v1.0", "refs/pr/1")]
    assert [row.where for row in rows] == [
        "owner/name:row 0",
        "owner/name@v1.0:row 0",
        "owner/name@refs/pr/1:row 0",
    ]
    assert rows.source_names == ["owner/name"]
    assert len(rows.digests) == 3

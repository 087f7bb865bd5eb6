"""A journal that is cut at every byte gives back what was whole, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1_retriever.errors import StorageError
from o1_retriever.synthesis.journal import Journal

ROWS = {"a": {"texts": ["é", "two\nlines"]}, "b": {"texts": []}, "c\ud800": {"n": 3}}


def written(folder: Path) -> Path:
    with Journal(folder, "explore", {"k": 3}) as journal:
        for key, row in ROWS.items():
            journal.append(key, row)
    return journal.path


def test_rows_come_back(tmp_path: Path) -> None:
    written(tmp_path)
    with Journal(tmp_path, "explore", {"k": 3}) as journal:
        assert len(journal) == 3 and "a" in journal and "z" not in journal
        assert {key: journal[key] for key in ROWS} == {key: {"id": key, **row} for key, row in ROWS.items()}


def test_killed_at_any_byte(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "explore.1of1.jsonl").write_bytes(whole[:cut])
        with Journal(folder, "explore", {"k": 3}) as journal:
            kept = max(sum(end <= cut for end in ends) - 1, 0)
            assert len(journal) == kept
            for key, row in list(ROWS.items())[kept:]:
                journal.append(key, row)
            assert journal["a"]["texts"] == ROWS["a"]["texts"]
        assert (folder / "explore.1of1.jsonl").read_bytes() == whole


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path)
    with (
        pytest.raises(StorageError, match=r"other settings \(k\).*remove explore"),
        Journal(tmp_path, "explore", {"k": 4}),
    ):
        pass
    with Journal(tmp_path, "explore", {"k": 3}):
        pass  # the failure left no lock behind


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{"id": "b"', b'{"id" "b"'))
    with pytest.raises(StorageError, match="damaged"), Journal(tmp_path, "explore", {"k": 3}):
        pass


def test_one_writer_per_shard_and_all_rows_are_seen(tmp_path: Path) -> None:
    with Journal(tmp_path, "explore", {}, "1of2") as first, Journal(tmp_path, "explore", {}, "2of2") as second:
        first.append("a", {"n": 1})
        second.append("b", {"n": 2})
        assert "b" not in first
        first.refresh()
        assert first["b"]["n"] == 2
        with pytest.raises(StorageError, match="Another process"), Journal(tmp_path, "explore", {}, "1of2"):
            pass


def test_processes_with_other_numbers_of_shards_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path, "explore", {}, "1of2"):
        with pytest.raises(StorageError, match="Another process"), Journal(tmp_path, "explore", {}, "1of1"):
            pass
        with Journal(tmp_path, "explore", {}, "2of2"):
            pass
    with Journal(tmp_path, "explore", {}, "1of1"):
        pass


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    with Journal(tmp_path, "explore", {}) as journal, pytest.raises(StorageError, match="no row of explore for 'x'"):
        journal["x"]


def test_a_line_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    whole = written(tmp_path)
    torn = tmp_path / "explore.2of2.jsonl"
    torn.write_bytes(whole.read_bytes()[:-5])
    with Journal(tmp_path, "explore", {"k": 3}) as journal:
        assert len(journal) == 3
    assert torn.read_bytes() == whole.read_bytes()[:-5]


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="another folder"):
        Journal(tmp_path / "file", "explore", {})

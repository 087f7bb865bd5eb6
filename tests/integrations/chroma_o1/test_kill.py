"""Indexing that is killed or stopped goes on where it was."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chroma_o1 import O1ChromaStore, Passage, backend
from chroma_o1.persistence import FOLDER
from o1_retriever import O1Embedder

Make = Callable[[int], list[Passage]]
Start = Callable[..., subprocess.Popen[str]]
Said = Callable[[subprocess.Popen[str], str], None]

COUNT, WINDOW = 1000, 25
KILLS = (0, 1, 8, 19, 33)  # windows in which a run is killed
INDEX = f"""
import os, random, signal
backend.HNSW["sync_threshold"] = {WINDOW}  # saves the index after each window: the most dangerous setting
embedder = O1Embedder.from_pretrained(sys.argv[1])

def index(store, out):
    def watched():
        for number, passage in enumerate(passages({COUNT})):
            if number % {WINDOW} == 0:
                print(f"window {{number // {WINDOW}}}", file=out, flush=True)
            yield passage
    with O1ChromaStore(embedder, path=store, window={WINDOW}) as opened:
        before = opened.count()
        report = opened.add(watched())
        print(f"done {{before}} {{report.added}} {{report.present}}", file=out, flush=True)

def run(store, kill_at=None):
    # a process of its own, forked while nothing runs here yet: imports take longer than all the rest
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        index(store, os.fdopen(outlet, "w"))
        os._exit(0)
    os.close(outlet)
    with os.fdopen(inlet) as lines:
        for line in lines:
            if line.strip() == f"window {{kill_at}}":
                time.sleep(random.uniform(0, 0.05))
                os.kill(child, signal.SIGKILL)
                break
        os.waitpid(child, 0)
    say(line.strip())

run(sys.argv[2])
random.seed(0)
for window in {KILLS}:
    run(sys.argv[3], window)
    sys.stdin.readline()  # what is there now is looked at
run(sys.argv[3])
"""


def rows_of(embedder: O1Embedder, path: Path) -> dict[str, tuple[bytes, str, str]]:
    """id -> vector, text and metadata; also makes sure that each vector is found by a query."""
    with O1ChromaStore(embedder, path=path, create=False) as store:
        rows = store.collection.get(include=["embeddings", "documents", "metadatas"])
        vectors = np.asarray(rows["embeddings"], dtype=np.float32)
        found = store.search_batch(vectors, k=1)
        assert min(hits[0].score for hits in found) > 0.99999
        assert sum(hits[0].id == i for hits, i in zip(found, rows["ids"], strict=True)) >= 0.99 * len(found)
    columns = zip(rows["ids"], vectors, rows["documents"], rows["metadatas"], strict=True)
    return {i: (v.tobytes(), str(d), repr(sorted(m.items()))) for i, v, d, m in columns}


@pytest.mark.slow
def test_killed_runs_end_like_an_undisturbed_one(
    loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start, said: Said
) -> None:
    smooth, rough = tmp_path / "smooth", tmp_path / "rough"
    child, before = process(INDEX, tiny_folder, smooth, rough), 0
    assert child.stdin is not None
    said(child, f"done 0 {COUNT} 0")
    for window in KILLS:
        said(child, f"window {window}")
        after = _rows_in(rough)
        assert after >= max(before, (window - 1) * WINDOW) and after % WINDOW == 0
        before = after
        child.stdin.write("\n")
        child.stdin.flush()
    assert 0 < before < COUNT
    said(child, f"done {before} {COUNT - before} {before}")
    expected, found = rows_of(loaded, smooth), rows_of(loaded, rough)
    assert len(expected) == COUNT
    assert found == expected


def _rows_in(store: Path) -> int:
    """Rows that SQLite has committed, without opening the store."""
    if not (store / "chroma.sqlite3").is_file():
        return 0
    with sqlite3.connect(f"file:{store / 'chroma.sqlite3'}?mode=rw", uri=True) as connection:
        ids = "SELECT id FROM embeddings_queue UNION SELECT embedding_id FROM embeddings"
        try:
            return int(connection.execute(f"SELECT count(*) FROM ({ids})").fetchone()[0])
        except sqlite3.OperationalError as error:
            assert "no such table" in str(error)  # killed while Chroma made its tables
            return 0


@pytest.fixture
def often_saved(
    tiny: O1Embedder, tmp_path: Path, passages: Make, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, tuple[bytes, str, str]]]:
    """A store of 250 passages whose index was saved five times, and its rows."""
    monkeypatch.setitem(backend.HNSW, "sync_threshold", 50)
    with O1ChromaStore(tiny, path=tmp_path / "store", window=50) as store:
        store.add(passages(250))
    return tmp_path / "store", rows_of(tiny, tmp_path / "store")


@pytest.mark.parametrize("name", ["data_level0.bin", "header.bin", "index_metadata.pickle", "link_lists.bin"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_half_written_index_files_are_mended(
    often_saved: tuple[Path, dict[str, tuple[bytes, str, str]]], tiny: O1Embedder, name: str, damage: str
) -> None:
    path, expected = often_saved
    [file] = path.glob(f"*/{name}")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "cut" else b"\xff" * 5000)
    assert rows_of(tiny, path) == expected


def test_first_save_half_written(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    """Before the first complete save there is nothing to go back to but SQLite."""
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(40))
    expected = rows_of(tiny, tmp_path)
    [folder] = [p for p in tmp_path.iterdir() if p.is_dir() and p.name != FOLDER]
    for file in folder.iterdir():
        file.write_bytes(b"\0" * 100)
    assert rows_of(tiny, tmp_path) == expected


def test_interrupted_copy_is_made_again(
    often_saved: tuple[Path, dict[str, tuple[bytes, str, str]]], tiny: O1Embedder, passages: Make
) -> None:
    path, expected = often_saved
    copies = path / FOLDER / "index"
    [copy] = copies.iterdir()
    stale = copies / f"{copy.name.partition('.')[0]}.50"  # killed after a save, before the copy of it
    copy.rename(stale)
    (stale / "manifest.json").write_text((stale / "manifest.json").read_text().replace('"row": 250', '"row": 50'))
    shutil.copytree(stale, copies / "new")
    assert rows_of(tiny, path) == expected
    assert [p.name for p in copies.iterdir()] == [copy.name]


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_a_usable_store(
    loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start, said: Said
) -> None:
    lines = "".join(f'{{"_id": "{i}", "text": "passage number {i}"}}\n' for i in range(20_000))
    (tmp_path / "rows.jsonl").write_text(lines)
    script = 'sys.exit(cli.main(["index", sys.argv[1], "--store", sys.argv[2], "--model", sys.argv[3]]))'
    child = process(script, tmp_path / "rows.jsonl", tmp_path / "store", tiny_folder)
    while _rows_in(tmp_path / "store") == 0 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    assert "stopped" in errors and "Traceback" not in errors
    with O1ChromaStore(loaded, path=tmp_path / "store", create=False) as store:
        assert 0 < store.count() < 20_000 and store.count() % 1000 == 0
        assert store.search("passage number 5", k=3)


SPILL = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")  # changed pages go to the file before the commit
connection.execute("CREATE TABLE filler (x)")
connection.executemany("INSERT INTO filler VALUES (?)", [("a" * 900,)] * 500)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_store_killed_inside_a_transaction_opens(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with O1ChromaStore(tiny, path=tmp_path / "store") as store:
        store.add(passages(20))
    database = tmp_path / "store" / "chroma.sqlite3"
    subprocess.run([sys.executable, "-c", SPILL, str(database)], check=False)
    assert database.with_name("chroma.sqlite3-journal").stat().st_size > 0, "the case must leave a journal behind"
    with O1ChromaStore(tiny, path=tmp_path / "store", create=False) as store:
        assert store.count() == 20

"""Folders that cannot be written, full disks, damaged stores: real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chroma_o1 import O1ChromaStore, Passage, StoreError
from o1_retriever import O1Embedder

Make = Callable[[int], list[Passage]]
Start = Callable[..., subprocess.Popen[str]]


def mount(*arguments: object) -> bool:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", folder):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def long_passages(count: int) -> list[Passage]:
    return [Passage(f"{i} " + "many words " * 8) for i in range(count)]


def test_full_disk_is_an_error_and_loses_nothing(tiny: O1Embedder, small_disk: Path) -> None:
    path = small_disk / "store"
    store = O1ChromaStore(tiny, path=path, window=100)
    with store, pytest.raises(StoreError, match=r"full.*Free some space.*kept"):
        store.add(long_passages(20_000))
    assert mount("-o", "remount,size=30m", small_disk)
    with O1ChromaStore(tiny, path=path, window=100) as store:
        kept = store.count()
        assert 100 <= kept < 20_000 and kept % 100 == 0
        report = store.add(long_passages(kept + 300))
        assert (report.added, report.present) == (300, kept)
        vectors = tiny.encode_document([p.full_text for p in long_passages(kept + 300)][-150:])
        assert all(hits[0].score > 0.9999 for hits in store.search_batch(vectors, k=1))


def test_disk_full_from_the_start(tiny: O1Embedder, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"\0" * ((3 << 20) - 8192))
    with pytest.raises(StoreError, match="full"):
        O1ChromaStore(tiny, path=small_disk / "store")
    (small_disk / "ballast").unlink()
    with O1ChromaStore(tiny, path=small_disk / "store") as store:
        assert store.add([Passage("a")]).added == 1


def test_read_only_disk(tiny: O1Embedder, small_disk: Path, tmp_path: Path) -> None:
    # Made elsewhere and copied: a file still open for writing anywhere would make the remount fail as busy.
    with O1ChromaStore(tiny, path=tmp_path / "made") as store:
        store.add([Passage("a")])
    shutil.copytree(tmp_path / "made", small_disk / "store")
    if not mount("-o", "remount,ro", small_disk):
        pytest.skip("this system cannot make a mounted file system read-only")
    for name in ("store", "new"):
        with pytest.raises(StoreError, match="not writable"):
            O1ChromaStore(tiny, path=small_disk / name)


def test_path_below_a_file(tiny: O1Embedder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="is a file"):
            O1ChromaStore(tiny, path=path)
    assert (tmp_path / "file").read_text() == "x"


def test_damaged_database(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add([Passage("a")])
    (tmp_path / "chroma.sqlite3").write_bytes(b"no database " * 1000)
    with pytest.raises(StoreError, match="damaged"):
        O1ChromaStore(tiny, path=tmp_path)


@pytest.mark.slow
def test_limit_on_file_sizes(loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start) -> None:
    script = """
    import resource
    embedder = O1Embedder.from_pretrained(sys.argv[1])
    with O1ChromaStore(embedder, path=sys.argv[2], window=100) as store:
        store.add(passages(100))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            store.add(passages(20_000))
        except StoreError as error:
            say(f"refused: {error}")
    """
    output, errors = process(script, tiny_folder, tmp_path / "store").communicate()
    assert "refused: Store" in output, errors
    with O1ChromaStore(loaded, path=tmp_path / "store", create=False) as store:
        kept = store.count()
        assert kept >= 100 and kept % 100 == 0
        assert len(store.search("passage 5", k=kept)) == kept

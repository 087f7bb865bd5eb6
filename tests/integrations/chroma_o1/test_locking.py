"""One process that writes, or several that read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chroma_o1 import O1ChromaStore, Passage, StoreLockedError
from chroma_o1.locking import FOLDER, StoreLock
from o1_retriever import O1Embedder

Start = Callable[..., subprocess.Popen[str]]
Said = Callable[[subprocess.Popen[str], str], None]

HOLD = """
with O1ChromaStore(O1Embedder.from_pretrained(sys.argv[1]), path=sys.argv[2]) as store:
    def slow():
        yield Passage("first")
        say("holds")
        sys.stdin.readline()
    if sys.argv[3] == "write":
        store.add(slow())
    else:
        say("holds")
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_writer_keeps_others_out(
    loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start, said: Said
) -> None:
    writer = process(HOLD, tiny_folder, tmp_path, "write")
    said(writer, "holds")
    with pytest.raises(StoreLockedError) as caught:
        O1ChromaStore(loaded, path=tmp_path, lock_timeout=0.2)
    assert str(tmp_path / FOLDER / "write.lock") in str(caught.value)
    assert f"process {writer.pid} " in str(caught.value) and "chroma run" in str(caught.value)
    writer.kill()
    writer.wait()
    with O1ChromaStore(loaded, path=tmp_path, lock_timeout=0.2) as store:  # nothing to clean up after a dead process
        assert store.add([Passage("second")]).added == 1


@pytest.mark.slow
def test_readers_share_and_keep_a_writer_out(
    loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start, said: Said
) -> None:
    with O1ChromaStore(loaded, path=tmp_path) as store:
        store.add([Passage("first")])
        reader = process(HOLD, tiny_folder, tmp_path, "read")
        said(reader, "holds")
        assert store.search("first", num_thoughts=0)[0].text == "first"
        with pytest.raises(StoreLockedError, match=f"open in process {reader.pid} "):
            store.add([Passage("second")])
        assert store.count() == 1
        assert reader.communicate("\n")[0] is not None and reader.returncode == 0
        assert store.add([Passage("second")]).added == 1


def test_lock_of_a_process_is_shared_by_its_stores(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as first:
        with O1ChromaStore(tiny, path=tmp_path, collection="another") as second:
            assert first.add([Passage("a")]).added == second.add([Passage("a")]).added == 1
        assert len(list((tmp_path / FOLDER / "open").iterdir())) == 1
        assert first.count() == 1
    assert not list((tmp_path / FOLDER / "open").iterdir())


def test_failed_opening_gives_the_lock_back(tmp_path: Path) -> None:
    lock = StoreLock.of(tmp_path)
    with pytest.raises(OSError, match="gone"), lock.opening(0.1) as alone:
        assert alone
        raise OSError("gone")
    assert not list((tmp_path / FOLDER / "open").iterdir())
    with lock.opening(0.1) as alone:
        assert alone
    with lock.opening(0.1) as alone:
        assert not alone
    lock.leave()
    lock.leave()

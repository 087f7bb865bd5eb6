"""The cache of vectors: nothing is encoded twice, nothing half-written is believed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from o1_retriever.errors import StorageError
from o1_retriever.fingerprints import digest
from o1_retriever.vectors import VectorCache, hash_texts


class CountingEncoder:
    """The vector of a text is its length; remembers what it was asked for."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


TEXTS = ["a" * n for n in range(1, 8)]


def test_vectors_come_in_order_and_are_made_once(tmp_path: Path) -> None:
    encoder, cache = CountingEncoder(), VectorCache(tmp_path, chunk=3)
    first = cache.vectors("key", TEXTS, encoder, "test")
    assert first.vectors[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    again = cache.vectors("key", TEXTS, encoder, "test")
    assert encoder.seen == TEXTS
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert again.seconds == first.seconds > 0


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7])
def test_chunk_boundaries(tmp_path: Path, size: int) -> None:
    stored = VectorCache(tmp_path, chunk=3).vectors("key", TEXTS[:size], CountingEncoder(), "test")
    assert stored.vectors[:, 0].tolist() == list(range(1, size + 1))
    assert len(list(tmp_path.glob("*/*.npy"))) == -(-size // 3)


def test_only_missing_chunks_are_encoded(tmp_path: Path) -> None:
    encoder, cache = CountingEncoder(), VectorCache(tmp_path, chunk=3)
    cache.vectors("key", TEXTS, encoder, "test")
    sorted(tmp_path.glob("*/*.npy"))[1].unlink()
    encoder.seen.clear()
    cache.vectors("key", TEXTS, encoder, "test")
    assert encoder.seen == TEXTS[3:6]


def test_a_half_written_file_is_not_a_chunk(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, chunk=3)
    cache.vectors("key", TEXTS, CountingEncoder(), "test")
    last = sorted(tmp_path.glob("*/*.npy"))[-1]
    last.rename(last.with_name(f".{last.name}.partial"))
    encoder = CountingEncoder()
    assert len(cache.vectors("key", TEXTS, encoder, "test").vectors) == len(TEXTS)
    assert encoder.seen == TEXTS[6:]


@pytest.mark.parametrize(("key", "texts"), [("other", TEXTS), ("key", TEXTS[::-1]), ("key", TEXTS[:-1])])
def test_other_models_and_other_texts_are_other_entries(tmp_path: Path, key: str, texts: list[str]) -> None:
    cache = VectorCache(tmp_path)
    cache.vectors("key", TEXTS, CountingEncoder(), "test")
    encoder = CountingEncoder()
    cache.vectors(key, texts, encoder, "test")
    assert encoder.seen == texts


def test_the_hash_sees_where_texts_end() -> None:
    assert hash_texts(["ab", "c"]) != hash_texts(["a", "bc"])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nonsense"])
def test_a_damaged_chunk_is_named(tmp_path: Path, content: bytes) -> None:
    cache = VectorCache(tmp_path)
    cache.vectors("key", TEXTS, CountingEncoder(), "test")
    next(tmp_path.glob("*/*.npy")).write_bytes(content)
    with pytest.raises(StorageError, match=r"chunk-000000000\.npy is damaged .*: remove it"):
        cache.vectors("key", TEXTS, CountingEncoder(), "test")


def test_two_processes_do_not_encode_the_same(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.vectors("key", TEXTS, CountingEncoder(), "test")
    folder = next(path for path in tmp_path.iterdir())
    with FileLock(folder / ".lock"), pytest.raises(StorageError, match="Another process"):
        cache.vectors("key", TEXTS, CountingEncoder(), "test")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        VectorCache(tmp_path / "file").vectors("key", TEXTS, CountingEncoder(), "test")


def test_a_second_process_may_wait_for_the_first(tmp_path: Path) -> None:
    encoder, cache = CountingEncoder(), VectorCache(tmp_path, chunk=3, wait=True)
    folder = tmp_path / digest("key", hash_texts(TEXTS), 3)
    folder.mkdir()
    locked = threading.Event()

    def first() -> None:
        with FileLock(folder / ".lock"):
            locked.set()
            time.sleep(0.3)

    thread = threading.Thread(target=first)
    thread.start()
    locked.wait()
    begin = time.monotonic()
    assert len(cache.vectors("key", TEXTS, encoder, "test").vectors) == len(TEXTS)
    assert time.monotonic() - begin > 0.2
    thread.join()


def test_blocks_are_mapped_when_they_are_asked_for(tmp_path: Path) -> None:
    stored = VectorCache(tmp_path, chunk=3).vectors("key", TEXTS, CountingEncoder(), "test")
    assert [len(block) for block in stored.blocks] == [3, 3, 1]
    assert stored.blocks[-1][0, 0] == 7 and [len(b) for b in stored.blocks[1:]] == [3, 1]
    open_files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    kept = [VectorCache(tmp_path / "many", chunk=1).vectors("key", ["a"] * 200, CountingEncoder(), "test")]
    assert not open_files or len(list(Path("/proc/self/fd").iterdir())) < open_files + 50
    assert len(kept[0].blocks) == 200

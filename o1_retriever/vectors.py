"""Vectors on disk: encoded in chunks that survive a kill, found again by what decides them.

One folder per list of texts and encoder; in it one `.npy` per chunk, and beside it the seconds the chunk took.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from o1_retriever.encoding import progress_bar
from o1_retriever.errors import StorageError
from o1_retriever.fingerprints import digest
from o1_retriever.storage import disk_errors, make_folder, write_whole

Array = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Array]
SLICE = 512
"""Texts handed to an encoder at once: how often the progress bar moves."""


@dataclass(frozen=True)
class Stored:
    """Vectors and what they cost.

    Attributes:
        blocks: memory maps of the chunks, (chunk, D) float32 each but the last, which may be shorter.
        seconds: time spent encoding, in whichever run it was done.
    """

    blocks: Blocks
    seconds: float

    @property
    def vectors(self) -> Array:
        """(N, D) float32, all in memory unless there is one chunk."""
        if not self.blocks:
            return np.empty((0, 0), dtype=np.float32)
        return self.blocks[0] if len(self.blocks) == 1 else np.concatenate(list(self.blocks))


class Blocks(Sequence[Array]):
    """Chunks on disk, each mapped when it is asked for: thousands of them need no thousands of open files.

    Args:
        paths: of the chunks.
        chunk: rows of each but the last.
        total: rows of all.
    """

    def __init__(self, paths: Sequence[Path], chunk: int, total: int) -> None:
        self._paths, self.chunk, self._total = paths, chunk, total

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Array: ...

    @overload
    def __getitem__(self, index: slice) -> list[Array]: ...

    def __getitem__(self, index: int | slice) -> Array | list[Array]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        position = range(len(self))[index]
        return _load_chunk(self._paths[position], min(self.chunk, self._total - position * self.chunk))


class VectorCache:
    """Encodes texts chunk by chunk and keeps every finished chunk.

    Args:
        folder: where the vectors are kept.
        chunk: texts per file; a kill loses at most the work on one chunk.
        wait: for another process that is encoding the same, instead of an error.
    """

    def __init__(self, folder: Path, chunk: int = 1024, *, wait: bool = False) -> None:
        self.folder, self.chunk, self.wait = folder, chunk, wait

    def vectors(self, key: str, texts: Sequence[str], encode: Encode, label: str) -> Stored:
        """Vectors of the texts, in their order; only chunks that are not there yet are encoded.

        Args:
            key: names everything but the texts that decides the vectors.
            texts: N of them.
            encode: gives (n, D) for n texts.
            label: of the progress bar.

        Raises:
            StorageError: the disk refuses, a file is damaged, or another process is encoding the same.
        """
        folder = make_folder(self.folder / digest(key, hash_texts(texts), self.chunk))
        with _locked(folder, self.wait):
            self._encode_missing(folder, texts, encode, label)
        return self._load(folder, len(texts))

    def _encode_missing(self, folder: Path, texts: Sequence[str], encode: Encode, label: str) -> None:
        missing = [start for start in range(0, len(texts), self.chunk) if not _chunk_path(folder, start).is_file()]
        left = sum(len(texts[start : start + self.chunk]) for start in missing)
        with progress_bar(len(texts), label, show=bool(missing)) as bar:
            bar.update(len(texts) - left)
            for start in missing:
                vectors, seconds = _encode(texts[start : start + self.chunk], encode, bar.update)
                path = _chunk_path(folder, start)
                write_whole(path.with_suffix(".seconds"), repr(seconds).encode())
                write_whole(path, _npy(vectors))  # last: its presence says that the chunk is complete

    def _load(self, folder: Path, total: int) -> Stored:
        paths = [_chunk_path(folder, start) for start in range(0, total, self.chunk)]
        blocks = Blocks(paths, self.chunk, total)
        for block in blocks:
            del block  # a damaged file shows now, not in the middle of a search
        with disk_errors(folder):
            seconds = sum(float(path.with_suffix(".seconds").read_text(encoding="ascii")) for path in paths)
        return Stored(blocks, seconds)


@contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    """One process at a time; the lock of a killed one is free."""
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    with disk_errors(folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(f"Another process is writing {folder}: wait for it or use another folder.") from error
    try:
        yield
    finally:
        lock.release()


def hash_texts(texts: Sequence[str]) -> str:
    """Hash of the texts and their order."""
    total = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", errors="surrogatepass")
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:16]


def _encode(texts: Sequence[str], encode: Encode, progress: Callable[[int], object]) -> tuple[Array, float]:
    parts, seconds = [], 0.0
    for start in range(0, len(texts), SLICE):
        part = texts[start : start + SLICE]
        begin = time.perf_counter()
        parts.append(np.asarray(encode(part), dtype=np.float32))
        seconds += time.perf_counter() - begin
        progress(len(part))
    return np.concatenate(parts), seconds


def _chunk_path(folder: Path, start: int) -> Path:
    return folder / f"chunk-{start:09d}.npy"


def _npy(vectors: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    return buffer.getvalue()


def _load_chunk(path: Path, rows: int) -> Array:
    """A chunk as a memory map.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        vectors: Array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged ({error}): remove it and run again.") from error
    if vectors.ndim != 2 or len(vectors) != rows:
        raise StorageError(f"{path} holds {vectors.shape} instead of {rows} vectors: remove it and run again.")
    return vectors

"""Vectors on disk, found by their text: what a teacher has encoded once, for as many runs as are made.

vectors.npy   (N, D) float32
texts.npy     (N,) uint64, hashes of the texts, ascending
encoder.txt   what decided the vectors
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import CheckpointError
from o1_retriever.storage import disk_errors, make_folder, write_whole

Array = NDArray[np.float32]


def write_text_vectors(folder: Path, key: str, texts: Sequence[str], vectors: Array) -> None:
    """Writes a folder that `TextVectors` reads.

    Args:
        folder: is made; what it holds is replaced.
        key: what decided the vectors beside the texts (an encoder's `passage_key`).
        texts: N of them; of equal ones one is kept.
        vectors: (N, D).

    Raises:
        StorageError: the disk refuses.
    """
    make_folder(folder)
    with disk_errors(folder):
        (folder / "encoder.txt").unlink(missing_ok=True)  # written last: without it the folder is not read
    hashes, chosen = np.unique(_hashes(texts), return_index=True)
    for name, array in (("vectors", np.asarray(vectors, dtype=np.float32)[chosen]), ("texts", hashes)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_whole(folder / f"{name}.npy", buffer.getvalue())
    write_whole(folder / "encoder.txt", key.encode())


class TextVectors:
    """Reads such a folder; vectors stay on disk until they are asked for.

    Args:
        folder: that `write_text_vectors` wrote.
        key: what must have decided the vectors.

    Raises:
        CheckpointError: they are another encoder's, or the folder is damaged.
        StorageError: the disk refuses.
    """

    def __init__(self, folder: Path, key: str) -> None:
        if not (folder / "encoder.txt").is_file():
            raise CheckpointError(f"{folder} holds no complete vectors of texts: write them with write_text_vectors.")
        with disk_errors(folder):
            found = (folder / "encoder.txt").read_text(encoding="utf-8")
        if found != key:
            raise CheckpointError(f"The vectors in {folder} are another encoder's: write them anew with this teacher.")
        try:
            self._hashes: NDArray[np.uint64] = np.load(folder / "texts.npy")
            self._vectors: Array = np.load(folder / "vectors.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(f"The vectors in {folder} cannot be read ({error}): write them anew.") from error
        if len(self._hashes) != len(self._vectors) or not len(self._hashes):
            raise CheckpointError(f"The vectors in {folder} are none, or not as many as the texts: write them anew.")

    def find(self, texts: Sequence[str]) -> tuple[NDArray[np.bool_], Array]:
        """Which of N texts have a vector (N,), and the vectors of those, in their order."""
        wanted = _hashes(texts)
        places = np.searchsorted(self._hashes, wanted).clip(max=len(self._hashes) - 1)
        there = self._hashes[places] == wanted
        return there, self._vectors[places[there]]


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)

"""Between Chroma's columns and our objects: rows as stored passages and hits, and checked query vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chroma_o1.passages import TITLE, Hit, StoredPassage
from o1_retriever.errors import InvalidInputError, InvalidTypeError

_EXPECTED = "a query is a text or a vector of numbers; for several queries call search_batch"


def read_stored(columns: Mapping[str, Any]) -> Iterator[StoredPassage]:
    """The rows of `Collection.get` with documents and metadatas."""
    for row in zip(columns["ids"], columns["documents"], columns["metadatas"], strict=True):
        yield _stored(*row)


def read_hits(columns: Mapping[str, Any]) -> Iterator[list[Hit]]:
    """For each query the rows of `Collection.query` with documents, metadatas and distances."""
    names = ("ids", "documents", "metadatas", "distances")
    for query in zip(*(columns[name] for name in names), strict=True):
        yield [_hit(*row) for row in zip(*query, strict=True)]


def as_vectors(values: ArrayLike) -> NDArray[np.float32]:
    """Numbers as an array.

    Raises:
        InvalidTypeError: they are none.
    """
    try:
        if values is not None:
            return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(f"{_EXPECTED}, got {type(values).__name__} ({error}).") from error
    raise InvalidTypeError(f"{_EXPECTED}, got None.")


def cosines(vector: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) cosine similarities of a vector (D,) with the rows of (N, D), from -1 to 1."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.asarray(np.clip(rows @ vector / lengths, -1.0, 1.0), dtype=np.float32)


def check_vectors(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Returns the query vectors, or says why they cannot be searched for.

    Raises:
        InvalidInputError: another shape than (B, `dimension`), or a vector that is zero or not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidInputError(f"expected vectors of dimension {dimension}, got an array of shape {vectors.shape}.")
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise InvalidInputError("a query vector is zero or not finite: it has no direction to search in.")
    return vectors


def _stored(index: str, text: str | None, metadata: Mapping[str, Any] | None) -> StoredPassage:
    rest = dict(metadata or {})
    title = rest.pop(TITLE, None)
    return StoredPassage(index, text or "", "" if title is None else str(title), rest)


def _hit(index: str, text: str | None, metadata: Mapping[str, Any] | None, distance: float) -> Hit:
    found = _stored(index, text, metadata)
    return Hit(found.id, found.text, found.title, found.metadata, max(-1.0, min(1.0, 1.0 - distance)))

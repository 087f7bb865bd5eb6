"""Vectors in a byte store under keys that name their origin: for LangChain's `CacheBackedEmbeddings`.

Knows bytes and keys; which namespace belongs to what is decided in `embeddings.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from langchain_core.stores import BaseStore

from langchain_o1.query_embedding import DegradedVector


class VectorCache(BaseStore[str, list[float]]):
    """Texts to vectors, kept in a byte store that others may use as well.

    Args:
        store: where the bytes go.
        namespace: asked at every access, so that a setting which is changed later gets other entries at once.
    """

    def __init__(self, store: BaseStore[str, bytes], namespace: Callable[[], str]) -> None:
        self._store, self._namespace = store, namespace

    def mget(self, keys: Sequence[str]) -> list[list[float] | None]:
        """The vectors of the texts, None where there is none."""
        rows = self._store.mget(self._names(keys))
        return [None if row is None else np.frombuffer(row, dtype="<f4").tolist() for row in rows]

    def mset(self, key_value_pairs: Sequence[tuple[str, list[float]]]) -> None:
        """Keeps the vectors of the texts, but no `DegradedVector`: the next one may come out better."""
        kept = [(text, vector) for text, vector in key_value_pairs if not isinstance(vector, DegradedVector)]
        names = self._names([text for text, _ in kept])
        rows = [np.asarray(vector, dtype="<f4").tobytes() for _, vector in kept]
        if kept:
            self._store.mset(list(zip(names, rows, strict=True)))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Forgets the vectors of the texts."""
        self._store.mdelete(self._names(keys))

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys in the byte store, not the texts: those cannot be read from their hashes."""
        yield from self._store.yield_keys(prefix=prefix if prefix is not None else f"{self._namespace()}-")

    def _names(self, texts: Sequence[str]) -> list[str]:
        namespace = self._namespace()
        return [f"{namespace}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}" for text in texts]

"""Vectors in a byte store under keys that name their origin: for LangChain's `CacheBackedEmbeddings` and `O1Retriever`.

Knows bytes and keys; which namespace belongs to what is decided in `embeddings.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from langchain_core.stores import BaseStore

from langchain_o1.query_embedding import DegradedVector, QueryEmbedding


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
        """Forgets the vectors of the texts, and the thoughts that were kept with them."""
        namespace = self._namespace()
        self._store.mdelete([*self._names(keys), *(_entry_name(namespace, text) for text in keys)])

    def recall(self, query: str, namespace: str) -> QueryEmbedding | None:
        """A query's vector with its thoughts, as `remember` kept it.

        Args:
            query: its text.
            namespace: names everything that decides the vector; that of this object may be another.
        """
        return _read(query, self._store.mget([_entry_name(namespace, query)])[0])

    async def arecall(self, query: str, namespace: str) -> QueryEmbedding | None:
        """As `recall`, and leaves the event loop free."""
        return _read(query, (await self._store.amget([_entry_name(namespace, query)]))[0])

    def remember(self, found: QueryEmbedding, namespace: str) -> None:
        """Keeps a query's vector with its thoughts, unless it is degraded."""
        if not found.degraded:
            self._store.mset([(_entry_name(namespace, found.query), _written(found))])

    async def aremember(self, found: QueryEmbedding, namespace: str) -> None:
        """As `remember`, and leaves the event loop free."""
        if not found.degraded:
            await self._store.amset([(_entry_name(namespace, found.query), _written(found))])

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys in the byte store, not the texts: those cannot be read from their hashes."""
        yield from self._store.yield_keys(prefix=prefix if prefix is not None else f"{self._namespace()}-")

    def _names(self, texts: Sequence[str]) -> list[str]:
        namespace = self._namespace()
        return [f"{namespace}-{_hash(text)}" for text in texts]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _entry_name(namespace: str, query: str) -> str:
    return f"{namespace}-thoughts-{_hash(query)}"


def _written(found: QueryEmbedding) -> bytes:
    kept = {name: getattr(found, name) for name in ("embedding", "thoughts", "thought_embeddings")}
    return json.dumps(kept).encode()


def _read(query: str, row: bytes | None) -> QueryEmbedding | None:
    return None if row is None else QueryEmbedding(query, **json.loads(row), cached=True)

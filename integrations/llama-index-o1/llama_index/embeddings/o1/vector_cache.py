"""`embeddings_cache` made safe: entries that know their side and their model, in any key-value store of LlamaIndex.

LlamaIndex itself asks its cache with the bare text: a query would get the vector of a text of the same words, or a
vector of another model. So what an `O1Embedding` puts into that field shows LlamaIndex an empty cache that keeps
nothing, and `O1Embedding` reads and writes the store behind it with its own keys.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

from o1_retriever.errors import InvalidTypeError

Entry = dict[str, Any]
"""`{"embedding": vector}`, of a query also its thoughts."""
COLLECTION = "o1_embeddings"


def key_of(side: Literal["query", "text"], fingerprint: str, text: str) -> str:
    """The same only for the same side, the same text and the same of everything else that decides its vector.

    Args:
        side: a query's vector is never a text's.
        fingerprint: the query fingerprint or the passage fingerprint.
        text: of any length.
    """
    content = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{side}:{fingerprint}:{content}"


class VectorCache(BaseKVStore):
    """Vectors in a key-value store; to LlamaIndex's own methods always empty.

    Args:
        store: where the entries are; other entries in it are left alone.
    """

    def __init__(self, store: BaseKVStore) -> None:
        self.store = store

    @classmethod
    def around(cls, value: object) -> VectorCache | None:
        """The cache for what a user gave: a store, None, or a cache already.

        Raises:
            InvalidTypeError: it is none of these.
        """
        if value is None or isinstance(value, VectorCache):
            return value
        if isinstance(value, BaseKVStore):
            return cls(value)
        raise InvalidTypeError(
            f"embeddings_cache must be a key-value store of LlamaIndex (BaseKVStore), got {type(value).__name__}."
        )

    def recall(self, key: str) -> Entry | None:
        """The entry of a key of `key_of`."""
        return self.store.get(key, collection=COLLECTION)

    async def arecall(self, key: str) -> Entry | None:
        """As `recall`."""
        return await self.store.aget(key, collection=COLLECTION)

    def remember(self, key: str, entry: Entry) -> None:
        """Keeps an entry."""
        self.store.put(key, entry, collection=COLLECTION)

    async def aremember(self, key: str, entry: Entry) -> None:
        """As `remember`."""
        await self.store.aput(key, entry, collection=COLLECTION)

    def put(self, key: str, val: Entry, collection: str = DEFAULT_COLLECTION) -> None:
        """Keeps nothing: a bare text says neither its side nor its model."""

    async def aput(self, key: str, val: Entry, collection: str = DEFAULT_COLLECTION) -> None:
        """Keeps nothing."""

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> Entry | None:
        """Knows nothing."""
        return None

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> Entry | None:
        """Knows nothing."""
        return None

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, Entry]:
        """Knows nothing."""
        return {}

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, Entry]:
        """Knows nothing."""
        return {}

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """There is nothing to delete."""
        return False

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """There is nothing to delete."""
        return False

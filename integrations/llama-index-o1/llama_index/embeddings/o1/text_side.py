"""The text side of an `O1Embedding`: embed passages as they are, in batches, and remember them."""

from __future__ import annotations

from dataclasses import dataclass

from llama_index.core.base.embeddings.base import Embedding
from llama_index.embeddings.o1.texts import check_not_empty
from llama_index.embeddings.o1.vector_cache import VectorCache, key_of

from o1_retriever import O1Embedder
from o1_retriever.worker_threads import TEXTS


@dataclass(frozen=True)
class TextSide:
    """One way to embed texts.

    Attributes:
        embedder: the model.
        cache: vectors of earlier texts.
    """

    embedder: O1Embedder
    cache: VectorCache | None

    def embed(self, texts: list[str]) -> list[Embedding]:
        """Vectors in order; those that the cache lacks are embedded together and each once."""
        check_not_empty(texts)
        if self.cache is None:
            return self._encode(texts)
        keys = self._keys(texts)
        known = {key: entry["embedding"] for key in set(keys) if (entry := self.cache.recall(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        for key, vector in zip(new, self._encode(list(new.values())), strict=True):
            self.cache.remember(key, {"embedding": vector})
            known[key] = vector
        return [list(known[key]) for key in keys]

    async def aembed(self, texts: list[str]) -> list[Embedding]:
        """As `embed`; the event loop stays free, and so do the threads of queries."""
        check_not_empty(texts)
        if self.cache is None:
            return await TEXTS.run(self._encode, texts)
        keys = self._keys(texts)
        known = {key: entry["embedding"] for key in set(keys) if (entry := await self.cache.arecall(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        vectors = await TEXTS.run(self._encode, list(new.values()))
        for key, vector in zip(new, vectors, strict=True):
            await self.cache.aremember(key, {"embedding": vector})
            known[key] = vector
        return [list(known[key]) for key in keys]

    def _encode(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self.embedder.encode_document(texts).tolist() if texts else []
        return vectors

    def _keys(self, texts: list[str]) -> list[str]:
        fingerprint = self.embedder.passage_fingerprint
        return [key_of("text", fingerprint, text) for text in texts]

"""Searches of an index by a vector that is there already. Knows LlamaIndex's own retriever, nothing of thoughts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters, VectorStoreQueryMode
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1.errors import failed
from llama_index.retrievers.o1.filtering import is_chroma, of_documents, shape_of
from llama_index.retrievers.o1.query import check_doc_ids, check_filters

from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError, InvalidTypeError

_SHAPES = 1000  # of filters that are remembered


@dataclass(frozen=True)
class SearchSettings:
    """How an index is searched; the names and meanings of LlamaIndex's `VectorIndexRetriever`.

    Attributes:
        similarity_top_k: nodes to find.
        filters: on metadata.
        doc_ids: only nodes of these documents.
        vector_store_query_mode: "default", "hybrid", "mmr" and others, as far as the store knows them.
        alpha: weight of the vectors in hybrid search.
        sparse_top_k: nodes of the sparse part in hybrid search.
        hybrid_top_k: nodes of hybrid search in all.
        vector_store_kwargs: handed to the store's `query`.
    """

    similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K
    filters: MetadataFilters | None = None
    doc_ids: list[str] | None = None
    vector_store_query_mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT
    alpha: float | None = None
    sparse_top_k: int | None = None
    hybrid_top_k: int | None = None
    vector_store_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_int("similarity_top_k", self.similarity_top_k, 1)
        check_filters(self.filters)
        check_doc_ids(self.doc_ids)
        try:
            VectorStoreQueryMode(self.vector_store_query_mode)
        except ValueError as error:
            known = ", ".join(mode.value for mode in VectorStoreQueryMode)
            raise InvalidInputError(f"vector_store_query_mode: {error}; known are {known}.") from error


class VectorSearch:
    """Searches one index.

    Args:
        index: whose nodes are found.
        embedding: not used for searching; LlamaIndex wants one.
    """

    def __init__(self, index: VectorStoreIndex, embedding: O1Embedding) -> None:
        self.index, self._embedding = index, embedding
        store = type(index.vector_store)
        own, inherited = (inspect.getattr_static(kind, "aquery") for kind in (store, BasePydanticVectorStore))
        self._blocks = own is inherited  # its async search only calls the blocking one
        self._known: set[object] = set()

    def knows(self, filters: MetadataFilters | None) -> bool:
        """Whether the store has found something with filters of this shape: it can filter like that."""
        return filters is None or shape_of(filters) in self._known

    def search(self, query: str, vector: list[float], settings: SearchSettings) -> list[NodeWithScore]:
        """Nodes best first.

        Raises:
            VectorStoreError: the store did not answer.
        """
        retriever = self._retriever(settings)
        try:
            found = retriever._retrieve(QueryBundle(query, embedding=vector))
        except Exception as error:  # any library may stand behind a store
            raise failed(self.index.vector_store, len(vector), error) from error
        return self._noted(found, settings)

    async def asearch(self, query: str, vector: list[float], settings: SearchSettings) -> list[NodeWithScore]:
        """As `search`; the event loop stays free."""
        if self._blocks:
            return await asyncio.to_thread(self.search, query, vector, settings)
        retriever = self._retriever(settings)
        try:
            found = await retriever._aretrieve(QueryBundle(query, embedding=vector))
        except Exception as error:
            raise failed(self.index.vector_store, len(vector), error) from error
        return self._noted(found, settings)

    def _noted(self, found: list[NodeWithScore], settings: SearchSettings) -> list[NodeWithScore]:
        """Where nothing was found the store may not even have looked at the filters."""
        if found and settings.filters is not None:
            if len(self._known) >= _SHAPES:  # users may name the keys
                self._known.clear()
            self._known.add(shape_of(settings.filters))
        return found

    def _retriever(self, settings: SearchSettings) -> BaseRetriever:
        """LlamaIndex's own, without its callbacks and its recursion, which are those of the retriever around it."""
        store, doc_ids = self.index.vector_store, settings.doc_ids
        if doc_ids is not None and is_chroma(store):
            settings = replace(settings, filters=of_documents(settings.filters, doc_ids))
        arguments = {**vars(settings), "vector_store_kwargs": dict(settings.vector_store_kwargs)}
        retriever = self.index.as_retriever(embed_model=self._embedding, **arguments)
        if not isinstance(retriever, VectorIndexRetriever):
            raise InvalidTypeError(
                f"{type(self.index).__name__} is not searched by vectors (its retriever is a "
                f"{type(retriever).__name__}): pass a VectorStoreIndex."
            )
        if doc_ids is not None and isinstance(store, SimpleVectorStore):  # it heeds ids of nodes only
            sources = store.data.text_id_to_ref_doc_id
            retriever._node_ids = [node_id for node_id in retriever._node_ids or () if sources.get(node_id) in doc_ids]
        return retriever


def as_index(source: object, embedding: O1Embedding | None) -> VectorStoreIndex:
    """The index that was given, or one over the vector store that was given.

    Raises:
        InvalidTypeError: it is neither.
        InvalidInputError: a store that keeps no texts, or a store without an embedding.
    """
    if isinstance(source, VectorStoreIndex):
        return source
    if not isinstance(source, BasePydanticVectorStore):
        raise InvalidTypeError(
            f"Pass a VectorStoreIndex or a vector store of LlamaIndex, got {type(source).__name__}: {source!r:.80}."
        )
    if embedding is None:
        raise InvalidInputError(
            "A vector store does not say how its queries are embedded: pass embedding=O1Embedding()."
        )
    if not source.stores_text:
        raise InvalidInputError(
            f"{type(source).__name__} keeps vectors without texts: pass the VectorStoreIndex, which has both."
        )
    return VectorStoreIndex.from_vector_store(source, embed_model=embedding)

"""`O1Retriever`: thinks about a query, searches a LlamaIndex index with what it thought, and shows the thoughts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, QueryType
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters, VectorStoreQueryMode
from llama_index.embeddings.o1 import O1Embedding, QueryEmbedding
from llama_index.embeddings.o1.texts import unit_mean
from llama_index.retrievers.o1.checking import check_index
from llama_index.retrievers.o1.embedding_choice import embedding_of, thinking_by
from llama_index.retrievers.o1.filtering import allowed
from llama_index.retrievers.o1.lexical import aretrieve_from, check_lexical
from llama_index.retrievers.o1.query import O1QueryBundle, checked, wishes
from llama_index.retrievers.o1.rankings import FusionSettings, fuse
from llama_index.retrievers.o1.searching import SearchSettings, VectorSearch, as_index
from llama_index.retrievers.o1.thoughtful_nodes import with_thoughts

from o1_retriever.llm import together


@dataclass(frozen=True)
class _Asked:
    """What is searched with: vectors of which the first is the pooled one, and how they came about."""

    vectors: list[list[float]]
    thoughts: list[str]
    degraded: bool


class O1Retriever(BaseRetriever):
    """Thinking retrieval over a `VectorStoreIndex` or a vector store.

    Every node that it finds carries the query's thoughts in its metadata (`o1_thoughts`), out of the sight of language
    models and of embeddings. The caller's `QueryBundle` is left as it is; one that brings a vector of its own is
    searched for with that vector, without thinking.

    Args:
        index: a `VectorStoreIndex`, or a vector store that keeps its texts.
        embedding: how queries are embedded; None takes the index's own `O1Embedding`.
        thinker: a LlamaIndex LLM or an o1_retriever Thinker; wins over the embedding's.
        num_thoughts: thoughts per query; wins over the embedding's.
        similarity_top_k: nodes to find.
        filters: on metadata.
        fusion: "reciprocal_rank" searches with each thought's vector beside the pooled one and fuses the lists.
        lexical: a retriever by words, as `LexicalRetriever`; its list is fused with the others (hybrid search).
        lexical_weight, fetch_k: see `FusionSettings`. Scores of fused lists are sums of weight / (60 + rank).
        doc_ids, vector_store_query_mode, alpha, sparse_top_k, hybrid_top_k, vector_store_kwargs: see `SearchSettings`.
        callback_manager, object_map, objects, verbose: as for every retriever; the first two default to the index's.

    Raises:
        InvalidInputError: a setting is out of its range, or nothing says how queries are embedded.
        InvalidTypeError: the index is no index.

    >>> retriever = O1Retriever(index, num_thoughts=3, similarity_top_k=5)
    >>> [found.metadata["o1_thoughts"] for found in retriever.retrieve("Who wrote the first program?")]
    """

    def __init__(
        self,
        index: VectorStoreIndex | BasePydanticVectorStore,
        *,
        embedding: O1Embedding | None = None,
        thinker: Any = None,
        num_thoughts: int | None = None,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        fusion: Literal["reciprocal_rank"] | None = None,
        lexical: BaseRetriever | None = None,
        lexical_weight: float = 1.0,
        fetch_k: int = 50,
        doc_ids: list[str] | None = None,
        vector_store_query_mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT,
        alpha: float | None = None,
        sparse_top_k: int | None = None,
        hybrid_top_k: int | None = None,
        vector_store_kwargs: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        self.index = as_index(index, embedding)
        self.embedding = thinking_by(embedding or embedding_of(self.index), thinker, num_thoughts)
        check_lexical(lexical)
        self.lexical, self.fusion = lexical, FusionSettings(fusion, lexical_weight, fetch_k)
        self.settings = SearchSettings(
            similarity_top_k,
            filters,
            doc_ids,
            vector_store_query_mode,
            alpha,
            sparse_top_k,
            hybrid_top_k,
            dict(vector_store_kwargs or {}),
        )
        self._search = VectorSearch(self.index, self.embedding)
        self._checked, self._lock = False, threading.Lock()
        super().__init__(
            callback_manager=callback_manager or self.index._callback_manager,
            object_map=object_map or self.index._object_map,
            objects=objects,
            verbose=verbose,
        )

    def retrieve(
        self,
        str_or_query_bundle: QueryType,
        *,
        num_thoughts: int | None = None,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        doc_ids: list[str] | None = None,
    ) -> list[NodeWithScore]:
        """Nodes for a query, best first. Where only the query can be passed on, an `O1QueryBundle` says the same.

        Args:
            str_or_query_bundle: the query.
            num_thoughts: for this query; 0 embeds it alone.
            similarity_top_k: for this query.
            filters, doc_ids: for this query.

        Raises:
            InvalidInputError, InvalidTypeError: the query is empty, or no query; filters that do not fit the metadata.
            FingerprintMismatchError: the index holds vectors of another model.
            VectorStoreError: the store did not answer, or does not know such filters; found out before anybody thinks.
            ThinkerError: the thinker failed for good. A passing failure embeds the query alone: see `o1_degraded`.
        """
        given = wishes(num_thoughts, similarity_top_k, filters, doc_ids)
        return super().retrieve(checked(str_or_query_bundle, **given))

    async def aretrieve(
        self,
        str_or_query_bundle: QueryType,
        *,
        num_thoughts: int | None = None,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        doc_ids: list[str] | None = None,
    ) -> list[NodeWithScore]:
        """As `retrieve`; the event loop stays free, and tasks that wait at the same time think together."""
        given = wishes(num_thoughts, similarity_top_k, filters, doc_ids)
        return await super().aretrieve(checked(str_or_query_bundle, **given))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self._check()
        settings = self._settings(query_bundle)
        by_words = self.lexical.retrieve(_by_words(query_bundle, settings)) if self.lexical is not None else None
        words = self._allowed(by_words, settings)
        if self._is_untried(query_bundle, settings):
            self._search.search(query_bundle.query_str, self._any_vector(), replace(settings, similarity_top_k=1))
        texts, num_thoughts = query_bundle.embedding_strs, getattr(query_bundle, "num_thoughts", None)
        embedded = (
            [self.embedding.get_query_embedding_with_thoughts(text, num_thoughts) for text in texts]
            if query_bundle.embedding is None
            else []
        )
        asked = self._asked(query_bundle, embedded)
        lists = [self._search.search(query_bundle.query_str, vector, settings) for vector in asked.vectors]
        return self._shown(lists, words, asked, self._top_k(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        await asyncio.to_thread(self._check)
        settings, lexical = self._settings(query_bundle), self.lexical
        by_words = await aretrieve_from(lexical, _by_words(query_bundle, settings)) if lexical is not None else None
        words = self._allowed(by_words, settings)
        if self._is_untried(query_bundle, settings):
            one = replace(settings, similarity_top_k=1)
            await self._search.asearch(query_bundle.query_str, self._any_vector(), one)
        texts, num_thoughts = query_bundle.embedding_strs, getattr(query_bundle, "num_thoughts", None)
        embedded = (
            await together(self.embedding.aget_query_embedding_with_thoughts(text, num_thoughts) for text in texts)
            if query_bundle.embedding is None
            else []
        )
        asked = self._asked(query_bundle, embedded)
        searches = [self._search.asearch(query_bundle.query_str, vector, settings) for vector in asked.vectors]
        return self._shown(await together(searches), words, asked, self._top_k(query_bundle))

    def _check(self) -> None:
        """Once, before the first search: nothing is loaded before it is needed."""
        with self._lock:
            if not self._checked:
                self._checked = check_index(self.index, self.embedding)

    def _is_untried(self, bundle: QueryBundle, settings: SearchSettings) -> bool:
        """Filters that the store may not know are tried first: thoughts may cost money, a search does not."""
        return bundle.embedding is None and not self._search.knows(settings.filters)

    def _any_vector(self) -> list[float]:
        return [1.0] + [0.0] * (self.embedding.embedder.dimension - 1)

    def _asked(self, bundle: QueryBundle, embedded: Sequence[QueryEmbedding]) -> _Asked:
        """Several texts of a bundle (`custom_embedding_strs`) are pooled, as LlamaIndex does."""
        if bundle.embedding is not None:
            return _Asked([bundle.embedding], [], False)
        pooled = embedded[0].embedding if len(embedded) == 1 else unit_mean([row.embedding for row in embedded])
        single = [vector for row in embedded for vector in row.thought_embeddings]
        vectors = [pooled, *single] if self.fusion.fusion and len(single) > 1 else [pooled]
        thoughts = [thought for row in embedded for thought in row.thoughts]
        return _Asked(vectors, thoughts, any(row.degraded for row in embedded))

    def _top_k(self, bundle: QueryBundle) -> int:
        return getattr(bundle, "similarity_top_k", None) or self.settings.similarity_top_k

    @property
    def _fuses(self) -> bool:
        return self.fusion.fusion is not None or self.lexical is not None

    def _settings(self, bundle: QueryBundle) -> SearchSettings:
        """The retriever's, with the bundle's own wishes; lists that are fused are deeper."""
        top_k = max(self._top_k(bundle), self.fusion.fetch_k) if self._fuses else self._top_k(bundle)
        filters = getattr(bundle, "filters", None) or self.settings.filters
        doc_ids = getattr(bundle, "doc_ids", None) or self.settings.doc_ids
        return replace(self.settings, similarity_top_k=top_k, filters=filters, doc_ids=doc_ids)

    def _allowed(self, by_words: list[NodeWithScore] | None, settings: SearchSettings) -> list[list[NodeWithScore]]:
        """The list found by words, if there is one: not every retriever heeds what the bundle wishes."""
        if by_words is None:
            return []
        return [allowed(by_words, settings.filters, settings.doc_ids)[: settings.similarity_top_k]]

    def _shown(
        self, lists: list[list[NodeWithScore]], words: list[list[NodeWithScore]], asked: _Asked, top_k: int
    ) -> list[NodeWithScore]:
        found = lists[0]
        if self._fuses:
            weights = [1.0] * len(lists) + [self.fusion.lexical_weight] * len(words)
            found = fuse([*lists, *words], weights, top_k)
        return with_thoughts(found, asked.thoughts, asked.degraded)


def _by_words(bundle: QueryBundle, settings: SearchSettings) -> O1QueryBundle:
    return O1QueryBundle(
        bundle.query_str,
        similarity_top_k=settings.similarity_top_k,
        filters=settings.filters,
        doc_ids=settings.doc_ids,
    )

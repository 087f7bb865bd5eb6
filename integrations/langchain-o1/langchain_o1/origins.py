"""Whose vectors does a store hold? Asks the stamp of Chroma collections; other stores cannot tell."""

from __future__ import annotations

from typing import Any

from langchain_core.vectorstores import VectorStore

from o1_retriever import O1Embedder


def check_origin(store: VectorStore, embedder: O1Embedder) -> None:
    """Makes sure that a stamped Chroma collection holds this model's vectors.

    Collections that nobody stamped are taken as they are: `chroma_o1.stamp(store._collection, embedder)` stamps one.

    Raises:
        FingerprintMismatchError: they are another model's.
    """
    collection = _chroma_collection(store)
    if collection is None:
        return
    try:
        from chroma_o1.stamping import check, read_stamp
    except ModuleNotFoundError as error:
        if error.name not in ("chroma_o1", "chromadb"):
            raise
        return  # without chroma-o1 nobody stamps
    if read_stamp(collection) is not None:
        check(collection, embedder)


def _chroma_collection(store: VectorStore) -> Any | None:
    """The collection inside of a langchain-chroma store, which has no public name there."""
    if not any(kind.__module__.partition(".")[0] == "langchain_chroma" for kind in type(store).__mro__):
        return None
    return getattr(store, "_collection", None)

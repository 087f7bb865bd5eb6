"""o1-retriever with Chroma: a store that knows its model, an embedding function, `o1 index` and `o1 search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # chromadb takes a second to import: it waits until a store is asked for
    from chroma_o1.embedding_function import O1EmbeddingFunction, open_collection
    from chroma_o1.errors import StoreError, StoreLockedError, StoreNotFoundError
    from chroma_o1.passages import AddReport, Hit, Passage, StoredPassage
    from chroma_o1.stamping import check, check_unless_empty, read_stamp, stamp
    from chroma_o1.store import O1ChromaStore

__all__ = [
    "AddReport",
    "Hit",
    "O1ChromaStore",
    "O1EmbeddingFunction",
    "Passage",
    "StoreError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoredPassage",
    "check",
    "check_unless_empty",
    "open_collection",
    "read_stamp",
    "stamp",
]
_HOMES = {
    "AddReport": "passages",
    "Hit": "passages",
    "O1ChromaStore": "store",
    "O1EmbeddingFunction": "embedding_function",
    "Passage": "passages",
    "StoreError": "errors",
    "StoreLockedError": "errors",
    "StoreNotFoundError": "errors",
    "StoredPassage": "passages",
    "check": "stamping",
    "check_unless_empty": "stamping",
    "open_collection": "embedding_function",
    "read_stamp": "stamping",
    "stamp": "stamping",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The passage fingerprint of a Chroma collection: whose vectors does it hold?

It is in the collection's metadata, or in the configuration of its `O1EmbeddingFunction`.
"""

from __future__ import annotations

from typing import Any, Protocol

from chromadb import Collection

from chroma_o1.errors import store_errors
from o1_retriever.errors import FingerprintMismatchError

FINGERPRINT_KEY = "o1:passage_fingerprint"
FUNCTION_NAME = "o1"
CONFIG_KEY = "passage_fingerprint"


class Embedder(Protocol):
    """What stamping needs of an `O1Embedder` or an `O1EmbeddingFunction`."""

    @property
    def passage_fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...


def read_stamp(collection: Collection) -> str | None:
    """The fingerprint of the model whose vectors the collection holds; None where nobody stamped it."""
    value = (collection.metadata or {}).get(FINGERPRINT_KEY)
    if value is None:
        function: Any = collection.configuration_json.get("embedding_function") or {}
        if function.get("name") == FUNCTION_NAME:
            value = (function.get("config") or {}).get(CONFIG_KEY)
    return None if value is None else str(value)


def check(collection: Collection, embedder: Embedder) -> None:
    """Makes sure that the collection's vectors are this model's.

    Raises:
        FingerprintMismatchError: they are another model's, or nobody stamped the collection.
    """
    found, expected = read_stamp(collection), embedder.passage_fingerprint
    if found is None:
        raise FingerprintMismatchError(
            f"Collection {collection.name!r} does not say which model made its vectors. If this one did, call "
            "chroma_o1.stamp(collection, embedder) once; otherwise index again into another collection."
        )
    if found != expected:
        raise FingerprintMismatchError(
            f"Collection {collection.name!r} holds vectors of another model (passage fingerprint {found}, this model "
            f"has {expected}): load the model that made it, or index again into another store or collection "
            "(`o1 index ... --store OTHER`)."
        )


def check_unless_empty(collection: Collection, embedder: Embedder) -> bool:
    """As `check`, but lets an empty collection without a stamp pass: it is nobody's yet and may be stamped.

    Returns:
        Whether the vectors are known to be this model's. False for such an empty collection: what will come into it
        nobody knows.

    Raises:
        FingerprintMismatchError: they are another model's, or the collection holds vectors and nobody stamped it.
        Exception: Chroma's own or the network's, where Chroma does not answer whether the collection is empty.
    """
    if read_stamp(collection) is None and not collection.count():
        return False
    check(collection, embedder)
    return True


def stamp(collection: Collection, embedder: Embedder, *, overwrite: bool = False) -> None:
    """Writes the model's passage fingerprint into the metadata of a collection that was made elsewhere.

    Say it only of vectors that this model made: nobody can check that later. The metadata's other entries stay.

    Args:
        collection: any Chroma collection.
        embedder: the model that made its vectors.
        overwrite: replace the stamp of another model.

    Raises:
        FingerprintMismatchError: the collection has another stamp, or its vectors another dimension.
        StoreError: Chroma cannot write the metadata.
    """
    expected, found = embedder.passage_fingerprint, read_stamp(collection)
    if found == expected:
        return
    if found is not None and not overwrite:
        raise FingerprintMismatchError(
            f"Collection {collection.name!r} is stamped by another model (passage fingerprint {found}, this model has "
            f"{expected}). Pass overwrite=True only if its vectors were replaced by this model's."
        )
    with store_errors(f"collection {collection.name!r}"):
        _check_dimension(collection, embedder.dimension)
        kept = {k: v for k, v in (collection.metadata or {}).items() if not k.startswith("hnsw:")}
        collection.modify(metadata={**kept, FINGERPRINT_KEY: expected})


def _check_dimension(collection: Collection, expected: int) -> None:
    first: Any = collection.get(limit=1, include=["embeddings"])["embeddings"]
    if first is not None and len(first) and len(first[0]) != expected:
        raise FingerprintMismatchError(
            f"Collection {collection.name!r} holds vectors of dimension {len(first[0])}, this model makes {expected}: "
            "they are another model's. Index again into another collection."
        )

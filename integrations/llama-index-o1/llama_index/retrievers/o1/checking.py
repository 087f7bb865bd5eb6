"""Are the vectors of an index this model's? Checked where something says whose they are.

Chroma collections do (the stamp of `chroma_o1`), and so does an index that embeds by an `O1Embedding` of its own. Of
any other store nobody knows; its dimension at least is compared where it can be read.
"""

from __future__ import annotations

import importlib.util

from llama_index.core import VectorStoreIndex
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore
from llama_index.embeddings.o1 import O1Embedding

from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError


def check_index(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    """Loads the model; compares it with what is known of the index.

    Raises:
        FingerprintMismatchError: the index holds vectors of another model, or is a Chroma collection without a stamp.
    """
    own, embedder = index._embed_model, embedding.embedder
    if isinstance(own, O1Embedding) and own.embedder.passage_fingerprint != embedder.passage_fingerprint:
        raise FingerprintMismatchError(
            f"The index embeds texts by {own.model_name!r} (passage fingerprint {own.embedder.passage_fingerprint}), "
            f"the queries would be embedded by {embedding.model_name!r} ({embedder.passage_fingerprint}): use one "
            "model for both, or index again."
        )
    _check_chroma(index.vector_store, embedder)
    _check_dimension(index.vector_store, embedder)


def _check_chroma(store: BasePydanticVectorStore, embedder: O1Embedder) -> None:
    """Where `chroma_o1` is not installed nobody stamped the collection either."""
    if not any(kind.__name__ == "ChromaVectorStore" for kind in type(store).__mro__):
        return
    if importlib.util.find_spec("chroma_o1") is not None:
        from chroma_o1.stamping import check

        check(store.client, embedder)


def _check_dimension(store: BasePydanticVectorStore, embedder: O1Embedder) -> None:
    if not isinstance(store, SimpleVectorStore):
        return
    vector = next(iter(store.data.embedding_dict.values()), None)
    if vector is not None and len(vector) != embedder.dimension:
        raise FingerprintMismatchError(
            f"The vector store holds vectors of dimension {len(vector)}, this model makes {embedder.dimension}: they "
            "are another model's. Index again with this one."
        )

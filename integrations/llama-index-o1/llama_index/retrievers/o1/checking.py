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
from llama_index.retrievers.o1.errors import failed
from llama_index.retrievers.o1.filtering import is_chroma

from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError


def check_index(index: VectorStoreIndex, embedding: O1Embedding) -> bool:
    """Loads the model; compares it with what is known of the index.

    Returns:
        Whether that holds from now on. False for an empty Chroma collection without a stamp, in which there is nothing
        to find: what will come into it nobody knows.

    Raises:
        FingerprintMismatchError: the index holds vectors of another model, or is a Chroma collection that holds
            vectors and has no stamp.
    """
    own, embedder = index._embed_model, embedding.embedder
    if isinstance(own, O1Embedding) and own.embedder.passage_fingerprint != embedder.passage_fingerprint:
        raise FingerprintMismatchError(
            f"The index embeds texts by {own.model_name!r} (passage fingerprint {own.embedder.passage_fingerprint}), "
            f"the queries would be embedded by {embedding.model_name!r} ({embedder.passage_fingerprint}): use one "
            "model for both, or index again."
        )
    _check_dimension(index.vector_store, embedder)
    return _check_chroma(index.vector_store, embedder)


def _check_chroma(store: BasePydanticVectorStore, embedder: O1Embedder) -> bool:
    """Where `chroma_o1` is not installed nobody stamped the collection either."""
    if not is_chroma(store) or importlib.util.find_spec("chroma_o1") is None:
        return True
    from chroma_o1.stamping import check_unless_empty

    try:
        return check_unless_empty(store.client, embedder)
    except FingerprintMismatchError:
        raise
    except Exception as error:  # Chroma's own and the network's
        raise failed(store, embedder.dimension, error) from error


def _check_dimension(store: BasePydanticVectorStore, embedder: O1Embedder) -> None:
    if not isinstance(store, SimpleVectorStore):
        return
    vector = next(iter(store.data.embedding_dict.values()), None)
    if vector is not None and len(vector) != embedder.dimension:
        raise FingerprintMismatchError(
            f"The vector store holds vectors of dimension {len(vector)}, this model makes {embedder.dimension}: they "
            "are another model's. Index again with this one."
        )

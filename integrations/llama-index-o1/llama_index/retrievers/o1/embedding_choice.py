"""Which embedding a retriever asks with: the index's own or a given one, thinking as the retriever was told to."""

from __future__ import annotations

from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.embeddings.o1 import O1Embedding

from o1_retriever.errors import InvalidInputError


def embedding_of(index: VectorStoreIndex) -> O1Embedding:
    """The index's own.

    Raises:
        InvalidInputError: it has another embedding model.
    """
    if not isinstance(index._embed_model, O1Embedding):
        raise InvalidInputError(
            f"The index embeds queries by {type(index._embed_model).__name__}: pass embedding=O1Embedding(...) with "
            "the model that made its vectors."
        )
    return index._embed_model


def thinking_by(embedding: O1Embedding, thinker: Any, num_thoughts: int | None) -> O1Embedding:
    """The embedding as it is, or another one that thinks as the retriever was told to."""
    changes = {"thinker": thinker, "num_thoughts": num_thoughts}
    given = {name: value for name, value in changes.items() if value is not None}
    return embedding.with_changes(**given) if given else embedding

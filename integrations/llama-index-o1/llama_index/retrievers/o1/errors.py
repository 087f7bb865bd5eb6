"""The error of a vector store that did not answer."""

from __future__ import annotations

from o1_retriever.errors import O1Error


class VectorStoreError(O1Error):
    """A vector store did not answer a search: it is away, or its vectors are another model's."""


def failed(store: object, dimension: int, error: Exception) -> VectorStoreError:
    """What the store's own error means for whoever searched."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return VectorStoreError(
        f"{type(store).__name__} did not answer a search by a vector of dimension {dimension} ({said}). Check that it "
        "is running, that this model made its vectors (another dimension is another model's), and that it knows these "
        "settings and filters."
    )

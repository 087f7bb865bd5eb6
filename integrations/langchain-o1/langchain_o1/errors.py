"""Errors that only this distribution raises; all others are the engine's (`o1_retriever.errors`)."""

from __future__ import annotations

from o1_retriever.errors import O1Error


class VectorStoreError(O1Error):
    """A vector store did not answer a search: it is away, holds vectors of another dimension, or knows no filters."""

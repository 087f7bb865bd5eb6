"""The suites of `langchain-tests` with the bundled model; none of their tests is skipped or expected to fail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_o1 import O1Embeddings, O1Retriever
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

PASSAGES = [
    "Ada Lovelace wrote the first program.",
    "Bees dance to show where flowers are.",
    "The Danube flows into the Black Sea.",
    "A pendulum keeps time.",
]


class TestO1EmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return O1Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"num_thoughts": 2}


class TestO1EmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return O1Embeddings


class TestO1RetrieverIntegration(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return O1Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        store = InMemoryVectorStore(O1Embeddings())
        store.add_texts(PASSAGES)
        return {"vectorstore": store}

    @property
    def retriever_query_example(self) -> str:
        return "Who was the first programmer?"


class TestO1RetrieverWithFusionIntegration(TestO1RetrieverIntegration):
    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {**super().retriever_constructor_params, "fusion": "reciprocal_rank"}


@pytest.mark.slow  # many searches, each with thoughts
class TestChromaWithO1Embeddings(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:  # type: ignore[override]
        """An empty collection in cosine space."""
        store = Chroma(
            f"o1-{uuid.uuid4()}", self.get_embeddings(), collection_configuration={"hnsw": {"space": "cosine"}}
        )
        yield store
        store.delete_collection()

    @staticmethod
    def get_embeddings() -> Embeddings:
        return O1Embeddings()

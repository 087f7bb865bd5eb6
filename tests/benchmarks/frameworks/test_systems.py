"""Each system searches by the vector that it says it does: compared with exact search by vectors of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from langchain_o1 import O1Embeddings

from benchmarks.frameworks.material import Material
from benchmarks.frameworks.stores import langchain_store, llama_index_store
from benchmarks.frameworks.systems import (
    ALONE,
    OURS,
    System,
    hyde_bundle,
    hyde_name,
    hyde_vector,
    langchain_systems,
    llama_index_systems,
)
from o1_retriever import RecordedThoughts
from o1_retriever.search import exact_search

Nearest = Callable[[np.ndarray], list[str]]
THINKS = ", thinking by default"


@pytest.fixture(scope="module")
def llama_index(material: Material, recorded: RecordedThoughts) -> Iterator[dict[str, System]]:
    with llama_index_store(material) as index:
        yield {system.name: system for system in llama_index_systems(index, recorded)}


@pytest.fixture(scope="module")
def langchain(material: Material, recorded: RecordedThoughts) -> Iterator[dict[str, System]]:
    with langchain_store(material) as store:
        yield {system.name: system for system in langchain_systems(store, recorded)}


@pytest.fixture
def question(material: Material) -> str:
    return material.collection.queries[2]


@pytest.fixture
def texts(recorded: RecordedThoughts, question: str) -> list[str]:
    return recorded.up_to(question, 3)


@pytest.fixture
def nearest(material: Material) -> Nearest:
    """The ten passages nearest to the mean of some vectors."""

    def find(vectors: np.ndarray) -> list[str]:
        mean = np.atleast_2d(vectors).mean(axis=0, keepdims=True).astype(np.float32)
        _, (rows,) = exact_search(mean / np.linalg.norm(mean), material.vectors, 10)
        return [material.collection.passage_ids[row] for row in rows]

    return find


def test_ours_and_the_query_alone(
    llama_index: dict[str, System],
    langchain: dict[str, System],
    material: Material,
    question: str,
    texts: list[str],
    nearest: Nearest,
) -> None:
    thoughtful = nearest(material.embedder.encode_query(question, thoughts=texts))
    alone = nearest(material.embedder.encode_query(question, 0))
    assert thoughtful != alone
    for systems in (llama_index, langchain):
        assert systems[OURS].find(question) == thoughtful
        assert systems[ALONE].find(question) == alone
        assert not systems[OURS].is_hyde and not systems[ALONE].is_hyde


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("with_query", [False, True])
def test_hyde(
    llama_index: dict[str, System],
    langchain: dict[str, System],
    material: Material,
    question: str,
    texts: list[str],
    nearest: Nearest,
    number: int,
    with_query: bool,
) -> None:
    """LlamaIndex embeds hypothetical passages as queries, which think by default; LangChain as passages."""
    name, embedder = hyde_name(number, with_query), material.embedder
    said = texts[:number] + [question] * with_query
    assert llama_index[name].is_hyde and langchain[name].is_hyde
    assert llama_index[name].find(question) == nearest(embedder.encode_query(said, 0))
    assert llama_index[name + THINKS].find(question) == nearest(embedder.encode_query(said))
    passages = embedder.encode_document(texts[:number])
    query = embedder.encode_query([question], 0)[: int(with_query)]
    assert langchain[name].find(question) == nearest(np.concatenate([passages, query]))


def test_every_variant_is_there(llama_index: dict[str, System], langchain: dict[str, System]) -> None:
    assert sum(system.is_hyde for system in llama_index.values()) == 8
    assert sum(system.is_hyde for system in langchain.values()) == 4


def test_what_llama_index_s_hyde_searches_for(question: str, texts: list[str]) -> None:
    assert hyde_bundle(question, texts[:1], False).embedding_strs == texts[:1]
    assert sorted(hyde_bundle(question, texts, False).embedding_strs) == sorted(texts)
    assert sorted(hyde_bundle(question, texts, True).embedding_strs) == sorted([question, *texts])


def test_what_langchain_s_hyde_searches_by(material: Material, question: str, texts: list[str]) -> None:
    base = O1Embeddings(model_name=material.model, num_thoughts=0)
    expected = material.embedder.encode_document(texts)
    np.testing.assert_allclose(hyde_vector(base, question, texts, False), expected.mean(axis=0), atol=1e-5)
    both = np.concatenate([expected, material.embedder.encode_query([question], 0)])
    np.testing.assert_allclose(hyde_vector(base, question, texts, True), both.mean(axis=0), atol=1e-5)

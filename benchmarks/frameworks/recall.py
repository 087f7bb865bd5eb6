"""Do the frameworks find what exact search finds? The same questions, asked through each of them as its users ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_o1 import O1Retriever as LangChainRetriever
from llama_index.retrievers.o1 import O1Retriever as LlamaIndexRetriever

from benchmarks.frameworks import stores
from benchmarks.frameworks.material import Material
from o1_eval.systems import search_all

TARGET, K = 0.99, 10


@dataclass(frozen=True)
class Finder:
    """One framework, ready to be asked.

    Attributes:
        find: a question to the ids of K passages, best first; the framework thinks about it by itself.
        hnsw: settings of the index behind it.
    """

    find: Callable[[str], list[str]]
    hnsw: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What one framework found.

    Attributes:
        name: of the framework.
        recalls: of each question: the share of exact search's K passages that it found.
        hnsw: settings of the index.
        seconds: to answer all questions.
    """

    name: str
    recalls: list[float]
    hnsw: dict[str, Any]
    seconds: float

    @property
    def recall(self) -> float:
        return sum(self.recalls) / len(self.recalls)


@contextmanager
def _llama_index(material: Material) -> Iterator[Finder]:
    with stores.llama_index_store(material) as index:
        retriever = LlamaIndexRetriever(index, similarity_top_k=K)
        collection = index.vector_store.client
        yield Finder(lambda q: [found.node_id for found in retriever.retrieve(q)], stores.hnsw_of(collection))


@contextmanager
def _langchain(material: Material) -> Iterator[Finder]:
    with stores.langchain_store(material) as store:
        retriever = LangChainRetriever(vectorstore=store, k=K)
        yield Finder(
            lambda q: [str(document.id) for document in retriever.invoke(q)], stores.hnsw_of(store._collection)
        )


@contextmanager
def _o1_store(material: Material) -> Iterator[Finder]:
    with stores.o1_store(material) as store:
        yield Finder(
            lambda q: [str(hit.metadata[stores.SOURCE]) for hit in store.search(q, K)],
            stores.hnsw_of(store.collection),
        )


FRAMEWORKS = {"LlamaIndex + Chroma": _llama_index, "LangChain + Chroma": _langchain, "O1ChromaStore": _o1_store}


def run(material: Material, callers: int) -> list[Row]:
    """Fills one store after the other and asks it all questions.

    Args:
        material: questions, passages and their vectors.
        callers: threads that ask side by side.
    """
    collection = material.collection
    asked = material.embedder.encode_query(collection.queries)
    found = search_all(collection, asked, material.vectors, K)
    exact = [set(found[query]) for query in collection.query_ids]
    return [_row(name, material, exact, callers) for name in FRAMEWORKS]


def _row(name: str, material: Material, exact: Sequence[set[str]], callers: int) -> Row:
    with FRAMEWORKS[name](material) as finder, ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        found = list(pool.map(finder.find, material.collection.queries))
        spent = time.perf_counter() - start
    recalls = [len(best.intersection(ids)) / len(best) for best, ids in zip(exact, found, strict=True)]
    return Row(name, recalls, finder.hnsw, spent)


def show(rows: Sequence[Row]) -> bool:
    """Prints a table; returns whether every framework meets the target."""
    print(f"\n{'framework':<22}{f'recall@{K}':>10}{'target':>8}{'not whole':>11}{'seconds':>9}")
    for row in rows:
        partly = sum(recall < 1 for recall in row.recalls)
        print(f"{row.name:<22}{row.recall:>10.4f}{TARGET:>8}{partly:>11}{row.seconds:>9.0f}")
    print()
    for row in rows:
        print(f"{row.name}: HNSW {', '.join(f'{name}={value}' for name, value in row.hnsw.items())}")
    return all(row.recall >= TARGET for row in rows)

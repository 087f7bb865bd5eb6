"""O1Embeddings and O1Retriever with langchain-chroma in cosine space: ranking, filters, stamps, a server that dies."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.stores import InMemoryByteStore
from langchain_o1 import O1Embeddings, O1Retriever, VectorStoreError

from chroma_o1 import stamp
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError

QUERY = "Who wrote the first program?"
HNSW = {"space": "cosine", "max_neighbors": 16, "ef_construction": 128, "ef_search": 256}
MakeStore = Callable[..., Any]


@pytest.fixture
def make_store(tmp_path: Path, texts: list[str]) -> MakeStore:
    """`make_store(embeddings)`: a collection of five texts in a folder; the same one for the same `folder`."""

    def make(embeddings: O1Embeddings, folder: str = "store", **settings: Any) -> Any:
        given = {"collection_configuration": {"hnsw": HNSW}, "persist_directory": str(tmp_path / folder), **settings}
        store = Chroma(embedding_function=embeddings, **given)
        if not store.get()["ids"]:
            store.add_texts(texts, [{"word": text.split()[0]} for text in texts], ids=list("01234"))
        if isinstance(embeddings, O1Embeddings):
            stamp(store._collection, embeddings.embedder)
        return store

    return make


def test_it_finds_what_exact_search_finds(
    make_store: MakeStore, embeddings: O1Embeddings, tiny: O1Embedder, texts: list[str]
) -> None:
    store = make_store(embeddings)
    scores = tiny.encode_document(texts) @ tiny.encode_query(QUERY)
    best = [str(index) for index in np.argsort(-scores)]
    retriever = O1Retriever(vectorstore=store, k=5)
    for found in (retriever.invoke(QUERY), asyncio.run(retriever.ainvoke(QUERY))):
        assert [document.id for document in found] == best
        expected = sorted(scores.tolist(), reverse=True)
        assert [document.metadata["o1_score"] for document in found] == pytest.approx(expected, abs=1e-5)
    assert [document.id for document in store.similarity_search(QUERY, k=5)] == best
    assert [document.id for document in store.as_retriever(search_kwargs={"k": 5}).invoke(QUERY)] == best


def test_filters(make_store: MakeStore, embeddings: O1Embeddings) -> None:
    retriever = O1Retriever(vectorstore=make_store(embeddings), filter={"word": "Bees"})
    assert [document.id for document in retriever.invoke(QUERY)] == ["1"]
    assert [document.id for document in retriever.invoke(QUERY, filter={"word": "Tea"})] == ["3"]
    plain = O1Retriever(vectorstore=retriever.vectorstore)
    found = asyncio.run(plain.ainvoke(QUERY, search_kwargs={"where_document": {"$contains": "Danube"}}))
    assert [document.id for document in found] == ["2"]
    with pytest.raises(VectorStoreError, match="filter"):
        retriever.invoke(QUERY, filter={"$nonsense": 1})


def test_reopening_with_other_settings_of_the_query_side(
    make_store: MakeStore, embeddings: O1Embeddings, tiny_folder: str
) -> None:
    make_store(embeddings)
    more = make_store(O1Embeddings(model_name=tiny_folder, num_thoughts=5))
    assert len(O1Retriever(vectorstore=more).invoke(QUERY)[0].metadata["o1_thoughts"]) == 5


def test_a_collection_of_other_weights_is_refused(
    make_store: MakeStore, embeddings: O1Embeddings, other_folder: str
) -> None:
    store = make_store(embeddings)
    other = O1Retriever(vectorstore=store, embeddings=O1Embeddings(model_name=other_folder))
    assert len(O1Retriever(vectorstore=store).invoke(QUERY)) == 4
    reopened = Chroma(embedding_function=embeddings, client=store._client, collection_name=store._collection.name)
    for call in (
        lambda: other.invoke(QUERY),
        lambda: asyncio.run(other.ainvoke(QUERY)),
        lambda: O1Retriever(vectorstore=reopened, embeddings=other.embeddings).invoke(QUERY),
    ):
        with pytest.raises(FingerprintMismatchError, match="holds vectors of another model"):
            call()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_collection_without_a_stamp(embeddings: O1Embeddings, texts: list[str], asynchronous: bool) -> None:
    """An empty one is nobody's; one with vectors is refused until somebody says whose they are."""
    store = Chroma(f"bare-{uuid.uuid4()}", embeddings, collection_configuration={"hnsw": HNSW})
    retriever = O1Retriever(vectorstore=store)

    def ask() -> list[Any]:
        return asyncio.run(retriever.ainvoke(QUERY)) if asynchronous else retriever.invoke(QUERY)

    assert ask() == []
    store.add_texts(texts)
    with pytest.raises(FingerprintMismatchError, match=r"does not say which model .* chroma_o1\.stamp"):
        ask()
    stamp(store._collection, embeddings.embedder)
    assert len(ask()) == 4


def test_a_collection_of_another_dimension(make_store: MakeStore, embeddings: O1Embeddings) -> None:
    store = make_store(DeterministicFakeEmbedding(size=6))
    store._collection.modify(metadata={"o1:passage_fingerprint": embeddings.embedder.passage_fingerprint})  # a lie
    with pytest.raises(VectorStoreError, match=r"Chroma did not answer .* dimension 32 .*dimension"):
        O1Retriever(vectorstore=store, embeddings=embeddings).invoke(QUERY)


@pytest.mark.slow  # starts a server
def test_a_server_that_dies(embeddings: O1Embeddings, texts: list[str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--path", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        store = Chroma("served", embeddings, host="127.0.0.1", port=port, collection_configuration={"hnsw": HNSW})
        bare = O1Retriever(vectorstore=Chroma("bare", embeddings, host="127.0.0.1", port=port))
        store.add_texts(texts)
        stamp(store._collection, embeddings.embedder)
        retriever = O1Retriever(vectorstore=store)
        assert len(retriever.invoke(QUERY)) == len(asyncio.run(retriever.ainvoke(QUERY))) == 4
    finally:
        server.kill()
        server.wait(30)
    for call in (retriever.invoke, lambda query: asyncio.run(retriever.ainvoke(query))):
        with pytest.raises(VectorStoreError, match=r"Chroma did not answer .* Check that it is running"):
            call(QUERY)
    with pytest.raises(VectorStoreError, match=r"whether collection 'bare' is empty .* Check that it is running"):
        bare.invoke(QUERY)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the server did not start")


def test_embedding_texts_of_a_store_with_a_cache(embeddings: O1Embeddings, texts: list[str]) -> None:
    """The retriever finds the O1Embeddings inside of CacheBackedEmbeddings."""
    backed = CacheBackedEmbeddings(embeddings, embeddings.passage_cache(InMemoryByteStore()))
    store = Chroma(f"cached-{uuid.uuid4()}", backed, collection_configuration={"hnsw": HNSW})
    store.add_texts(texts)
    stamp(store._collection, embeddings.embedder)
    assert len(O1Retriever(vectorstore=store, k=3).invoke(QUERY)) == 3

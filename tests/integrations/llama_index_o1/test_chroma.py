"""O1Embedding and O1Retriever with Chroma: pipelines, stamps, reopening with other settings, a server that dies."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import THOUGHTS, O1Retriever, VectorStoreError

from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError

chromadb = pytest.importorskip("chromadb")
pytest.importorskip("llama_index.vector_stores.chroma")

Make = Callable[..., O1Embedding]
QUERY = "Why do bees dance?"
SETTINGS = chromadb.Settings(anonymized_telemetry=False)


@pytest.fixture
def collection(tmp_path: Path) -> Any:
    client = chromadb.PersistentClient(str(tmp_path), settings=SETTINGS)
    return client.create_collection("passages", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})


@pytest.fixture
def store(collection: Any) -> Any:
    from llama_index.vector_stores.chroma import ChromaVectorStore

    return ChromaVectorStore(chroma_collection=collection)


def stamped(collection: Any, embedding: O1Embedding) -> None:
    from chroma_o1 import stamp

    stamp(collection, embedding.embedder)


def test_an_index_fed_by_a_pipeline(
    store: Any, collection: Any, embedding: O1Embedding, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeds nothing the second time, and again when the weights change."""
    batches: list[int] = []
    plain = O1Embedder.encode_document

    def count(self: O1Embedder, passages: Any, **kwargs: Any) -> Any:
        batches.append(len(passages))
        return plain(self, passages, **kwargs)

    monkeypatch.setattr(O1Embedder, "encode_document", count)
    documents, cache = [Document(text=text, id_=text) for text in texts], IngestionCache()

    def run(**settings: Any) -> None:
        changed = embedding.with_changes(**settings)
        IngestionPipeline(transformations=[SentenceSplitter(), changed], cache=cache).run(documents=documents)

    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), embedding], cache=cache, vector_store=store)
    pipeline.run(documents=documents)
    stamped(collection, embedding)
    found = O1Retriever(store, embedding=embedding, similarity_top_k=6).retrieve(QUERY)
    assert sorted(result.node.get_content() for result in found) == sorted(texts)
    assert len(found[0].metadata[THOUGHTS]) == 3
    run()
    run(num_thoughts=1, thinker=MockLLM(max_tokens=3))
    assert batches == [6]
    monkeypatch.setattr(O1Embedder, "passage_fingerprint", "other weights")
    run()
    assert batches == [6, 6]


def test_chroma_finds_the_same(store: Any, collection: Any, index: VectorStoreIndex, embedding: O1Embedding) -> None:
    nodes = list(index.docstore.docs.values())
    in_chroma = VectorStoreIndex(
        nodes, embed_model=embedding, storage_context=StorageContext.from_defaults(vector_store=store)
    )
    stamped(collection, embedding)
    for fuse in (None, "reciprocal_rank"):
        found = O1Retriever(in_chroma, similarity_top_k=6, fusion=fuse).retrieve(QUERY)
        plain = O1Retriever(index, similarity_top_k=6, fusion=fuse).retrieve(QUERY)
        assert [row.node_id for row in found] == [row.node_id for row in plain]
        assert [row.node.hash for row in found] == [index.docstore.get_node(row.node_id).hash for row in plain]


@pytest.mark.parametrize("with_async", [False, True])
def test_a_collection_without_a_stamp(store: Any, collection: Any, embedding: O1Embedding, with_async: bool) -> None:
    """An empty one is nobody's; one with vectors is refused until somebody says whose they are."""
    retriever = O1Retriever(store, embedding=embedding)

    def ask() -> list[Any]:
        return asyncio.run(retriever.aretrieve(QUERY)) if with_async else retriever.retrieve(QUERY)

    assert ask() == []
    VectorStoreIndex.from_vector_store(store, embed_model=embedding).insert_nodes([TextNode(text="Bees dance.")])
    with pytest.raises(FingerprintMismatchError, match=r"does not say which model .* chroma_o1\.stamp"):
        ask()
    stamped(collection, embedding)
    assert len(ask()) == 1  # the check is made again after it failed


def test_filters_and_documents_in_chroma(store: Any, collection: Any, embedding: O1Embedding) -> None:
    """Filters inside of filters, and documents, which LlamaIndex's store over Chroma does not heed by itself."""
    documents = [
        Document(text=f"Bees dance {n}.", id_=f"d{n}", metadata={"n": n, "parity": "odd" if n % 2 else "even"})
        for n in range(6)
    ]
    VectorStoreIndex.from_documents(
        documents, embed_model=embedding, storage_context=StorageContext.from_defaults(vector_store=store)
    )
    stamped(collection, embedding)
    few = MetadataFilters(filters=[MetadataFilter(key="n", value=0), MetadataFilter(key="n", value=3)], condition="or")
    nested = MetadataFilters(filters=[few, MetadataFilter(key="parity", value="even")])
    retriever = O1Retriever(store, embedding=embedding, num_thoughts=0, similarity_top_k=6)
    for wishes, expected in (
        ({"filters": nested}, [0]),
        ({"doc_ids": ["d2", "d3"]}, [2, 3]),
        ({"doc_ids": ["d2", "d3"], "filters": few}, [3]),
        ({"doc_ids": ["d2", "d3"], "filters": nested}, []),
    ):
        assert sorted(found.metadata["n"] for found in retriever.retrieve(QUERY, **wishes)) == expected


def test_a_collection_of_another_model(
    store: Any, collection: Any, embedding: O1Embedding, make_embedder: Callable[..., O1Embedder], tmp_path: Any
) -> None:
    stamped(collection, embedding)
    make_embedder(seed=1).save_pretrained(tmp_path / "other")
    other = O1Retriever(store, embedding=O1Embedding(model_name=str(tmp_path / "other")))
    for ask in (other.retrieve, lambda query: asyncio.run(other.aretrieve(query))):
        with pytest.raises(FingerprintMismatchError, match="holds vectors of another model"):
            ask(QUERY)


def test_another_number_of_thoughts_needs_no_new_index(store: Any, collection: Any, make: Make) -> None:
    embedding = make(num_thoughts=1)
    VectorStoreIndex.from_vector_store(store, embed_model=embedding).insert_nodes([TextNode(text="Bees dance.")])
    stamped(collection, embedding)
    (found,) = O1Retriever(store, embedding=make(num_thoughts=5)).retrieve(QUERY)
    assert len(found.metadata[THOUGHTS]) == 5


def test_a_server_that_dies(embedding: O1Embedding, tmp_path: Path) -> None:
    from llama_index.vector_stores.chroma import ChromaVectorStore

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([*command, "--path", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        client = chromadb.HttpClient("127.0.0.1", port, settings=SETTINGS)
        collection = client.create_collection("passages", embedding_function=None)
        stamped(collection, embedding)
        store = ChromaVectorStore(chroma_collection=collection)
        retriever = O1Retriever(store, embedding=embedding)
        VectorStoreIndex.from_vector_store(store, embed_model=embedding).insert_nodes([TextNode(text="Bees dance.")])
        assert len(retriever.retrieve(QUERY)) == 1
    finally:
        server.terminate()
        server.wait(30)
    for ask in (retriever.retrieve, lambda query: asyncio.run(retriever.aretrieve(query))):
        with pytest.raises(VectorStoreError, match=r"ChromaVectorStore did not answer .* Check that it is running"):
            ask(QUERY)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until the server listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the server does not listen")

"""The same vectors in three stores: LlamaIndex and LangChain over Chroma, and `O1ChromaStore`. Nothing is encoded here.

All three have the same index settings, those of `O1ChromaStore`, and the model's stamp, which the retrievers check.
Each is filled once and kept in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from langchain_chroma import Chroma
from langchain_o1 import O1Embeddings
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.o1 import O1Embedding
from llama_index.vector_stores.chroma import ChromaVectorStore

from benchmarks.frameworks.kept import Kept, kept
from benchmarks.frameworks.material import Material
from chroma_o1 import O1ChromaStore, Passage, stamp
from chroma_o1.backend import HNSW
from o1_retriever import O1Embedder
from o1_retriever.encoders import Array
from o1_retriever.fingerprints import digest

NAME = "passages"
SOURCE = "source_id"


@contextmanager
def llama_index_store(material: Material) -> Iterator[VectorStoreIndex]:
    """An index whose nodes bring their vectors; node ids are the passages' ids."""
    with _folder("llama-index", material) as folder, _client(folder) as client:
        settings: Any = {"hnsw": HNSW.copy()}
        collection = client.get_or_create_collection(NAME, embedding_function=None, configuration=settings)
        store = ChromaVectorStore(chroma_collection=collection)
        index = VectorStoreIndex.from_vector_store(store, embed_model=O1Embedding(model_name=material.model))
        if not folder.filled:
            for window in material.windows("LlamaIndex: store"):
                rows = zip(window.ids, window.texts, window.vectors.tolist(), strict=True)
                index.insert_nodes([TextNode(id_=i, text=text, embedding=vector) for i, text, vector in rows])
            stamp(collection, material.embedder)
            folder.done()
        yield index


@contextmanager
def langchain_store(material: Material) -> Iterator[Chroma]:
    """A store filled beneath LangChain, which takes texts without vectors only; document ids are the passages' ids."""
    with _folder("langchain", material) as folder, _client(folder) as client:
        embeddings = O1Embeddings(model_name=material.model)
        settings: Any = {"hnsw": HNSW.copy()}
        store = Chroma(NAME, embeddings, collection_configuration=settings, client=client)
        if not folder.filled:
            collection = client.get_collection(NAME, embedding_function=None)
            for window in material.windows("LangChain: store"):
                collection.upsert(ids=window.ids, embeddings=window.vectors, documents=window.texts)
            stamp(collection, material.embedder)
            folder.done()
            store = Chroma(NAME, embeddings, client=client)  # a stamp shows where a store is opened after it
        yield store


@contextmanager
def o1_store(material: Material) -> Iterator[O1ChromaStore]:
    """A store whose embedder has been asked for these passages before; `source_id` holds the passages' ids."""
    with (
        _folder("o1-chroma", material) as folder,
        O1ChromaStore(KnownPassages(material), path=folder.path / "store") as store,
    ):
        if not folder.filled:
            for window in material.windows("O1ChromaStore: store"):
                rows = zip(window.ids, window.texts, strict=True)
                store.add([Passage(text, metadata={SOURCE: i}) for i, text in rows], show_progress=False)
            folder.done()
        yield store


class KnownPassages(O1Embedder):
    """The embedder of the material, which looks passages' vectors up instead of computing them."""

    def __init__(self, material: Material) -> None:
        super().__init__(material.embedder.checkpoint, encoding=material.embedder.encoding)
        self._vectors = material.vectors
        self._rows = {text: row for row, text in enumerate(material.collection.passages)}

    def encode_document(self, texts: str | Sequence[str], *, show_progress: bool | None = None) -> Array:
        """Their vectors; a text that is no passage of the material is a KeyError."""
        rows = self._rows[texts] if isinstance(texts, str) else [self._rows[text] for text in texts]
        return np.asarray(self._vectors[rows])


def hnsw_of(collection: chromadb.Collection) -> dict[str, Any]:
    """The settings of a collection's index, as Chroma tells them."""
    told: Any = collection.configuration_json["hnsw"]
    return {name: value for name, value in told.items() if name in HNSW}


def _folder(name: str, material: Material) -> AbstractContextManager[Kept]:
    """Another folder for other passages, vectors or index settings."""
    return kept(material.cache / "stores" / f"{name}-{digest(material.key, sorted(HNSW.items()))}")


@contextmanager
def _client(folder: Kept) -> Iterator[Any]:
    client: Any = chromadb.PersistentClient(str(folder.path / "store"), settings=Settings(anonymized_telemetry=False))
    try:
        yield client
    finally:
        client.close()

"""Stores that hold the vectors they were given, under the passages' ids, with the model's stamp."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_o1 import O1Embeddings
from langchain_o1 import O1Retriever as LangChainRetriever
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import O1Retriever as LlamaIndexRetriever

from benchmarks.frameworks import stores
from benchmarks.frameworks.kept import kept
from benchmarks.frameworks.material import Material
from chroma_o1.backend import HNSW
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError, StorageError

OPEN: dict[str, tuple[Callable[[Material], AbstractContextManager[Any]], Callable[[Any], Any]]] = {
    "llama-index": (stores.llama_index_store, lambda index: index.vector_store.client),
    "langchain": (stores.langchain_store, lambda store: store._collection),
    "o1-chroma": (stores.o1_store, lambda store: store.collection),
}


@pytest.fixture(params=OPEN)
def opened(request: pytest.FixtureRequest) -> Any:
    """(store of a material, collection of a store)."""
    return OPEN[request.param]


def refuse(*args: Any, **kwargs: Any) -> Any:
    pytest.fail("encoded again")


def test_it_holds_the_vectors_that_it_was_given(
    opened: Any, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store, collection_of = opened
    monkeypatch.setattr(O1Embedder, "encode_document", refuse)
    fresh = dataclasses.replace(material, cache=tmp_path)
    with open_store(fresh) as store:
        collection = collection_of(store)
        rows = collection.get(include=["embeddings", "metadatas", "documents"])
        assert stores.hnsw_of(collection) == HNSW
    ids = [(row or {}).get(stores.SOURCE, i) for i, row in zip(rows["ids"], rows["metadatas"], strict=True)]
    assert sorted(ids) == sorted(material.collection.passage_ids)
    order = [material.collection.passage_ids.index(i) for i in ids]
    np.testing.assert_allclose(rows["embeddings"], material.vectors[order], atol=1e-6)
    assert rows["documents"] == [material.collection.passages[row] for row in order]


def test_it_is_filled_once(opened: Any, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store, collection_of = opened
    with open_store(material):
        pass
    monkeypatch.setattr(Material, "windows", refuse)
    with open_store(material) as store:
        assert collection_of(store).count() == len(material.collection.passages)


def test_a_store_that_was_not_finished_is_made_anew(opened: Any, material: Material, tmp_path: Path) -> None:
    open_store, collection_of = opened
    fresh = dataclasses.replace(material, cache=tmp_path)

    def stopped(*args: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Material, "windows", stopped)
        with open_store(fresh):
            pass
    with open_store(fresh) as store:
        assert collection_of(store).count() == len(material.collection.passages)


def test_only_a_whole_folder_is_kept(tmp_path: Path) -> None:
    part = tmp_path / "store" / "part"
    for whole in (False, True):
        with kept(tmp_path / "store") as folder:
            assert not folder.filled and not part.exists()
            part.touch()
            if whole:
                folder.done()
    with kept(tmp_path / "store") as folder:
        assert folder.filled and part.exists()


def test_another_model_is_refused(material: Material, make_embedder: Callable[..., O1Embedder], tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    make_embedder(seed=1).save_pretrained(other)
    with stores.llama_index_store(material) as index, pytest.raises(FingerprintMismatchError):
        LlamaIndexRetriever(index.vector_store, embedding=O1Embedding(model_name=other)).retrieve("Who?")
    with stores.langchain_store(material) as store, pytest.raises(FingerprintMismatchError):
        LangChainRetriever(vectorstore=store, embeddings=O1Embeddings(model_name=other)).invoke("Who?")


def test_a_folder_is_one_process_s(tmp_path: Path) -> None:
    with kept(tmp_path / "store"), pytest.raises(StorageError, match="Another process"), kept(tmp_path / "store"):
        pass

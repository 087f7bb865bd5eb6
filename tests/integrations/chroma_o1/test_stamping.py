"""Collections that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb import Collection

from chroma_o1 import O1ChromaStore, check, check_unless_empty, read_stamp, stamp
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError


@pytest.fixture
def collection() -> Collection:
    client = chromadb.EphemeralClient()
    for known in client.list_collections():
        client.delete_collection(known.name)
    return client.create_collection("elsewhere", metadata={"hnsw:space": "cosine", "kept": 1}, embedding_function=None)


def test_stamp_then_check(collection: Collection, tiny: O1Embedder) -> None:
    collection.add(ids=["a"], embeddings=tiny.encode_document(["a"]), documents=["a"])
    with pytest.raises(FingerprintMismatchError, match=r"chroma_o1\.stamp"):
        check(collection, tiny)
    stamp(collection, tiny)
    stamp(collection, tiny)
    check(collection, tiny)
    assert read_stamp(collection) == tiny.passage_fingerprint
    assert collection.metadata["kept"] == 1
    assert collection.configuration["hnsw"]["space"] == "cosine"


def test_other_model_is_refused(
    collection: Collection, tiny: O1Embedder, make_embedder: Callable[..., O1Embedder]
) -> None:
    stamp(collection, tiny)
    other = make_embedder("qwen2", True, 1)
    with pytest.raises(FingerprintMismatchError, match="another model"):
        check(collection, other)
    with pytest.raises(FingerprintMismatchError, match="overwrite=True"):
        stamp(collection, other)
    stamp(collection, other, overwrite=True)
    check(collection, other)


def test_only_what_holds_vectors_needs_a_stamp(
    collection: Collection, tiny: O1Embedder, make_embedder: Callable[..., O1Embedder]
) -> None:
    assert not check_unless_empty(collection, tiny)
    collection.add(ids=["a"], embeddings=tiny.encode_document(["a"]), documents=["a"])
    with pytest.raises(FingerprintMismatchError, match=r"does not say which model .* chroma_o1\.stamp"):
        check_unless_empty(collection, tiny)
    stamp(collection, tiny)
    assert check_unless_empty(collection, tiny)
    collection.delete(ids=["a"])
    assert check_unless_empty(collection, tiny)  # stamped, so it is this model's though empty
    with pytest.raises(FingerprintMismatchError, match="holds vectors of another model"):
        check_unless_empty(collection, make_embedder("qwen2", True, 1))


def test_emptiness_is_asked_only_without_a_stamp(
    collection: Collection, tiny: O1Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Collection) -> int:
        raise ConnectionError("the server is away")

    monkeypatch.setattr(Collection, "count", away)
    with pytest.raises(ConnectionError):
        check_unless_empty(collection, tiny)
    stamp(collection, tiny)
    assert check_unless_empty(collection, tiny)


def test_other_dimension_cannot_be_stamped(collection: Collection, tiny: O1Embedder) -> None:
    collection.add(ids=["a"], embeddings=np.ones((1, 7), dtype=np.float32))
    with pytest.raises(FingerprintMismatchError, match="dimension 7"):
        stamp(collection, tiny)
    assert read_stamp(collection) is None


def test_store_takes_a_stamped_collection(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        client = store._connection.client
        made = client.create_collection("made", metadata={"hnsw:space": "cosine"}, embedding_function=None)
        made.add(ids=["a"], embeddings=tiny.encode_document(["a"]), documents=["a"])
        with pytest.raises(FingerprintMismatchError, match="does not say"):
            O1ChromaStore(tiny, path=tmp_path, collection="made")
        stamp(made, tiny)
        with O1ChromaStore(tiny, path=tmp_path, collection="made") as opened:
            [hit] = opened.search("a")
            assert (hit.id, hit.text, hit.title, hit.metadata) == ("a", "a", "", {})


def test_empty_collection_is_stamped_at_opening(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        made = store._connection.client.create_collection(
            "made", metadata={"hnsw:space": "cosine"}, embedding_function=None
        )
        with O1ChromaStore(tiny, path=tmp_path, collection="made") as opened:
            assert read_stamp(opened.collection) == tiny.passage_fingerprint
        assert made.count() == 0

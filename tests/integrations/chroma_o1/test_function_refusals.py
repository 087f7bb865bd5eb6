"""What the embedding function refuses: other models, other dimensions, models that are not there, wrong input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromadb.api import ClientAPI
from chromadb.errors import ChromaError
from chromadb.utils.batch_utils import create_batches
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction
from transformers import AutoModelForCausalLM, Qwen2Config

from chroma_o1 import O1ChromaStore, O1EmbeddingFunction, StoreError, check, open_collection, stamp
from o1_retriever import Checkpoint, O1Config, O1Embedder
from o1_retriever.errors import FingerprintMismatchError, InvalidInputError, InvalidTypeError, ModelNotFoundError


def test_a_model_that_changed_is_refused(
    client: ClientAPI,
    tiny_folder: str,
    tmp_path: Path,
    make_embedder: Callable[..., O1Embedder],
    forget: Callable[[], None],
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    function = O1EmbeddingFunction(str(folder))
    client.create_collection("notes", embedding_function=function).add(ids=["a"], documents=["text"])
    shutil.rmtree(folder)
    make_embedder("qwen2", True, 1).save_pretrained(folder)
    forget()
    collection = client.get_collection("notes")
    for call in (
        lambda: collection.query(query_texts=["text"]),
        lambda: collection.add(ids=["b"], documents=["text"]),
        lambda: collection.upsert(ids=["a"], documents=["text"]),
        lambda: open_collection(client, "notes", O1EmbeddingFunction(str(folder))),
        lambda: check(collection, O1EmbeddingFunction(str(folder))),
    ):
        with pytest.raises(FingerprintMismatchError, match="another model"):
            call()
    assert collection.count() == 1


def test_another_model_is_refused(
    client: ClientAPI, tiny_folder: str, tmp_path: Path, make_embedder: Callable[..., O1Embedder]
) -> None:
    make_embedder("qwen2", True, 1).save_pretrained(tmp_path / "other")
    other = O1EmbeddingFunction(str(tmp_path / "other"))
    collection = open_collection(client, "notes", O1EmbeddingFunction(tiny_folder))
    collection.add(ids=["a"], documents=["text"])
    with pytest.raises(FingerprintMismatchError, match="another model"):
        open_collection(client, "notes", other)
    with pytest.raises(FingerprintMismatchError, match="names"):
        other.validate_config_update(O1EmbeddingFunction(tiny_folder).get_config(), other.get_config())
    # Chroma itself compares names: its collection is there, and the check refuses it
    with pytest.raises(FingerprintMismatchError, match="another model"):
        check(client.get_collection("notes", embedding_function=other), other)


def test_a_configuration_of_another_model(
    client: ClientAPI, tiny_folder: str, tmp_path: Path, make_embedder: Callable[..., O1Embedder]
) -> None:
    """Chroma writes it before it asks; the stamp in the metadata stays, and the configuration can be put back."""
    make_embedder("qwen2", True, 1).save_pretrained(tmp_path / "other")
    right, other = O1EmbeddingFunction(tiny_folder), O1EmbeddingFunction(str(tmp_path / "other"))
    collection = open_collection(client, "notes", right)
    with pytest.raises(FingerprintMismatchError, match="modify it back"):
        collection.modify(configuration={"embedding_function": other})
    open_collection(client, "notes", right)
    with pytest.raises(FingerprintMismatchError, match="another model"):
        open_collection(client, "notes", other)
    collection.modify(configuration={"embedding_function": right})
    kept = client.get_collection("notes").configuration_json["embedding_function"]
    assert kept["config"] == right.get_config()
    few = O1EmbeddingFunction(tiny_folder, num_thoughts=1)
    collection.modify(configuration={"embedding_function": few})
    kept = client.get_collection("notes").configuration_json["embedding_function"]
    assert kept["config"] == few.get_config()


@pytest.fixture
def narrow(tokenizer_factory: Callable[..., Any], tmp_path: Path) -> str:
    """The folder of a model of dimension 16."""
    config = Qwen2Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=259,
        max_position_embeddings=512,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    embedder = O1Embedder(Checkpoint.from_objects(model, tokenizer_factory("qwen2"), O1Config()))
    embedder.save_pretrained(tmp_path / "narrow")
    return str(tmp_path / "narrow")


def test_another_dimension_is_refused(client: ClientAPI, tiny_folder: str, narrow: str, tmp_path: Path) -> None:
    collection = client.create_collection("notes", embedding_function=O1EmbeddingFunction(tiny_folder))
    collection.add(ids=["a"], documents=["text"])
    function = O1EmbeddingFunction(narrow, num_thoughts=0)
    assert function.dimension == 16
    with pytest.raises(FingerprintMismatchError, match="another model"):
        open_collection(client, "notes", function)
    passed = client.get_collection("notes", embedding_function=function)
    with pytest.raises(ChromaError, match="dimension"):
        passed.query(query_texts=["text"])
    with pytest.raises(ChromaError, match="dimension"):
        passed.add(ids=["b"], documents=["text"])
    with O1ChromaStore(O1Embedder.from_pretrained(tiny_folder), path=tmp_path / "store"):
        pass
    with pytest.raises(FingerprintMismatchError, match="another model"):
        O1ChromaStore(O1Embedder.from_pretrained(narrow), path=tmp_path / "store")


def test_a_model_that_is_not_there(client: ClientAPI, tmp_path: Path) -> None:
    missing = O1EmbeddingFunction(str(tmp_path / "none"))
    with pytest.raises(ModelNotFoundError):
        open_collection(client, "notes", missing)
    assert client.list_collections() == []
    # Chroma's own way: a warning, and a collection that does not remember the function
    with pytest.warns(DeprecationWarning, match="legacy embedding function config"):
        collection = client.create_collection("notes", embedding_function=missing)
    with pytest.raises(ModelNotFoundError):
        collection.add(ids=["a"], documents=["text"])
    assert collection.count() == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"model_name": None}, InvalidTypeError, "model_name"),
        ({"model_name": 3}, InvalidTypeError, "model_name"),
        ({"device": 0}, InvalidTypeError, "device"),
        ({"num_thoughts": -1}, InvalidInputError, "num_thoughts must be at least 0"),
        ({"num_thoughts": "three"}, InvalidTypeError, "num_thoughts"),
        ({"top_p": 0}, InvalidInputError, "top_p"),
        ({"thoughts": 3}, InvalidInputError, "no setting 'thoughts'"),
    ],
)
def test_bad_settings(given: dict[str, Any], error: type[Exception], message: str) -> None:
    for read in (O1EmbeddingFunction.validate_config, O1EmbeddingFunction.build_from_config):
        with pytest.raises(error, match=message):
            read(given)
    with pytest.raises((error, TypeError)):
        O1EmbeddingFunction(**given)


@pytest.mark.parametrize("config", [None, [], "o1"])
def test_bad_configurations(config: Any) -> None:
    with pytest.raises(InvalidTypeError, match="is a dict"):
        O1EmbeddingFunction.validate_config(config)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (None, InvalidTypeError, "list of texts"),
        ("text", InvalidTypeError, "list of texts"),
        ([], InvalidInputError, "no text to embed"),
        ([" \n"], InvalidInputError, "0 is empty"),
        (["a", ""], InvalidInputError, "1 is empty"),
        ([3, "a"], InvalidTypeError, "is int"),
        ([None], InvalidTypeError, "NoneType"),
    ],
)
def test_bad_texts(tiny_folder: str, texts: Any, error: type[Exception], message: str) -> None:
    function = O1EmbeddingFunction(tiny_folder)
    for embed in (function, function.embed_query):
        with pytest.raises(error, match=message):
            embed(texts)


def test_ten_thousand_texts(client: ClientAPI, tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than Chroma takes at once: it says so, and its own batches do."""
    numbers = np.random.default_rng(0)
    monkeypatch.setattr(
        O1Embedder, "encode_document", lambda self, texts, **_: numbers.normal(size=(len(texts), 32)).astype(np.float32)
    )
    collection = client.create_collection("notes", embedding_function=O1EmbeddingFunction(tiny_folder))
    texts = [f"text {i}" for i in range(10_000)]
    with pytest.raises((ValueError, ChromaError), match="batch size"):
        collection.add(ids=texts, documents=texts)
    assert collection.count() == 0
    for ids, _, _, documents in create_batches(client, ids=texts, documents=texts):
        collection.add(ids=ids, documents=documents)
    assert collection.count() == 10_000


def test_a_collection_of_another_function(client: ClientAPI, tiny_folder: str) -> None:
    client.create_collection("notes", embedding_function=DefaultEmbeddingFunction())
    with pytest.raises(StoreError, match=r"embeds by another function: .* vs persisted: default"):
        open_collection(client, "notes", O1EmbeddingFunction(tiny_folder))


def test_open_collection_wants_our_function(client: ClientAPI) -> None:
    with pytest.raises(InvalidTypeError, match="O1EmbeddingFunction"):
        open_collection(client, "notes", None)  # type: ignore[arg-type]


def test_a_collection_of_unknown_vectors(client: ClientAPI, tiny_folder: str, loaded: O1Embedder) -> None:
    made = client.create_collection("notes", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    made.add(ids=["a"], embeddings=loaded.encode_document(["text"]), documents=["text"])
    with pytest.raises(FingerprintMismatchError, match="does not say"):
        open_collection(client, "notes", O1EmbeddingFunction(tiny_folder))
    stamp(made, loaded)
    found: Any = open_collection(client, "notes", O1EmbeddingFunction(tiny_folder)).query(query_texts=["text"])
    assert found["ids"] == [["a"]]

"""The embedding function in Chroma's own hands: made, kept, rebuilt, and with the wrong model."""

from __future__ import annotations

import subprocess
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.api import ClientAPI
from chromadb.utils.embedding_functions import known_embedding_functions

from chroma_o1 import O1ChromaStore, O1EmbeddingFunction, embedding_function, open_collection, read_stamp, stamp
from o1_retriever import O1Embedder, ThinkingConfig

TEXTS = ["passage 1", "something else", "the third text"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""
    monkeypatch.setattr(embedding_function, "shared_embedder", lambda *_: pytest.fail("loaded a model"))


def vectors_in(collection: chromadb.Collection) -> np.ndarray:
    return np.asarray(collection.get(include=["embeddings"])["embeddings"], dtype=np.float32)


def test_chroma_embeds_both_sides(client: ClientAPI, tiny_folder: str, loaded: O1Embedder) -> None:
    function = O1EmbeddingFunction(tiny_folder, num_thoughts=2)
    collection = client.create_collection("notes", embedding_function=function)
    collection.add(ids=["a", "b", "c"], documents=TEXTS)
    np.testing.assert_allclose(vectors_in(collection), loaded.encode_document(TEXTS), atol=1e-5)
    found: Any = collection.query(query_texts=["which text?"], n_results=3, include=["distances"])
    cosines = loaded.similarity(loaded.encode_query("which text?", 2), loaded.encode_document(TEXTS))[0]
    assert 1 - np.asarray(found["distances"][0]) == pytest.approx(np.sort(cosines)[::-1], abs=1e-5)
    assert collection.configuration_json["hnsw"]["space"] == "cosine"


def test_queries_think_and_documents_do_not(tiny_folder: str, loaded: O1Embedder) -> None:
    function = O1EmbeddingFunction(tiny_folder, num_thoughts=2, seed=7)
    thinking = ThinkingConfig(num_thoughts=2, temperature=1.0, top_p=0.95, max_new_tokens=12, seed=7)
    expected = loaded.encode_query(TEXTS, thinking=thinking, return_thoughts=True)
    np.testing.assert_allclose(np.stack(function.embed_query(TEXTS)), expected.vectors, atol=1e-5)
    np.testing.assert_allclose(function.embed_query(TEXTS[:1])[0], expected.vectors[0], atol=1e-5)
    np.testing.assert_allclose(np.stack(function(TEXTS)), loaded.encode_document(TEXTS), atol=1e-5)
    assert function.embed_query_with_thoughts(TEXTS).thoughts == expected.thoughts
    assert function.embed_query_with_thoughts(TEXTS[1:2]).thoughts == expected.thoughts[1:2]
    assert all(vector.dtype == np.float32 for vector in (*function(TEXTS), *function.embed_query(TEXTS)))


def test_reopened_from_its_configuration(client: ClientAPI, tiny_folder: str, loaded: O1Embedder) -> None:
    given = O1EmbeddingFunction(tiny_folder, num_thoughts=1, temperature=0.5, seed=3, device="cpu")
    client.create_collection("notes", embedding_function=given).add(ids=["a", "b", "c"], documents=TEXTS)
    collection = client.get_collection("notes")
    rebuilt: Any = collection.configuration["embedding_function"]
    assert type(rebuilt) is O1EmbeddingFunction and rebuilt is not given
    assert (
        rebuilt.get_config()
        == given.get_config()
        == {
            "model_name": tiny_folder,
            "num_thoughts": 1,
            "temperature": 0.5,
            "seed": 3,
            "passage_fingerprint": loaded.passage_fingerprint,
        }
    )
    collection.add(ids=["d"], documents=["a fourth one"])
    np.testing.assert_allclose(vectors_in(collection)[3], loaded.encode_document("a fourth one"), atol=1e-5)
    found: Any = collection.query(query_texts=["a fourth one"], n_results=1)
    expected = loaded.similarity(given.embed_query(["a fourth one"])[0], vectors_in(collection)).argmax()
    assert found["ids"][0] == [["a", "b", "c", "d"][int(expected)]]


@pytest.mark.slow
def test_reopened_in_another_process(client: ClientAPI, tiny_folder: str, tmp_path: Path, process: Start) -> None:
    collection = client.create_collection("notes", embedding_function=O1EmbeddingFunction(tiny_folder))
    collection.add(ids=["a", "b", "c"], documents=TEXTS)
    script = """
    import chromadb
    from chroma_o1 import O1EmbeddingFunction
    collection = chromadb.PersistentClient(sys.argv[1]).get_collection("notes")
    say(collection.query(query_texts=["which text?"], n_results=3)["ids"][0])
    """
    output, errors = process(script, tmp_path / "chroma").communicate()
    expected = collection.query(query_texts=["which text?"], n_results=3)["ids"][0]
    assert output.strip() == str(expected), errors


@pytest.mark.usefixtures("no_model")
def test_nothing_is_loaded_before_it_embeds(tiny_folder: str) -> None:
    config = {"model_name": tiny_folder, "passage_fingerprint": "f" * 16}
    function = O1EmbeddingFunction.build_from_config(config)
    assert function.get_config() == config and not function.is_legacy()
    O1EmbeddingFunction("nobody/knows-this")
    assert (function.name(), function.default_space(), known_embedding_functions["o1"]) == (
        "o1",
        "cosine",
        O1EmbeddingFunction,
    )


def test_getting_a_collection_loads_nothing(
    client: ClientAPI, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_collection("notes", embedding_function=O1EmbeddingFunction(tiny_folder))
    monkeypatch.setattr(embedding_function, "shared_embedder", lambda *_: pytest.fail("loaded a model"))
    collection = client.get_collection("notes")
    assert collection.configuration["embedding_function"] is not None and collection.count() == 0


def test_the_query_side_may_change(client: ClientAPI, tiny_folder: str, loaded: O1Embedder) -> None:
    first = open_collection(client, "notes", O1EmbeddingFunction(tiny_folder, num_thoughts=1))
    first.add(ids=["a", "b", "c"], documents=TEXTS)
    before = vectors_in(first)
    second = open_collection(client, "notes", O1EmbeddingFunction(tiny_folder, num_thoughts=3, seed=5))
    found: Any = second.query(query_texts=["which?"], n_results=3, include=["distances"])
    thinking = ThinkingConfig(num_thoughts=3, temperature=1.0, top_p=0.95, max_new_tokens=12, seed=5)
    expected = loaded.similarity(loaded.encode_query("which?", thinking=thinking), before)[0]
    assert 1 - np.asarray(found["distances"][0]) == pytest.approx(np.sort(expected)[::-1], abs=1e-5)
    np.testing.assert_array_equal(vectors_in(second), before)
    old, new = O1EmbeddingFunction(tiny_folder, num_thoughts=1), O1EmbeddingFunction(tiny_folder, num_thoughts=0)
    new.validate_config_update(old.get_config(), new.get_config())


def test_a_store_and_a_function_share_collections(tiny_folder: str, loaded: O1Embedder, tmp_path: Path) -> None:
    function = O1EmbeddingFunction(tiny_folder)
    with O1ChromaStore(loaded, path=tmp_path) as store:
        client = store._connection.client
        made = client.create_collection("made", embedding_function=function)
        made.add(ids=["a"], documents=["text"], metadatas=[{"n": 1}])
        assert read_stamp(made) == loaded.passage_fingerprint and not made.metadata
        stamp(made, loaded)  # it says so already
        with O1ChromaStore(loaded, path=tmp_path, collection="made") as opened:
            assert [hit.text for hit in opened.search("text")] == ["text"]
            assert [hit.text for hit in opened.search("text", mode="lexical")] == ["text"]
        assert open_collection(client, "o1-passages", function).count() == 0


def test_the_folder_is_remembered_whole(tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(tiny_folder).parent)
    assert O1EmbeddingFunction("./tiny").get_config()["model_name"] == tiny_folder


def test_one_model_for_all_functions(
    client: ClientAPI, tiny_folder: str, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    loads: list[Any] = []
    load = O1Embedder.from_pretrained

    def counted(*args: Any, **kwargs: Any) -> O1Embedder:
        loads.append(threading.current_thread())
        return load(*args, **kwargs)

    monkeypatch.setattr(O1Embedder, "from_pretrained", counted)
    collection = client.create_collection("notes", embedding_function=O1EmbeddingFunction(tiny_folder))
    collection.add(ids=["a", "b", "c"], documents=TEXTS)
    opened = [client.get_collection("notes") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda c: c.query(query_texts=["which?"], n_results=3)["ids"], opened))
    assert len(loads) == 1 and all(answer == answers[0] for answer in answers)


def test_no_warning_in_daily_use(client: ClientAPI, tiny_folder: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        collection = open_collection(client, "notes", O1EmbeddingFunction(tiny_folder))
        collection.add(ids=["a"], documents=["text"])
        open_collection(client, "notes", O1EmbeddingFunction(tiny_folder)).query(query_texts=["text"])

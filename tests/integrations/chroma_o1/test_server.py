"""A store on a real Chroma server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import chromadb
import pytest

from chroma_o1 import O1ChromaStore, O1EmbeddingFunction, Passage, StoreError, StoreNotFoundError, open_collection
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError

Make = Callable[[int], list[Passage]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def chroma_run(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A real server on a folder; gives its port and process."""
    number = free_port()
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1", "--port", str(number)]
    server = subprocess.Popen(
        [*command, "--path", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                break
        time.sleep(0.1)
    yield number, server
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with chroma_run(tmp_path_factory.mktemp("server")) as (number, _):
        yield number


def test_store_on_a_server(port: int, tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with (
        O1ChromaStore(tiny, host="127.0.0.1", port=port, window=20) as served,
        O1ChromaStore(tiny, host="127.0.0.1", port=port) as second,
        O1ChromaStore(tiny, path=tmp_path) as embedded,
    ):
        assert served.add(passages(50)).added == 50
        assert second.add(passages(60)).present == 50  # several clients may write
        embedded.add(passages(60))
        found, expected = (s.search("passage 7", k=5, num_thoughts=1) for s in (served, embedded))
        assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        ids = [p.id for p in passages(60)]
        assert served.get(ids[:3]) == embedded.get(ids[:3])
        assert second.delete(ids[:10]) == 10 and served.count() == 50


def test_server_refuses_other_models(port: int, tiny: O1Embedder, make_embedder: Callable[..., O1Embedder]) -> None:
    with O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="guarded"):
        pass
    with pytest.raises(FingerprintMismatchError):
        O1ChromaStore(make_embedder("qwen2", True, 1), host="127.0.0.1", port=port, collection="guarded")
    with pytest.raises(StoreNotFoundError, match="guarded"):
        O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="unknown", create=False)


def test_no_server(tiny: O1Embedder) -> None:
    with pytest.raises(StoreError, match="Chroma server"):
        O1ChromaStore(tiny, host="127.0.0.1", port=free_port())


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_server_answers_as_a_folder_does(
    port: int, tiny: O1Embedder, tmp_path: Path, passages: Make, mode: Any
) -> None:
    with (
        O1ChromaStore(tiny, host="127.0.0.1", port=port, collection=f"like-{mode}") as served,
        O1ChromaStore(tiny, path=tmp_path) as embedded,
    ):
        for store in (served, embedded):
            store.add(passages(60))
            store.update({p.id: {"even": int(str(p.metadata["source_id"])) % 2 == 0} for p in passages(60)})
            assert store.delete_where({"source_id": {"$in": ["3", "5", "6"]}}) == 3
        for filters in ({}, {"where": {"even": True}}, {"where_document": {"$contains": "word"}}):
            found, expected = (s.search("title 7 word", 8, 1, mode=mode, **filters) for s in (served, embedded))
            assert len(found) > 0
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
            if mode == "dense":
                assert [hit.id for hit in found] == [hit.id for hit in expected]
            assert served.get(**filters, limit=4, offset=2) == embedded.get(**filters, limit=4, offset=2)
    assert list(tmp_path.glob(".o1/lexical/*")) or mode == "dense"


def test_clients_at_once(port: int, tiny: O1Embedder, passages: Make) -> None:
    """Four clients open a collection that is not there yet, add overlapping passages, search and delete."""
    given, start = passages(120), Barrier(4, timeout=60)

    def client(number: int) -> tuple[int, int]:
        start.wait()
        with O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="crowd", window=10) as store:
            for first in range(number * 20, number * 20 + 60, 15):  # the halves overlap with the neighbours'
                store.add(given[first : first + 15])
                assert store.search(given[first].full_text, 3, 0, mode="hybrid")
            start.wait()
            deleted = store.delete([given[number].id])
            start.wait()
            return deleted, len(store.search("passage", 200, mode="lexical"))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(client, range(4)))
    assert answers == [(1, 116)] * 4
    with O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="crowd") as store:
        assert {p.id for p in store.get()} == {p.id for p in given[4:]}


def test_words_of_other_clients_are_found(port: int, tiny: O1Embedder, passages: Make) -> None:
    with (
        O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="words") as one,
        O1ChromaStore(tiny, host="127.0.0.1", port=port, collection="words") as other,
    ):
        one.add(passages(90))
        assert other.search("zebra", mode="lexical") == []
        one.delete([passages(3)[2].id])
        one.add([Passage("a zebra")])
        assert [hit.text for hit in other.search("zebra", mode="lexical")] == ["a zebra"]
        one.delete([Passage("a zebra").id])
        assert other.search("zebra", mode="lexical") == []
        assert len(other.search("passage", 100, mode="lexical")) == 89


def test_embedding_function_on_a_server(port: int, tiny_folder: str) -> None:
    client = chromadb.HttpClient("127.0.0.1", port)
    open_collection(client, "function", O1EmbeddingFunction(tiny_folder)).add(ids=["a"], documents=["text"])
    found: Any = chromadb.HttpClient("127.0.0.1", port).get_collection("function").query(query_texts=["text"])
    assert found["documents"] == [["text"]]


def test_a_server_that_dies(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with chroma_run(tmp_path) as (number, server):
        store = O1ChromaStore(tiny, host="127.0.0.1", port=number)
        store.add(passages(10))
        server.kill()
        server.wait()
        for call in (
            partial(store.search, "text"),
            partial(store.search, "text", mode="lexical"),
            partial(store.search, "text", mode="hybrid"),
            partial(store.add, [Passage("new")]),
            partial(store.update, {passages(1)[0].id: {"a": 1}}),
            partial(store.delete, ["a"]),
            partial(store.delete_where, {"a": 1}),
            store.get,
            store.count,
        ):
            with pytest.raises(StoreError, match="Check that a Chroma server is running"):
                call()
        store.close()

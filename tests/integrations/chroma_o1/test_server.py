"""A store on a real Chroma server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chroma_o1 import O1ChromaStore, Passage, StoreError, StoreNotFoundError
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError

Make = Callable[[int], list[Passage]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port()
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1", "--port", str(number)]
    folder = tmp_path_factory.mktemp("server")
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
    yield number
    server.terminate()
    server.wait(30)


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

"""Stores in temporary folders, and other processes that use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("chromadb")

import chromadb
from chromadb.api import ClientAPI

from chroma_o1 import O1ChromaStore, Passage
from o1_retriever import O1Embedder, shared_models

PREAMBLE = """
import itertools, logging, sys, time
from pathlib import Path
import numpy as np
from chroma_o1 import O1ChromaStore, Passage, StoreError, StoreLockedError, backend, commands
from o1_retriever import O1Embedder, cli

class Entry:
    def __init__(self, name, command):
        self.name, self.load = name, lambda: command

entries = [Entry("index", commands.IndexCommand), Entry("search", commands.SearchCommand)]
cli.entry_points = lambda group: entries

def passage(i):
    return Passage(f"passage {i} " + "word " * (i % 7), f"title {i % 50}", {"source_id": str(i)})

def passages(count):
    return [passage(i) for i in range(count)]

def say(text):
    print(text, flush=True)
"""


@pytest.fixture
def passages() -> Callable[[int], list[Passage]]:
    """`passages(n)`: n different short passages, the same in every process."""
    return lambda count: [
        Passage(f"passage {i} " + "word " * (i % 7), f"title {i % 50}", {"source_id": str(i)}) for i in range(count)
    ]


@pytest.fixture
def store(tiny: O1Embedder, tmp_path: Path) -> Iterator[O1ChromaStore]:
    with O1ChromaStore(tiny, path=tmp_path / "store") as opened:
        yield opened


@pytest.fixture(scope="session")
def loaded(tiny_folder: str) -> O1Embedder:
    """The tiny embedder as other processes load it from its folder."""
    return O1Embedder.from_pretrained(tiny_folder)


@pytest.fixture
def client(tmp_path: Path) -> ClientAPI:
    return chromadb.PersistentClient(str(tmp_path / "chroma"))


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`forget()`: as if the process had loaded no model yet."""
    return lambda: monkeypatch.setattr(shared_models, "_models", {})


def _heed_interrupts() -> None:
    """Ctrl-C as in a terminal: a shell starts background jobs with SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`process(script, *args)`: another Python process, killed when the test ends."""
    started = []

    def start(script: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), *map(str, args)]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.PIPE,
                text=True,
                preexec_fn=_heed_interrupts,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # sums in the same order in every process
            )
        )
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def said() -> Callable[[subprocess.Popen[str], str], None]:
    """`said(child, text)` waits until the child has said the text."""

    def wait(child: subprocess.Popen[str], text: str) -> None:
        assert child.stdout is not None and child.stderr is not None
        for line in child.stdout:
            if text in line:
                return
        pytest.fail(f"the process ended without saying {text!r}: {child.stderr.read()}")

    return wait

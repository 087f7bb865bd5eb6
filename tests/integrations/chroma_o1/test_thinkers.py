"""A store whose embedder asks a language model for thoughts: what it does without an answer, and what it is asked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chroma_o1 import O1ChromaStore, Passage
from o1_retriever import O1Embedder
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError
from o1_retriever.llm import LLMConfig
from o1_retriever.llm_thinker import LLMThinker

TEXTS = ["the first text", "something else", "a third one"]


def thinking_store(tiny: O1Embedder, folder: Path, thinker: LLMThinker) -> O1ChromaStore:
    store = O1ChromaStore(O1Embedder(tiny.checkpoint, thinker=thinker), path=folder)
    store.add([Passage(text) for text in TEXTS])
    return store


def test_a_wrong_key_raises(
    tiny: O1Embedder, tmp_path: Path, chat_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = chat_server(key="right")
    monkeypatch.setenv("THE_KEY", "wrong")
    config = LLMConfig(server.url, "expert", api_key_variable="THE_KEY")
    with LLMThinker(config) as thinker, thinking_store(tiny, tmp_path, thinker) as store:
        for queries in (["who?"], ["who?", "what?"]):
            with pytest.raises(ThinkerError, match="key"):
                store.search_batch(queries)
        assert len(store.search("who?", num_thoughts=0)) == 3, "nobody is asked"
        assert len(store.search("text", mode="lexical")) == 1


def test_a_server_that_times_out_degrades_visibly(
    tiny: O1Embedder, tmp_path: Path, chat_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = chat_server(delay_s=5.0)
    config = LLMConfig(server.url, "expert", timeout_s=0.2, attempts=1)
    with LLMThinker(config) as thinker, thinking_store(tiny, tmp_path, thinker) as store:
        with caplog.at_level(logging.WARNING, "o1_retriever"):
            found = store.search("who?")
        assert found == store.search("who?", num_thoughts=0), "the query alone"
        assert store.embedder.counters["degraded"] == 1
    assert any("without thoughts" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (None, InvalidTypeError, "a text or a vector of numbers.*None"),
        (5, InvalidInputError, "vector"),
        ([], InvalidInputError, "vector"),
        (["a list"], InvalidTypeError, "for several queries call search_batch"),
        (" \n", InvalidInputError, "query 0 is empty"),
        ("half \ud83d", InvalidInputError, "surrogate"),
    ],
)
def test_a_query_that_is_none(
    tiny: O1Embedder, tmp_path: Path, query: Any, error: type[Exception], message: str
) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store, pytest.raises(error, match=message):
        store.search(query)


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        (None, InvalidTypeError, "takes a list of queries, not NoneType"),
        ("text", InvalidTypeError, "not str: call search"),
        ([None], InvalidTypeError, "query 0 is NoneType"),
        (["fine", " "], InvalidInputError, "query 1 is empty"),
    ],
)
def test_queries_that_are_none(
    tiny: O1Embedder, tmp_path: Path, queries: Any, error: type[Exception], message: str
) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store, pytest.raises(error, match=message):
        store.search_batch(queries)


def test_no_query_and_ten_thousand(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add([Passage(text) for text in TEXTS])
        assert store.search_batch([]) == []
        vectors = np.repeat(tiny.encode_document(TEXTS), [4000, 3000, 3000], axis=0)
        found = store.search_batch(vectors, k=1)
        assert [row[0].text for row in found[::1000]] == [TEXTS[0]] * 4 + [TEXTS[1]] * 3 + [TEXTS[2]] * 3

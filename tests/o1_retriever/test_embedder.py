"""What users hold: shapes, given thoughts, thinkers, counters, threads, bad input."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from o1_retriever import Checkpoint, O1Config, O1Embedder, QueryEncoding, RecordedThoughts, Thinker, ThinkingConfig
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError, TransientThinkerError

MakeEmbedder = Callable[..., O1Embedder]
QUERIES = ["one question", "another", "and a third one"]


class Echo:
    """A thinker that repeats the query and, if there is any, the evidence."""

    fingerprint = "echo"

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        found = evidence or [[] for _ in queries]
        return [
            [f"{query} {i} {' '.join(texts)}" for i in range(num_thoughts)]
            for query, texts in zip(queries, found, strict=True)
        ]


class Failing(Echo):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def think(self, *args: Any, **kwargs: Any) -> list[list[str]]:
        raise self.error


def with_thinker(tiny: O1Embedder, thinker: Thinker) -> O1Embedder:
    return O1Embedder(tiny.checkpoint, thinker=thinker)


@pytest.mark.parametrize("k", [None, 0, 1])
def test_shapes(tiny: O1Embedder, k: int | None) -> None:
    one, many = tiny.encode_query(QUERIES[0], num_thoughts=k), tiny.encode_query(QUERIES, num_thoughts=k)
    assert (one.shape, many.shape) == ((32,), (3, 32))
    assert one.dtype == many.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(one, many[0], atol=1e-5)
    passage, passages = tiny.encode_document(QUERIES[0]), tiny.encode_document(QUERIES)
    assert (passage.shape, passages.shape, passages.dtype) == ((32,), (3, 32), np.float32)
    np.testing.assert_allclose(passage, passages[0], atol=1e-5)
    assert tiny.similarity(one, passages).shape == (1, 3)
    np.testing.assert_allclose(tiny.similarity(many, passages)[2, 1], many[2] @ passages[1], rtol=1e-5)


def test_nothing_in_nothing_out(tiny: O1Embedder) -> None:
    assert tiny.encode_document([]).shape == (0, 32)
    assert tiny.encode_query([]).shape == (0, 32)
    assert tiny.encode_query([], thoughts=[]).shape == (0, 32)
    assert tiny.encode_query([], return_thoughts=True).thoughts == []
    assert tiny.think([]) == []
    assert list(tiny.iter_encode_document([])) == []
    assert list(tiny.stream_thoughts([])) == []


def test_own_thoughts_come_with_their_vectors(tiny: O1Embedder) -> None:
    encoding = tiny.encode_query(QUERIES, return_thoughts=True)
    assert isinstance(encoding, QueryEncoding)
    assert encoding.thoughts == tiny.think(QUERIES)
    assert [len(row) for row in encoding.thoughts] == [3, 3, 3]
    assert encoding.degraded == [False] * 3
    for vector, parts in zip(encoding.vectors, encoding.thought_vectors, strict=True):
        assert parts.shape == (3, 32)
        np.testing.assert_allclose(np.linalg.norm(parts, axis=1), 1.0, atol=1e-6)
        mean = parts.sum(axis=0) / 3
        assert np.linalg.norm(mean) < 0.999, "equal parts would not show a missing normalisation"
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).sum()), atol=1e-6)
    np.testing.assert_array_equal(encoding.vectors, tiny.encode_query(QUERIES))
    single = tiny.encode_query(QUERIES[0], return_thoughts=True)
    assert (single.vectors.shape, single.thoughts) == ((1, 32), encoding.thoughts[:1])


def test_without_thinking(tiny: O1Embedder, plain: Any) -> None:
    rows = [[*prompt, tiny.prompts.emb] for prompt in tiny.prompts.queries(QUERIES, 99).ids]
    np.testing.assert_allclose(tiny.encode_query(QUERIES, num_thoughts=0), plain.vectors(tiny, rows), atol=1e-4)
    encoding = tiny.encode_query(QUERIES, num_thoughts=0, return_thoughts=True)
    assert encoding.thoughts == [[], [], []]
    assert [part.shape for part in encoding.thought_vectors] == [(1, 32)] * 3


def test_given_thoughts(tiny: O1Embedder, plain: Any) -> None:
    given = [["first", "the second"], [], [""]]
    encoding = tiny.encode_query(QUERIES, thoughts=given, return_thoughts=True)
    prompts, emb, eos = tiny.prompts.queries(QUERIES, 99).ids, tiny.prompts.emb, tiny.prompts.eos
    texts = tiny.prompts.text_ids(["first", "the second"], 99).ids
    rows = [
        [*prompts[0], *texts[0], eos, emb],
        [*prompts[0], *texts[1], eos, emb],
        [*prompts[1], emb],  # no thought: the query alone
        [*prompts[2], eos, emb],  # an empty thought is a thought
    ]
    expected = plain.vectors(tiny, rows)
    np.testing.assert_allclose(np.concatenate(encoding.thought_vectors), expected, atol=1e-4)
    mean = expected[:2].mean(axis=0)
    np.testing.assert_allclose(encoding.vectors[0], mean / np.linalg.norm(mean), atol=1e-4)
    assert encoding.thoughts == given


def test_forms_of_given_thoughts_for_one_query(tiny: O1Embedder) -> None:
    expected = tiny.encode_query(QUERIES[:1], thoughts=[["a", "b"]])[0]
    np.testing.assert_array_equal(tiny.encode_query(QUERIES[0], thoughts=["a", "b"]), expected)
    np.testing.assert_array_equal(tiny.encode_query(QUERIES[0], thoughts=[["a", "b"]]), expected)
    np.testing.assert_array_equal(tiny.encode_query(QUERIES[0], thoughts=("a", "b")), expected)
    alone = tiny.encode_query(QUERIES[0], num_thoughts=0)
    np.testing.assert_array_equal(tiny.encode_query(QUERIES[0], thoughts=[]), alone)
    np.testing.assert_array_equal(tiny.encode_query(QUERIES[0], thoughts=[[]]), alone)


@pytest.mark.parametrize(
    ("queries", "thoughts", "error"),
    [
        (QUERIES, [["a"], ["b"]], InvalidInputError),
        (QUERIES, ["a", "b", "c"], InvalidTypeError),
        (QUERIES[0], "a bare text", InvalidTypeError),
        (QUERIES[:1], [None], InvalidTypeError),
        (QUERIES[:1], [[None]], InvalidTypeError),
        (QUERIES[0], ["a", 5], InvalidTypeError),
        (QUERIES[0], 5, InvalidTypeError),
        (QUERIES[0], ["\udfff"], InvalidInputError),
    ],
)
def test_thoughts_that_do_not_fit(tiny: O1Embedder, queries: Any, thoughts: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="thought"):
        tiny.encode_query(queries, thoughts=thoughts)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("",), InvalidInputError),
        ((" \n",), InvalidInputError),
        ((["a", ""],), InvalidInputError),
        ((["a", None],), InvalidTypeError),
        ((None,), InvalidTypeError),
        ((5,), InvalidTypeError),
        ((b"bytes",), InvalidTypeError),
        (("\ud800",), InvalidInputError),
        (("a", -1), InvalidInputError),
        (("a", True), InvalidTypeError),
        (("a", 1.0), InvalidTypeError),
        (("a", "3"), InvalidTypeError),
    ],
)
def test_bad_queries(tiny: O1Embedder, arguments: tuple[Any, ...], error: type[Exception]) -> None:
    for method in (tiny.encode_query, tiny.think):
        with pytest.raises(error):
            method(*arguments)
    with pytest.raises(error):
        list(tiny.stream_thoughts(*arguments))


@pytest.mark.parametrize("text", ["", "\t", None, 5, ["a", None], "\ud800", {"a": 1}])
def test_bad_passages(tiny: O1Embedder, text: Any) -> None:
    with pytest.raises((InvalidInputError, InvalidTypeError)):
        tiny.encode_document(text)


def test_odd_text_is_embedded_as_it_is(tiny: O1Embedder) -> None:
    texts = ["\0", "a\0b", "<emb>", "</query><thought>", "x" * 100_000, "\u200b", "e\u0301"]
    vectors = tiny.encode_document(texts)
    assert np.isfinite(vectors).all()
    queries = tiny.encode_query(texts, num_thoughts=1)
    assert np.isfinite(queries).all()


def test_limits_are_counted_and_warned_of_once(
    make_embedder: MakeEmbedder, tiny: O1Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    config = O1Config(max_query_tokens=5, max_thought_tokens=4, max_passage_tokens=6)
    embedder = O1Embedder(Checkpoint.from_objects(tiny.model, tiny.checkpoint.tokenizer, config))
    with caplog.at_level(logging.WARNING, logger="o1_retriever"):
        cut = embedder.encode_document(["abcde", "abcdef", "abcdefg"])
        embedder.encode_document("abcdef")
        embedder.encode_query(["abcdef", "abc"], thoughts=[["12345", "1234"], ["123456"]])
        embedder.encode_query("abcdef", thoughts=["12345"])
    assert embedder.counters == {"truncated_passage": 3, "truncated_query": 2, "truncated_thought": 3}
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[1] for message in messages] == ["passage", "query", "thought"], messages
    np.testing.assert_allclose(cut[1], cut[0], atol=1e-6)


def test_long_thoughts_stay_within_the_models_positions(make_embedder: MakeEmbedder) -> None:
    """GPT-2 has a table of 512 positions: one step too far is an IndexError."""
    embedder = make_embedder("gpt2")
    settings = ThinkingConfig(num_thoughts=1, temperature=0.01, max_new_tokens=600)
    encoding = embedder.encode_query("x" * 9999, thinking=settings, return_thoughts=True)
    assert np.isfinite(encoding.vectors).all()
    embedder.encode_query("x" * 9999, thoughts=["y" * 9999])
    embedder.encode_document("x" * 9999)
    assert embedder.max_query_tokens == (512 - 5) // 2


def test_an_external_thinker(tiny: O1Embedder) -> None:
    embedder = with_thinker(tiny, Echo())
    assert isinstance(Echo(), Thinker)
    thoughts = [[f"{query} 0 ", f"{query} 1 "] for query in QUERIES]
    assert embedder.think(QUERIES, 2) == thoughts
    assert embedder.think(QUERIES[0], 2) == thoughts[0]
    encoding = embedder.encode_query(QUERIES, 2, return_thoughts=True)
    assert encoding.thoughts == thoughts
    np.testing.assert_array_equal(encoding.vectors, tiny.encode_query(QUERIES, thoughts=thoughts))
    found = embedder.encode_query(QUERIES[:1], 1, evidence=[["found text"]], return_thoughts=True)
    assert found.thoughts == [[f"{QUERIES[0]} 0 found text"]]
    np.testing.assert_array_equal(embedder.encode_query(QUERIES, 0), tiny.encode_query(QUERIES, 0))


def test_recorded_thoughts_as_thinker(tiny: O1Embedder) -> None:
    embedder = with_thinker(tiny, RecordedThoughts({QUERIES[0]: ["a", "b", "c", "d"]}))
    np.testing.assert_array_equal(
        embedder.encode_query(QUERIES[0], 2), tiny.encode_query(QUERIES[0], thoughts=["a", "b"])
    )
    with pytest.raises(ThinkerError, match="'another'"):
        embedder.encode_query(QUERIES)


def test_a_passing_failure_degrades_visibly(tiny: O1Embedder, caplog: pytest.LogCaptureFixture) -> None:
    embedder = with_thinker(tiny, Failing(TransientThinkerError("503 from the endpoint")))
    with caplog.at_level(logging.WARNING, logger="o1_retriever"):
        encoding = embedder.encode_query(QUERIES, return_thoughts=True)
    assert encoding.degraded == [True] * 3
    assert encoding.thoughts == [[], [], []]
    np.testing.assert_array_equal(encoding.vectors, tiny.encode_query(QUERIES, num_thoughts=0))
    assert embedder.counters["degraded"] == 3
    assert "503 from the endpoint" in caplog.text


def test_a_permanent_failure_raises(tiny: O1Embedder) -> None:
    embedder = with_thinker(tiny, Failing(ThinkerError("401: wrong key")))
    with pytest.raises(ThinkerError, match="401"):
        embedder.encode_query(QUERIES)
    with pytest.raises(KeyError):
        with_thinker(tiny, Failing(KeyError("a bug is not a passing failure"))).encode_query(QUERIES)
    assert embedder.counters["degraded"] == 0


def test_threads_give_what_one_thread_gives(tiny: O1Embedder) -> None:
    jobs = [([f"question {i}", "x" * (i + 1)], i % 3) for i in range(12)]
    embedder = O1Embedder(tiny.checkpoint)

    def work(job: tuple[list[str], int]) -> QueryEncoding:
        embedder.encode_document(["y" * 600])
        return embedder.encode_query(job[0], job[1], return_thoughts=True)

    expected = [tiny.encode_query(texts, k, return_thoughts=True) for texts, k in jobs]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, jobs))
    assert [result.thoughts for result in results] == [result.thoughts for result in expected]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.vectors, wanted.vectors, atol=1e-5)
    assert embedder.counters["truncated_passage"] == 12


def test_a_thinker_that_returns_too_few_thoughts_is_an_error(make_embedder: Callable[..., O1Embedder]) -> None:
    class Lazy:
        fingerprint = "lazy"

        def think(
            self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
        ) -> list[list[str]]:
            return [["only one"] for _ in queries]

    embedder = O1Embedder(make_embedder().checkpoint, thinker=Lazy())
    assert embedder.think("q", 1) == ["only one"]
    with pytest.raises(ThinkerError, match="returned 1 thoughts for 'q', not 2"):
        embedder.encode_query("q", 2)


def test_an_unknown_aggregation_fails_when_the_embedder_is_made(make_embedder: Callable[..., O1Embedder]) -> None:
    checkpoint = make_embedder().checkpoint
    checkpoint.config = dataclasses.replace(checkpoint.config, aggregation="median")
    with pytest.raises(InvalidInputError, match="Unknown aggregation 'median'; known are"):
        O1Embedder(checkpoint)

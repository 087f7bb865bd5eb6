"""The ways to ask a thinker, and what becomes of queries for which it is unavailable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.asking import AnsweredThinker, AsyncThinker, EachThinker, aanswer_of, answers_of, whole
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.exploration import Exploration
from o1_retriever.metering import metered
from o1_retriever.serving import aencode, encode
from o1_retriever.thinkers import Thinker
from o1_retriever.usage import Usage

LATE = TransientThinkerError("come back later")
QUERIES = ["good", "bad", "better"]


class Plain:
    """Thinks of all queries at once; fails for all when one of them is bad."""

    fingerprint = "plain"

    def __init__(self) -> None:
        self.threads: list[str] = []

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        self.threads.append(threading.current_thread().name)
        if "bad" in queries:
            raise LATE
        return [[f"{query} {number}" for number in range(num_thoughts)] for query in queries]


class Each(Plain):
    """Answers each query by itself."""

    def think_each(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[Any]:
        return [LATE if query == "bad" else Plain().think([query], num_thoughts)[0] for query in queries]


class Streaming(Plain):
    """Streams from the last query to the first, and counts; fails at the bad one."""

    def iter_think(self, queries: Iterable[str], num_thoughts: int) -> Iterator[Exploration]:
        for index, query in reversed(list(enumerate(queries))):
            yield Exploration(index, self.think([query], num_thoughts)[0], Usage(requests=1))


class Awaitable(Plain):
    """Can be awaited."""

    async def athink(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        return self.think(queries, num_thoughts)


class Wrong(Plain):
    """Answers as it was told, in every way there is to ask."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def think(self, *args: Any) -> Any:
        return self.answer

    think_each = think

    async def athink(self, *args: Any) -> Any:
        return self.answer


def thoughts(query: str) -> list[str]:
    return [f"{query} 0", f"{query} 1"]


@pytest.mark.parametrize(
    ("thinker", "answers"),
    [
        (Plain(), [LATE, LATE, LATE]),
        (Each(), [thoughts("good"), LATE, thoughts("better")]),
        (Streaming(), [LATE, LATE, thoughts("better")]),  # the last one came first
    ],
    ids=["at once", "each", "streamed"],
)
def test_who_keeps_thoughts_when_one_query_fails(thinker: Thinker, answers: list[Any]) -> None:
    assert answers_of(thinker, QUERIES, 2) == answers
    assert answers_of(thinker, ["good", "better"], 2) == [thoughts("good"), thoughts("better")]
    assert answers_of(thinker, [], 2) == []


def test_streams_are_metered() -> None:
    with metered() as meter:
        answers_of(Streaming(), QUERIES, 2)
    assert meter.usage == Usage(requests=1)


def test_all_thoughts_or_the_first_failure() -> None:
    assert whole([["a"], ["b"]]) == [["a"], ["b"]]
    with pytest.raises(TransientThinkerError, match="come back later"):
        whole([["a"], LATE])


def test_a_thinker_that_was_asked_before() -> None:
    answered = AnsweredThinker(Plain(), [["a"], LATE])
    assert isinstance(answered, EachThinker)
    assert (answered.fingerprint, answered.think_each(["x", "y"], 1)) == ("plain", [["a"], LATE])
    with pytest.raises(TransientThinkerError):
        answered.think(["x", "y"], 1)


def test_awaited_where_it_can_be_else_in_a_thread_of_thinkers() -> None:
    here = threading.current_thread().name
    for thinker in (Plain(), Each(), Streaming(), Awaitable()):
        assert asyncio.run(aanswer_of(thinker, "good", 2)) == thoughts("good")
        assert asyncio.run(aanswer_of(thinker, "bad", 2)) is LATE
        assert all((name == here) is isinstance(thinker, AsyncThinker) for name in thinker.threads)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ([["a"]], ThinkerError, "returned 1 thoughts for 'q', not 2"),
        ([["a", "b"], ["c", "d"]], InvalidInputError, "1 lists, got 2"),
        ([["a", 3]], InvalidTypeError, "a thought of query 0 is int"),
        (None, InvalidTypeError, "one list of texts per query"),
    ],
)
def test_answers_that_are_none(answer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        answers_of(Wrong(answer), ["q"], 2)
    with pytest.raises(error, match=message):
        asyncio.run(aanswer_of(Wrong(answer), "q", 2))


def test_one_query_degrades_alone(tiny: O1Embedder, caplog: pytest.LogCaptureFixture) -> None:
    embedder, thinking = O1Embedder(tiny.checkpoint, thinker=Each()), ThinkingConfig(num_thoughts=2)
    found = encode(embedder, QUERIES, thinking)
    assert found.degraded == [False, True, False]
    assert found.thoughts == [thoughts("good"), [], thoughts("better")]
    expected = tiny.encode_query(QUERIES, thoughts=found.thoughts)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    assert embedder.counters["degraded"] == 1
    assert "1 queries embedded without thoughts: come back later" in caplog.text


@pytest.mark.parametrize("make", [None, Plain, Each, Streaming, Awaitable], ids=str)
def test_awaited_queries_equal_those_waited_for(tiny: O1Embedder, make: Callable[[], Thinker] | None) -> None:
    embedder = O1Embedder(tiny.checkpoint, thinker=make and make())
    for thinking in (ThinkingConfig(num_thoughts=2), ThinkingConfig(num_thoughts=0)):
        for query in ("good", "bad"):
            here, there = encode(embedder, [query], thinking), asyncio.run(aencode(embedder, query, thinking))
            assert (here.thoughts, here.degraded) == (there.thoughts, there.degraded)
            np.testing.assert_allclose(here.vectors, there.vectors, atol=1e-6)
    assert embedder.counters["degraded"] == (2 if make else 0), "copies count where the embedder counts"

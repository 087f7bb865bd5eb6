"""Thoughts from a language model over HTTP: angles, pairing, order of completion, laziness, errors."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from o1_retriever import O1Embedder
from o1_retriever.errors import DatasetError, InvalidInputError, O1Error, ThinkerError, TransientThinkerError
from o1_retriever.exploration import StreamingThinker
from o1_retriever.llm import ChatClient, LLMConfig
from o1_retriever.llm_thinker import LLMThinker
from o1_retriever.metering import metered
from o1_retriever.tasks import TASKS, Task
from o1_retriever.thinkers import Thinker
from o1_retriever.usage import Usage

TASK = Task("test", "Write.", angles=("one", "two"))
Connect = Callable[..., LLMThinker]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect(server, task, **settings)` gives a thinker that is closed at the end."""

    def thinker(server: Any, task: Task = TASK, **settings: Any) -> LLMThinker:
        given = {"base_url": server.url, "model": "expert", "backoff_s": 0.001, "attempts": 3, **settings}
        return stack.enter_context(LLMThinker(LLMConfig(**given), task))

    with ExitStack() as stack:
        yield thinker


def test_it_is_a_thinker(chat_server: Any, connect: Connect) -> None:
    thinker = connect(chat_server())
    assert isinstance(thinker, Thinker)
    assert isinstance(thinker, StreamingThinker)


def test_candidates_take_angles_by_turns(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    (thoughts,) = connect(server).think(["why?"], 5)
    assert [text.split()[1] for text in thoughts] == ["one", "two", "one", "two", "one"]
    assert len(set(thoughts)) == 5
    assert {seen.angle: seen.body["n"] for seen in server.seen} == {"one": 3, "two": 2}


def test_a_task_without_angles_asks_once(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    connect(server, replace(TASK, angles=())).think(["why?"], 4)
    assert [(seen.angle, seen.body["n"]) for seen in server.seen] == [("Write.", 4)]


def test_no_queries_and_no_thoughts_cost_nothing(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    thinker = connect(server)
    assert thinker.think([], 3) == []
    assert thinker.think(["a", "b"], 0) == [[], []]
    assert list(thinker.iter_think([], 3)) == []
    assert server.seen == []


def test_evidence_reaches_the_prompt(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    connect(server).think(["why?", "how?"], 1, evidence=[["Bees dance.", "Ada wrote."], []])
    contents = {seen.query: seen.body["messages"][-1]["content"] for seen in server.seen}
    assert contents == {"why?": "why?\n\n[1] Bees dance.\n\n[2] Ada wrote.", "how?": "how?"}
    with pytest.raises(InvalidInputError, match="one list of passages per query: 1, got 2"):
        connect(server).think(["why?"], 1, evidence=[[], []])


@pytest.mark.parametrize("bad", ["", "  ", "\ud800"])
def test_queries_that_cannot_be_asked(chat_server: Any, connect: Connect, bad: str) -> None:
    thinker = connect(chat_server())
    with pytest.raises(InvalidInputError, match="query 1"):
        thinker.think(["why?", bad], 1)
    found = thinker.iter_think(["why?", bad], 1)
    assert next(found).index == 0
    with pytest.raises(InvalidInputError, match="query 1"):
        next(found)


def test_the_fingerprint_follows_what_decides_the_thoughts() -> None:
    config = LLMConfig("http://localhost/v1", "expert")

    def name(task: Task = TASK, **changes: Any) -> str:
        with LLMThinker(replace(config, **changes), task) as thinker:
            return thinker.fingerprint

    assert name() == name(base_url="http://elsewhere/v1", concurrency=2, attempts=1, prompt_price=1.0)
    changes = [{"model": "gnome"}, {"temperature": 0.5}, {"top_p": 0.5}, {"max_tokens": 5}, {"seed": 1}]
    tasks = [TASKS["finance"], replace(TASK, angles=("one",)), replace(TASK, instruction="Say.")]
    names = [name(), *(name(**change) for change in changes), *(name(task) for task in tasks)]
    assert len(set(names)) == len(names)
    assert name(replace(TASK, name="another")) == name()


def test_inside_a_running_loop(chat_server: Any, connect: Connect) -> None:
    server = chat_server(delay_s=0.05)
    thinker = connect(server)

    async def ask() -> tuple[list[list[str]], list[list[str]], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        blocking = thinker.think(["why?"], 2)
        ticking = asyncio.ensure_future(tick())
        free = await thinker.athink(["why?"], 2)
        ticking.cancel()
        return blocking, free, ticks

    blocking, free, ticks = asyncio.run(ask())
    assert [len(blocking[0]), len(free[0])] == [2, 2]
    assert ticks > 5


def test_cancelling_stops_what_is_in_flight(chat_server: Any, connect: Connect) -> None:
    server = chat_server(slow_s=30, faults=["slow"] * 2)
    thinker = connect(server)

    async def ask() -> None:
        async with asyncio.timeout(0.5):
            await thinker.athink(["why?"], 2)

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    server.wait_until_idle()
    assert [seen.outcome for seen in server.seen] == ["abandoned"] * 2


def test_a_refusal_ends_the_call_early(chat_server: Any, connect: Connect) -> None:
    server = chat_server(refused="bomb", delay_s=0.01)
    with pytest.raises(ThinkerError, match="expert refused"):
        connect(server, concurrency=2).think(["a bomb", *(f"q{number}" for number in range(50))], 1)
    assert len(server.seen) < 10


@pytest.mark.parametrize("way", ["refused", "filtered", "declined"])
def test_a_refusal(chat_server: Any, connect: Connect, way: str) -> None:
    thinker = connect(chat_server(**{way: "bomb"}))
    with pytest.raises(ThinkerError, match="expert refused: it wrote 0 of 3 thoughts for 'a bomb'"):
        thinker.think(["why?", "a bomb"], 3)
    found = {item.index: item for item in thinker.iter_think(["why?", "a bomb"], 3)}
    assert len(found[0].texts) == 3
    assert (found[1].texts, found[1].usage.refused) == ([], 3)


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_permanent_errors_raise(chat_server: Any, connect: Connect, status: str) -> None:
    server = chat_server(faults=[status] * 9)
    thinker = connect(server)
    for ask in (lambda: thinker.think(["why?"], 1), lambda: list(thinker.iter_think(["why?"], 1))):
        with pytest.raises(ThinkerError, match=status) as caught:
            ask()
        assert not isinstance(caught.value, TransientThinkerError)
    assert len(server.seen) == 2


def test_passing_errors_raise_at_last(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["500"] * 99)
    thinker = connect(server)
    for ask in (lambda: thinker.think(["why?"], 1), lambda: list(thinker.iter_think(["why?"], 1))):
        with pytest.raises(TransientThinkerError, match="after 3 attempts"):
            ask()


def test_as_the_thinker_of_an_embedder(chat_server: Any, connect: Connect, tiny: O1Embedder) -> None:
    server = chat_server()
    embedder = O1Embedder(tiny.checkpoint, thinker=connect(server))
    encoding = embedder.encode_query(["why?"], num_thoughts=2, return_thoughts=True)
    assert [text.startswith(server.answer_to("why?")) for text in encoding.thoughts[0]] == [True, True]
    assert encoding.degraded == [False]
    server.behaviour.faults = ["500"] * 99
    assert embedder.encode_query(["why?"], num_thoughts=2, return_thoughts=True).degraded == [True]


@pytest.mark.parametrize("evidence", [None, [["p"], ["p"], ["p"]]], ids=["bare", "evidence"])
def test_one_query_that_fails_leaves_the_others_theirs(
    chat_server: Any, connect: Connect, tiny: O1Embedder, evidence: Any
) -> None:
    server = chat_server(faults=["500"])
    thinker = connect(server, attempts=1, concurrency=1)
    embedder = O1Embedder(tiny.checkpoint, thinker=thinker)
    queries = ["first?", "second?", "third?"]
    with metered() as meter:
        found = embedder.encode_query(queries, num_thoughts=1, evidence=evidence, return_thoughts=True)
    assert found.degraded == [True, False, False]
    first, (second,), (third,) = found.thoughts
    assert first == []
    assert second.startswith(server.answer_to("second?")) and third.startswith(server.answer_to("third?"))
    assert meter.usage == Usage(requests=2, prompt_tokens=20, completion_tokens=10)
    server.behaviour.refused = "second"
    with pytest.raises(ThinkerError, match="refused"):
        thinker.think_each(queries, 1)
    assert thinker.think_each([], 1) == []


# Many queries


def test_many_queries_with_faults_are_paired_and_counted(chat_server: Any, connect: Connect) -> None:
    server = chat_server(scatter=0.2, retry_after="0.001")
    queries = [f"query {number} of {random.Random(number).random()}" for number in range(500)]
    thinker = connect(server, concurrency=24, attempts=4)
    found = list(thinker.iter_think(iter(queries), 3))
    assert sorted(item.index for item in found) == list(range(500))
    for item in found:
        assert len(set(item.texts)) == 3
        assert all(text.startswith(server.answer_to(queries[item.index])) for text in item.texts)
        assert [text.split()[-2] for text in item.texts] == ["one", "two", "one"]
    faulty = sum(seen.outcome != "answered" for seen in server.seen)
    assert faulty > 100
    assert {seen.outcome for seen in server.seen} == {"answered", *server.behaviour.scattered}
    total = sum((item.usage for item in found), Usage())
    assert total == thinker.client.usage
    assert (total.requests, total.retries) == (len(server.seen), faulty)
    assert total.completion_tokens == 500 * 3 * 5
    assert server.peak <= 24


def test_results_come_as_soon_as_they_are_complete(chat_server: Any, connect: Connect) -> None:
    server = chat_server(slow_s=0.5, faults=["slow"])
    queries = [f"q{number}" for number in range(8)]
    order = [queries[item.index] for item in connect(server, replace(TASK, angles=())).iter_think(queries, 1)]
    assert order[-1] == next(seen.query for seen in server.seen if seen.outcome == "slow")
    assert sorted(order) == queries
    done = {seen.query: seen.time_out for seen in server.seen}
    assert done[order[-1]] - done[order[-2]] > 0.2


@pytest.mark.parametrize("angles", [(), ("one", "two", "three")])
def test_queries_are_read_lazily_and_requests_bounded(
    chat_server: Any, connect: Connect, angles: tuple[str, ...]
) -> None:
    server = chat_server(delay_s=0.01)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"q{read}"

    found = connect(server, replace(TASK, angles=angles), concurrency=4).iter_think(endless(), 3)
    assert read == 0
    for taken in range(1, 21):
        next(found)
        assert read <= taken + 4
    assert server.peak == 4
    found.close()


def test_closing_the_iterator_stops_what_is_in_flight(chat_server: Any, connect: Connect) -> None:
    server = chat_server(slow_s=30, faults=["ok", *["slow"] * 99])
    found = connect(server, replace(TASK, angles=()), concurrency=4).iter_think(iter(f"q{n}" for n in range(99)), 1)
    next(found)
    while server.in_flight < 4:
        time.sleep(0.005)
    found.close()
    server.wait_until_idle()
    assert sorted(seen.outcome for seen in server.seen) == ["abandoned"] * 4 + ["answered"]


def test_what_was_complete_is_not_lost_to_an_error(chat_server: Any, connect: Connect) -> None:
    """Three answers wait while the consumer is busy; then a fourth query fails."""
    server = chat_server(delay_s=0.05)
    thinker = connect(server, replace(TASK, angles=()), concurrency=4)
    server.behaviour.faults = ["ok", "ok", "ok", "403"]
    found = thinker.iter_think(["a", "b", "c", "d"], 1)
    indices = [next(found).index]
    while len([seen for seen in server.seen if seen.time_out]) < 4:
        time.sleep(0.005)
    time.sleep(0.2)
    with pytest.raises(ThinkerError, match="denies access"):
        while True:
            indices.append(next(found).index)
    failed = next(seen.query for seen in server.seen if seen.outcome == "403")
    assert sorted(indices) == [index for index, query in enumerate("abcd") if query != failed]


def test_an_error_of_the_queries_comes_after_their_answers(chat_server: Any, connect: Connect) -> None:
    def broken() -> Iterator[str]:
        yield from ("a", "b")
        raise DatasetError("line 3")

    found = connect(chat_server(delay_s=0.05), concurrency=8).iter_think(broken(), 1)
    assert {next(found).index, next(found).index} == {0, 1}
    with pytest.raises(DatasetError, match="line 3"):
        next(found)


def test_closing_the_client_meanwhile(chat_server: Any) -> None:
    server = chat_server(slow_s=30, faults=["slow"] * 2)
    client = ChatClient(LLMConfig(server.url, "expert"))
    threading.Timer(0.3, client.close).start()
    with pytest.raises(O1Error, match="The client was closed while it was at work"):
        list(LLMThinker(client, TASK).iter_think(["a"], 2))


def test_a_shared_client_is_bounded_over_its_thinkers(chat_server: Any) -> None:
    server = chat_server(delay_s=0.02)
    with ChatClient(LLMConfig(server.url, "expert", concurrency=3)) as client:
        works = [
            threading.Thread(target=LLMThinker(client, task).think, args=([f"q{n}" for n in range(8)], 2))
            for task in (TASK, TASKS["finance"], TASKS["code-search"])
        ]
        for work in works:
            work.start()
        for work in works:
            work.join()
    assert len(server.seen) == 3 * 8 * 2
    assert server.peak == 3

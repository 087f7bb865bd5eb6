"""Many callers, one embedder: who is served when and with what; those who fail, who leave and who are too many."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from o1_retriever import Checkpoint, O1Embedder, QueryEncoding, RecordedThoughts, ThinkingConfig, metering
from o1_retriever.errors import (
    InvalidInputError,
    InvalidTypeError,
    O1Error,
    QueueFullError,
    ThinkerError,
    TransientThinkerError,
)
from o1_retriever.metering import metered
from o1_retriever.micro_batching import MicroBatcher, shared_batcher
from o1_retriever.usage import Usage

PATIENCE = 60.0
ALONE = ThinkingConfig(num_thoughts=0)


class Watched(O1Embedder):
    """Keeps the batches it was given; holds one up while `go` is not set."""

    def __init__(self, checkpoint: Checkpoint, **kwargs: Any) -> None:
        super().__init__(checkpoint, **kwargs)
        self.batches: list[list[str]] = []
        self.at_work = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def encode_query(self, queries: Any, *args: Any, **kwargs: Any) -> Any:
        self.batches.append(list(queries))
        self.at_work.release()
        assert self.go.wait(PATIENCE)
        return super().encode_query(queries, *args, **kwargs)


class Failing(Watched):
    """Raises what it is told to, for batches with the query "bad"."""

    error: BaseException = RuntimeError("the device is gone")

    def encode_query(self, queries: Any, *args: Any, **kwargs: Any) -> Any:
        if "bad" in queries:
            raise self.error
        return super().encode_query(queries, *args, **kwargs)


@pytest.fixture
def watched(tiny: O1Embedder) -> Iterator[Watched]:
    embedder = Watched(tiny.checkpoint)
    yield embedder
    embedder.go.set()


def equal(found: QueryEncoding, alone: QueryEncoding) -> None:
    """The same thoughts, and vectors that differ by rounding at most."""
    assert found.thoughts == alone.thoughts
    assert found.degraded == alone.degraded
    assert found.vectors.shape == alone.vectors.shape
    np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-5)
    np.testing.assert_allclose(found.thought_vectors[0], alone.thought_vectors[0], atol=1e-5)


async def while_busy(
    batcher: MicroBatcher, embedder: Watched, calls: Sequence[tuple[str, ThinkingConfig | None]]
) -> list[asyncio.Task[QueryEncoding]]:
    """Tasks of these queries, waiting in this order, while the embedder is held up by another one."""
    embedder.go.clear()
    tasks = [asyncio.create_task(batcher.aencode_query("the first"))]
    assert await asyncio.to_thread(embedder.at_work.acquire, timeout=PATIENCE)
    tasks += [asyncio.create_task(batcher.aencode_query(query, thinking=thinking)) for query, thinking in calls]
    await asyncio.sleep(0)  # each of them runs up to where it waits
    return tasks


async def finish(embedder: Watched, tasks: Sequence[Awaitable[Any]]) -> list[Any]:
    embedder.go.set()
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def test_a_query_that_comes_alone(tiny: O1Embedder) -> None:
    batcher = MicroBatcher(tiny)
    found, alone = batcher.encode_query("Who?"), tiny.encode_query(["Who?"], return_thoughts=True)
    assert found.thoughts == alone.thoughts
    assert len(found.thoughts[0]) == 3
    np.testing.assert_array_equal(found.vectors, alone.vectors)
    np.testing.assert_array_equal(found.thought_vectors, alone.thought_vectors)
    batcher.close()


def test_each_gets_what_it_would_get_alone(tiny: O1Embedder, watched: Watched) -> None:
    settings = [None, ThinkingConfig(num_thoughts=2, temperature=1.0, max_new_tokens=7, seed=5), ALONE]
    calls = [("why " * (1 + 5 * n) + "?", settings[n % 3]) for n in range(9)] + [("the first", settings[1])]

    async def run() -> list[Any]:
        return await finish(watched, await while_busy(MicroBatcher(watched), watched, calls))

    found = asyncio.run(run())
    assert watched.batches == [["the first"]] + [
        [calls[n][0] for n in turn] for turn in ([0, 3, 6], [1, 4, 7, 9], [2, 5, 8])
    ]
    for (query, thinking), encoding in zip([("the first", None), *calls], found, strict=True):
        equal(encoding, tiny.encode_query([query], thinking=thinking, return_thoughts=True))
    assert found[0].thoughts != found[-1].thoughts, "settings that change nothing would prove nothing"


def test_the_oldest_waiting_query_decides_whose_turn_it_is(watched: Watched) -> None:
    calls = [("a1", None), ("b1", ALONE), ("a2", None), ("a3", None), ("b2", ALONE), ("a4", None)]

    async def run() -> list[Any]:
        return await finish(watched, await while_busy(MicroBatcher(watched, max_batch=2), watched, calls))

    asyncio.run(run())
    assert watched.batches == [["the first"], ["a1", "a2"], ["b1", "b2"], ["a3", "a4"]]


def test_equal_settings_share_a_batch_whether_given_or_the_default(watched: Watched) -> None:
    calls = [("a", None), ("b", replace(watched.config.thinking)), ("c", None)]

    async def run() -> list[Any]:
        return await finish(watched, await while_busy(MicroBatcher(watched), watched, calls))

    asyncio.run(run())
    assert watched.batches == [["the first"], ["a", "b", "c"]]


def test_nobody_waits_for_company(watched: Watched) -> None:
    batcher = MicroBatcher(watched)
    for query in "abc":
        batcher.encode_query(query)
    assert watched.batches == [["a"], ["b"], ["c"]]


def test_threads_and_tasks_meet_in_one_batch(tiny: O1Embedder, watched: Watched) -> None:
    batcher = MicroBatcher(watched)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, watched, [(f"task {n}", None) for n in range(4)])
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(pool, batcher.encode_query, f"thread {n}") for n in range(4)]
        await asyncio.to_thread(until, lambda: len(batcher._line._waiting) == 8)
        return await finish(watched, [*tasks, *threads])

    with ThreadPoolExecutor(4) as pool:
        found = asyncio.run(run())
    assert [len(batch) for batch in watched.batches] == [1, 8]
    names = ["the first", *(f"task {n}" for n in range(4)), *(f"thread {n}" for n in range(4))]
    for name, encoding in zip(names, found, strict=True):
        equal(encoding, tiny.encode_query([name], return_thoughts=True))


def test_a_result_does_not_hold_those_of_its_mates(watched: Watched) -> None:
    async def run() -> list[Any]:
        return await finish(watched, await while_busy(MicroBatcher(watched), watched, [("a", None), ("b", None)]))

    _, one, other = asyncio.run(run())
    assert one.vectors.base is None
    assert one.thought_vectors[0].base is None
    kept = other.vectors.copy()
    one.vectors[:] = 0
    np.testing.assert_array_equal(other.vectors, kept)


def test_the_loop_is_free_while_the_model_works(watched: Watched) -> None:
    async def run() -> list[Any]:
        tasks = await while_busy(MicroBatcher(watched), watched, [(f"q{n}", None) for n in range(8)])
        for _ in range(5):  # the embedder is held up until these are through
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in tasks)
        return await finish(watched, tasks)

    assert all(isinstance(result, QueryEncoding) for result in asyncio.run(run()))


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", InvalidInputError, "empty"),
        (" \n", InvalidInputError, "empty"),
        ("half \ud83d", InvalidInputError, "surrogate"),
        (None, InvalidTypeError, "query is NoneType, not a string"),
        (5, InvalidTypeError, "query is int"),
        (["a list"], InvalidTypeError, "query is list, not a string: pass one query a call"),
    ],
)
def test_wrong_input_never_queues(watched: Watched, query: Any, error: type[O1Error], message: str) -> None:
    batcher = MicroBatcher(watched)
    with pytest.raises(error, match=message):
        batcher.encode_query(query)
    with pytest.raises(error, match=message):
        asyncio.run(batcher.aencode_query(query))
    with pytest.raises(InvalidTypeError, match=r"thinking must be a ThinkingConfig, got int: 3"):
        batcher.encode_query("fine", thinking=3)  # type: ignore[arg-type]
    assert watched.batches == []


@pytest.mark.parametrize("settings", [{"max_batch": 0}, {"max_waiting": 0}])
def test_wrong_settings(tiny: O1Embedder, settings: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=f"{next(iter(settings))} must be at least 1, got 0"):
        MicroBatcher(tiny, **settings)
    with pytest.raises(InvalidTypeError, match=f"{next(iter(settings))} must be an int"):
        MicroBatcher(tiny, **dict.fromkeys(settings, 1.5))  # type: ignore[arg-type]


def test_an_error_reaches_only_those_whose_query_causes_it(tiny: O1Embedder) -> None:
    known = ["the first", *(f"q{n}" for n in range(7))]
    recorded = RecordedThoughts({query: [f"{query} thought"] * 3 for query in known})
    embedder = Watched(tiny.checkpoint, thinker=recorded)
    calls = [(query, None) for query in ("q0", "unknown", *known[2:], "another")]

    batcher = MicroBatcher(embedder)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, embedder, calls)
        await asyncio.to_thread(until, lambda: len(batcher._line._waiting) == 7)
        return await finish(embedder, tasks)

    found = dict(zip(["the first", *(query for query, _ in calls)], asyncio.run(run()), strict=True))
    assert sorted(embedder.batches[1]) == known[1:], "their thoughts were there, and one batch embedded them"
    for query in ("unknown", "another"):
        assert isinstance(found[query], ThinkerError)
        assert repr(query) in str(found[query])
    for query in known:
        equal(found[query], embedder.encode_query([query], return_thoughts=True))


class Paid:
    """Thinks of one query at a time for a price; refuses "refused", and has no time for "busy"."""

    fingerprint = "paid"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        self.asked += queries
        metering.count(Usage(requests=len(queries)))
        if "refused" in queries:
            raise ThinkerError("refused")
        if "busy" in queries:
            raise TransientThinkerError("busy")
        return [[f"{query} {number}" for number in range(num_thoughts)] for query in queries]


class PaidAsync(Paid):
    """Can be awaited."""

    async def athink(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        return self.think(queries, num_thoughts)


@pytest.mark.parametrize("make", [Paid, PaidAsync])
def test_no_query_is_paid_for_twice(tiny: O1Embedder, make: type[Paid]) -> None:
    """One of the batch is refused, one gets no thoughts for now, and the batch itself fails until "bad" is alone."""
    thinker = make()
    embedder = Failing(tiny.checkpoint, thinker=thinker)
    batcher, calls = MicroBatcher(embedder), ["a", "refused", "b", "bad", "busy", "c"]

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, embedder, [(query, None) for query in calls])
        await asyncio.to_thread(until, lambda: len(batcher._line._waiting) == 5)
        return await finish(embedder, tasks)

    found = dict(zip(["the first", *calls], asyncio.run(run()), strict=True))
    assert sorted(thinker.asked) == sorted(["the first", *calls]), "each once"
    assert isinstance(found["refused"], ThinkerError)
    assert found["bad"] is embedder.error
    assert (found["busy"].degraded, found["busy"].thoughts) == ([True], [[]])
    for query in "abc":
        assert (found[query].degraded, found[query].thoughts[0][0]) == ([False], f"{query} 0")


@pytest.mark.parametrize("make", [Paid, PaidAsync])
def test_the_caller_s_meter_counts_what_its_query_costs(tiny: O1Embedder, make: type[Paid]) -> None:
    batcher = MicroBatcher(O1Embedder(tiny.checkpoint, thinker=make()))

    async def cost(query: str) -> Usage:
        with metered() as meter:
            await batcher.aencode_query(query)
        return meter.usage

    async def costs() -> list[Usage]:
        return await asyncio.gather(*(cost(query) for query in "abcd"))

    assert asyncio.run(costs()) == [Usage(requests=1)] * 4
    with metered() as meter:
        batcher.encode_query("e")
        batcher.encode_query("nobody is asked", thinking=ALONE)
    assert meter.usage == Usage(requests=1)


def test_nobody_waits_for_the_thoughts_of_others(tiny: O1Embedder) -> None:
    go = threading.Event()

    class Slow(Paid):
        def think(self, queries: Sequence[str], *args: Any) -> list[list[str]]:
            assert "slow" not in queries or go.wait(PATIENCE)
            return super().think(queries, *args)

    batcher = MicroBatcher(O1Embedder(tiny.checkpoint, thinker=Slow()))

    async def run() -> None:
        slow = asyncio.create_task(batcher.aencode_query("slow"))
        await asyncio.wait_for(batcher.aencode_query("quick"), PATIENCE)
        assert not slow.done()
        go.set()
        await slow

    asyncio.run(run())


@pytest.mark.parametrize("error", [RuntimeError("gone"), MemoryError(), KeyError("x"), SystemExit(3), StopIteration()])
def test_any_error_reaches_its_caller_and_the_worker_lives(tiny: O1Embedder, error: BaseException) -> None:
    embedder = Failing(tiny.checkpoint)
    embedder.error = error
    batcher = MicroBatcher(embedder)
    with pytest.raises(type(error)):
        batcher.encode_query("bad")
    worker = batcher._line._thread
    assert batcher.encode_query("good").vectors.shape == (1, 32)
    assert batcher._line._thread is worker


def test_errors_reach_tasks(tiny: O1Embedder) -> None:
    embedder = Failing(tiny.checkpoint)

    async def run() -> list[Any]:
        tasks = await while_busy(MicroBatcher(embedder), embedder, [("good", None), ("bad", None)])
        return await finish(embedder, tasks)

    first, good, bad = asyncio.run(run())
    assert isinstance(first, QueryEncoding)
    assert isinstance(good, QueryEncoding)
    assert bad is embedder.error


def test_a_full_queue(watched: Watched) -> None:
    batcher = MicroBatcher(watched, max_waiting=2)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, watched, [("a", None), ("b", None), ("too many", None)])
        with pytest.raises(QueueFullError, match=r"2 queries are waiting .* try again later"):
            batcher.encode_query("a thread is refused too")
        return await finish(watched, tasks)

    *served, refused = asyncio.run(run())
    assert isinstance(refused, QueueFullError)
    assert all(isinstance(result, QueryEncoding) for result in served)
    assert batcher.encode_query("later").vectors.shape == (1, 32)
    assert watched.batches == [["the first"], ["a", "b"], ["later"]]


def test_a_cancelled_task_leaves_the_queue(watched: Watched) -> None:
    batcher = MicroBatcher(watched, max_waiting=3)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, watched, [("a", None), ("b", None), ("c", None)])
        tasks[2].cancel()
        tasks[0].cancel()  # at work: what comes of it is dropped
        await asyncio.sleep(0)
        late = asyncio.create_task(batcher.aencode_query("takes the place of b"))
        await asyncio.sleep(0)
        return await finish(watched, [*tasks, late])

    first, a, b, c, late = asyncio.run(run())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(b, asyncio.CancelledError)
    assert all(isinstance(result, QueryEncoding) for result in (a, c, late))
    assert watched.batches == [["the first"], ["a", "c", "takes the place of b"]]


def test_a_timeout_takes_the_query_out(watched: Watched) -> None:
    batcher = MicroBatcher(watched)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, watched, [])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.aencode_query("impatient"), 0.01)
        assert not batcher._line._waiting
        return await finish(watched, tasks)

    asyncio.run(run())
    assert watched.batches == [["the first"]]


def test_a_closed_loop_does_not_stop_the_worker(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    batcher = MicroBatcher(watched)
    watched.go.clear()
    loop = asyncio.new_event_loop()
    task = loop.create_task(batcher.aencode_query("its loop is closed meanwhile"))
    loop.run_until_complete(asyncio.sleep(0))
    assert watched.at_work.acquire(timeout=PATIENCE)
    loop.close()
    with caplog.at_level(logging.WARNING):
        watched.go.set()
        assert batcher.encode_query("next").vectors.shape == (1, 32)
    assert not caplog.records
    with caplog.at_level(logging.CRITICAL, "asyncio"):  # asyncio says that the task was pending
        del task
        gc.collect()


def test_close(watched: Watched) -> None:
    batcher = MicroBatcher(watched)

    async def run() -> list[Any]:
        tasks = await while_busy(batcher, watched, [("waiting", None)])
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.wait([tasks[1]], timeout=PATIENCE)
        assert not closing.done(), "the batch at work is waited for"
        return await finish(watched, [*tasks, closing])

    running, waiting, closed = asyncio.run(run())
    assert isinstance(running, QueryEncoding)
    assert isinstance(waiting, O1Error)
    assert "was closed" in str(waiting)
    assert closed is None
    with pytest.raises(O1Error, match="was closed: make a new one"):
        batcher.encode_query("late")
    batcher.close()
    assert watched.batches == [["the first"]]


def test_everybody_shares_the_batcher_of_an_embedder(tiny: O1Embedder, watched: Watched) -> None:
    other = Watched(tiny.checkpoint)

    async def run() -> list[Any]:
        tasks = await while_busy(shared_batcher(watched), watched, [("a", None)])
        tasks.append(asyncio.create_task(shared_batcher(watched).aencode_query("b")))
        await shared_batcher(other).aencode_query("goes past them")
        return await finish(watched, tasks)

    asyncio.run(run())
    assert watched.batches == [["the first"], ["a", "b"]]
    assert other.batches == [["goes past them"]]


def test_closing_the_shared_batcher_begins_a_new_one(watched: Watched) -> None:
    batcher = shared_batcher(watched)
    batcher.encode_query("a")
    batcher.close()
    with pytest.raises(O1Error, match="call shared_batcher again"):
        batcher.encode_query("b")
    assert shared_batcher(watched).encode_query("c").vectors.shape == (1, 32)


@pytest.mark.parametrize("make", [MicroBatcher, shared_batcher])
def test_an_idle_batcher_keeps_neither_model_nor_thread(
    tiny: O1Embedder, make: Callable[[O1Embedder], MicroBatcher]
) -> None:
    embedder = Watched(tiny.checkpoint)
    batcher = make(embedder)
    asyncio.run(batcher.aencode_query("q"))
    thread, gone = batcher._line._thread, weakref.ref(embedder)
    assert thread is not None
    assert thread.is_alive()
    del batcher, embedder
    until(lambda: gc.collect() >= 0 and gone() is None)  # the thread may still be on its way back to the queue
    thread.join(PATIENCE)
    assert not thread.is_alive()


class Stub:
    """Answers without a model: a forked child of a process with a busy one must not compute."""

    def __init__(self) -> None:
        self.config, self.thinker = type("Config", (), {"thinking": ThinkingConfig()}), None
        self.at_work, self.go = threading.Event(), threading.Event()

    def encode_query(self, queries: list[str], **settings: Any) -> QueryEncoding:
        if queries == ["slow"]:
            self.at_work.set()
            assert self.go.wait(PATIENCE)
        count = len(queries)
        return QueryEncoding(
            np.zeros((count, 2), np.float32), [[]] * count, [np.zeros((1, 2))] * count, [False] * count
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no forking here")
@pytest.mark.parametrize("make", [partial(MicroBatcher, max_waiting=1), shared_batcher])
def test_a_forked_child_begins_with_an_empty_queue(make: Callable[[Any], MicroBatcher]) -> None:
    stub = Stub()
    batcher = make(stub)
    callers = [threading.Thread(target=batcher.encode_query, args=(query,)) for query in ("slow", "waits")]
    callers[0].start()
    assert stub.at_work.wait(PATIENCE)
    callers[1].start()
    until(lambda: len(batcher._line._waiting) == 1)
    with batcher._line._changed:  # the child inherits a lock that is taken
        code = exit_code_of_child(lambda: batcher.encode_query("child"))
    assert code == 0
    stub.go.set()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive(), "the parent goes on as if nothing had happened"


def exit_code_of_child(work: Callable[[], object]) -> int:
    """0 if the work ends without an error in a forked child."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # ends a child that hangs
        work()
        code = 0
    finally:
        os._exit(code)

"""Threads by kind of work: bounded, apart from each other, aware of the caller's context, new in a forked child."""

from __future__ import annotations

import asyncio
import contextvars
import os
import pickle
import signal
import threading
from collections.abc import Callable

import pytest

from o1_retriever.worker_threads import QUERIES, TEXTS, THINKERS, WorkerThreads, _executor

PATIENCE = 60.0
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def busy() -> int:
    return sum(thread.name.startswith(TEXTS.name) for thread in threading.enumerate())


def test_one_kind_of_work_never_waits_behind_another() -> None:
    go = threading.Event()

    async def ask() -> str:
        texts = [asyncio.ensure_future(TEXTS.run(go.wait, PATIENCE)) for _ in range(100)]
        answer = await asyncio.wait_for(QUERIES.run(str.upper, "done"), PATIENCE / 2)
        assert busy() <= TEXTS.limit
        go.set()
        assert all(await asyncio.gather(*texts))
        return answer

    assert asyncio.run(ask()) == "DONE"
    asyncio.run(ask())
    assert busy() <= TEXTS.limit, "another loop uses the same threads"


def test_work_sees_the_callers_context_and_arguments() -> None:
    def work(first: int, *, second: int) -> tuple[str, int]:
        return WHO.get(), first + second

    async def ask() -> tuple[str, int]:
        WHO.set("caller")
        return await THINKERS.run(work, 1, second=2)

    assert asyncio.run(ask()) == ("caller", 3)
    assert WHO.get() == "nobody"


def test_errors_arrive() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(QUERIES.run(divmod, 1, 0))


def test_work_that_waits_its_turn_can_be_cancelled() -> None:
    one, go, done = WorkerThreads("o1-test", 1), threading.Event(), list[str]()

    async def ask() -> None:
        first = asyncio.ensure_future(one.run(go.wait, PATIENCE))
        second = asyncio.ensure_future(one.run(done.append, "second"))
        third = asyncio.ensure_future(one.run(done.append, "third"))
        await asyncio.sleep(0.01)
        second.cancel()
        go.set()
        await asyncio.gather(first, third)

    asyncio.run(ask())
    assert done == ["third"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no forking here")
def test_a_forked_child_begins_with_threads_of_its_own() -> None:
    go = threading.Event()

    async def ask() -> int:
        held = [asyncio.ensure_future(TEXTS.run(go.wait, PATIENCE)) for _ in range(TEXTS.limit + 1)]
        await QUERIES.run(str.upper, "the threads are there")
        code = exit_code_of_child(lambda: _executor(TEXTS).submit(str.upper, "child").result(10))
        go.set()
        await asyncio.gather(*held)
        return code

    assert asyncio.run(ask()) == 0


def test_pickles_name_the_same_threads() -> None:
    assert pickle.loads(pickle.dumps(TEXTS)) == TEXTS
    assert _executor(pickle.loads(pickle.dumps(TEXTS))) is _executor(TEXTS)


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

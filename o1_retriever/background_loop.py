"""An event loop in a thread of its own, so that async clients can be used from anywhere: also inside a running loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from o1_retriever.errors import O1Error

T = TypeVar("T")
_Started = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class BackgroundLoop:
    """Runs coroutines in one daemon thread that starts with the first of them.

    Args:
        name: of the thread.
        on_close: awaited in the loop when it ends: closes what was opened there. It must not refer to the object that
            owns this one, or that would never be collected.
    """

    def __init__(self, name: str, on_close: Callable[[], Awaitable[object]]) -> None:
        self._name, self._on_close = name, on_close
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._closed = False
        self._finalizer: weakref.finalize[..., BackgroundLoop] | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts the work; cancelling the future stops it.

        Raises:
            O1Error: the loop was closed, or this process is a fork of the one that started it.
        """
        try:
            with self._lock:
                return asyncio.run_coroutine_threadsafe(work, self._running())
        except O1Error:
            work.close()  # it will never be awaited
            raise

    def close(self) -> None:
        """Cancels what still runs and ends the thread; does nothing the second time."""
        with self._lock:
            self._closed = True
            if self._finalizer is not None and self._process == os.getpid():
                self._finalizer()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise O1Error(f"{self._name} is closed: make a new one.")
        if self._loop is None:
            self._loop = self._start()
        if self._process != os.getpid():
            raise O1Error(f"{self._name} was in use before this process was forked: make a new one here.")
        return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        started: Future[_Started] = Future()
        thread = threading.Thread(target=_serve, args=(started, self._on_close), name=self._name, daemon=True)
        thread.start()
        loop, stop = started.result()
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _stop, loop, stop, thread)
        return loop


def _serve(started: Future[_Started], on_close: Callable[[], Awaitable[object]]) -> None:
    """The thread: lives until it is told to stop."""

    async def wait() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await on_close()

    asyncio.run(wait())


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    if thread is not threading.current_thread():  # the garbage collector may run in any thread
        thread.join()

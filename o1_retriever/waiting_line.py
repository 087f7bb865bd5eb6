"""The line in which queries wait for an embedder, and the thread that serves it in batches (`batch_serving.py`).

First come, first served; while one batch is at work, the next one gathers. Knows queues and threads; knows nothing of
event loops or of how a query becomes a vector.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future

from o1_retriever.batch_serving import Request, serve
from o1_retriever.errors import O1Error, QueueFullError
from o1_retriever.query_encoding import QueryEncoding

EXIT_SECONDS = 10.0
"""How long the interpreter's exit waits for the batch at work."""


class WaitingLine:
    """The waiting queries of one embedder. Its thread starts with the first of them; a forked child's line is empty.

    Args:
        max_batch: queries of one call of the embedder at most.
        max_waiting: queries that may wait, those at work not counted.
    """

    def __init__(self, max_batch: int, max_waiting: int) -> None:
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self.closed = False
        self.begin()
        _lines.add(self)

    def begin(self) -> None:
        """Empties the line, at birth and in a forked child: there nobody waits, and nobody would release the lock."""
        self._changed = threading.Condition()  # re-entrant: the garbage collector may call `end` anywhere
        self._waiting: deque[Request] = deque()
        self._thread: threading.Thread | None = None

    def join(self, request: Request) -> Future[QueryEncoding]:
        """Puts a query at the end of the line; cancelling the future takes it out again.

        Raises:
            QueueFullError: the line is full.
            O1Error: it is closed.
        """
        request.future.add_done_callback(self._leave)
        with self._changed:
            if self.closed:
                raise _closed_error()
            if len(self._waiting) >= self._max_waiting:
                raise QueueFullError(
                    f"{len(self._waiting)} queries are waiting for the embedder and no more may: try again later, let "
                    "fewer callers ask at once, or make a MicroBatcher with a larger max_waiting."
                )
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="o1 micro-batches", daemon=True)
                self._thread.start()
            self._waiting.append(request)
            self._changed.notify()
        return request.future

    def end(self) -> None:
        """Fails the waiting queries and lets the thread end after the batch at work."""
        with self._changed:
            self.closed = True
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify()
        for request in waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(_closed_error())

    def wait(self, seconds: float | None = None) -> None:
        """Returns when the thread has ended, or after so many seconds."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _leave(self, future: Future[QueryEncoding]) -> None:
        """Called with every future that is done: one that was cancelled while it waited gives its place back."""
        if future.cancelled():
            with self._changed:
                self._waiting = deque(request for request in self._waiting if request.future is not future)

    def _work(self) -> None:
        while self._serve_next():
            # Hands the interpreter over, so that those who were just answered can ask again before the next batch is
            # taken; nothing is waited for. Without it 16 tasks of one loop go on in turns of 1 and 15.
            time.sleep(0)

    def _serve_next(self) -> bool:
        """Waits for a batch and answers it; False at the end. Returning forgets the batch, and so the embedder."""
        with self._changed:
            while not self._waiting and not self.closed:
                self._changed.wait()
            if not self._waiting:
                return False
            batch = self._take()
        if batch:
            serve(batch)
        return True

    def _take(self) -> list[Request]:
        """The oldest query and those that think as it does, without those cancelled at this very moment."""
        settings = self._waiting[0].settings
        batch: list[Request] = []
        left: deque[Request] = deque()
        for request in self._waiting:
            if len(batch) == self._max_batch or request.settings != settings:
                left.append(request)
            elif request.future.set_running_or_notify_cancel():
                batch.append(request)
        self._waiting = left
        return batch


def _closed_error() -> O1Error:
    return O1Error("The micro-batcher was closed: make a new one, or call shared_batcher again.")


_lines: weakref.WeakSet[WaitingLine] = weakref.WeakSet()


def _begin_again() -> None:
    """In a forked child: none of the threads lives that served the lines or held their locks."""
    for line in _lines:
        line.begin()


def _end_all() -> None:
    """At exit: the interpreter stops a daemon thread wherever it is, and inside of torch that aborts the process."""
    lines = list(_lines)
    for line in lines:
        line.end()
    for line in lines:
        line.wait(EXIT_SECONDS)


atexit.register(_end_all)

if hasattr(os, "register_at_fork"):  # where there is forking at all
    os.register_at_fork(after_in_child=_begin_again)

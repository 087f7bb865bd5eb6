"""Works done side by side, their results in order of completion, never more than a limit begun and not handed out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from o1_retriever.errors import O1Error

T = TypeVar("T")


def in_completion_order(
    works: Iterable[Coroutine[Any, Any, T]], submit: Callable[[Coroutine[Any, Any, T]], Future[T]], limit: int
) -> Iterator[T]:
    """Runs the works and yields each result as soon as it is there; closing the iterator cancels what still runs.

    Args:
        works: read lazily, in the consumer's thread.
        submit: starts one.
        limit: works begun and not yet handed out, at most.

    Raises:
        O1Error: what a work raises; results that were complete by then come first, the others are cancelled. Or what
            the iterable raises; all works begun by then are finished first.
    """
    window = _Window(iter(works), submit, limit)
    try:
        yield from window.results()
    finally:
        window.cancel()


class _Window(Generic[T]):
    """The works that were begun: running, or complete and waiting to be handed out."""

    def __init__(
        self,
        works: Iterator[Coroutine[Any, Any, T]],
        submit: Callable[[Coroutine[Any, Any, T]], Future[T]],
        limit: int,
    ) -> None:
        self._works, self._submit, self._limit = works, submit, limit
        self._begun: set[Future[T]] = set()
        self._complete: SimpleQueue[Future[T]] = SimpleQueue()
        self._error: BaseException | None = None
        self._end: O1Error | None = None

    def results(self) -> Iterator[T]:
        self._fill()
        while self._begun and not (self._error and self._complete.empty()):
            future = self._complete.get()
            self._begun.remove(future)
            failure = _failure(future)
            self._error = self._error or failure
            self._fill()  # before the result is handed out: a slow consumer leaves no slot idle
            if failure is None:
                yield future.result()
        if error := self._error or self._end:
            raise error

    def _fill(self) -> None:
        if self._error or self._end:
            return
        try:
            for work in islice(self._works, self._limit - len(self._begun)):
                future = self._submit(work)
                self._begun.add(future)
                future.add_done_callback(self._complete.put)
        except O1Error as error:
            self._end = error

    def cancel(self) -> None:
        for future in self._begun:
            future.cancel()


def _failure(future: Future[Any]) -> BaseException | None:
    if future.cancelled():
        return O1Error("The client was closed while it was at work: close it afterwards, or make a new one.")
    return future.exception()

"""Thoughts of a language model as they are written, several side by side. Knows streams, not who writes them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

from o1_retriever.thinking import ThoughtDelta

_Item = ThoughtDelta | BaseException
_REASONING, _REASONING_END = "<think>", "</think>"


def side_by_side(streams: Sequence[Callable[[], Iterator[str]]], limit: int) -> Iterator[ThoughtDelta]:
    """Pieces of each stream as they come; the index of the stream is the thought's.

    The first error of a stream is raised. After it, and where the iterator is closed early, the other streams end with
    their next piece.

    Args:
        streams: each begins when it is called.
        limit: of them at work at the same time.
    """
    queue: SimpleQueue[_Item] = SimpleQueue()
    stop, left = threading.Event(), len(streams)
    executor = ThreadPoolExecutor(max(1, min(limit, len(streams))), thread_name_prefix="o1-thinker")
    try:
        for index, stream in enumerate(streams):
            work = executor.submit(contextvars.copy_context().run, partial(_pump, index, stream, queue, stop))
            work.add_done_callback(partial(_tell, queue))
        while left:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            left -= item.done
            yield item
    finally:
        stop.set()
        executor.shutdown(wait=False, cancel_futures=True)


def _pump(index: int, stream: Callable[[], Iterator[str]], queue: SimpleQueue[_Item], stop: threading.Event) -> None:
    for piece in without_reasoning(stream()):
        if stop.is_set():
            return
        queue.put(ThoughtDelta(0, index, piece, done=False))
    queue.put(ThoughtDelta(0, index, "", done=True))


def _tell(queue: SimpleQueue[_Item], work: Future[None]) -> None:
    """Hands a stream's error to the one who reads."""
    error = None if work.cancelled() else work.exception()
    if error is not None:
        queue.put(error)


def without_reasoning(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces behind the reasoning that some models write first; of unfinished reasoning nothing.

    >>> "".join(without_reasoning(iter(["<thi", "nk>Hm.</th", "ink> Bees", " dance."])))
    'Bees dance.'
    """
    held = ""
    for piece in pieces:
        held = (held + piece).lstrip()
        if held and not _REASONING.startswith(held[: len(_REASONING)]):
            break
        if _REASONING_END in held:
            held = held.partition(_REASONING_END)[2].lstrip()
            break
    else:
        if held.startswith(_REASONING):
            return
    if held:
        yield held
    yield from pieces

"""Works side by side: order, limits and errors, with futures that the test completes by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from o1_retriever.completion_order import in_completion_order
from o1_retriever.errors import InvalidInputError, O1Error, ThinkerError


class Hand:
    """Begins works, for which numbers stand, and calls `then(number)` after each."""

    def __init__(self, then: Callable[[int], object] = lambda number: None) -> None:
        self.then = then
        self.futures: dict[int, Future[str]] = {}

    def submit(self, work: Any) -> Future[str]:
        self.futures[work] = Future()
        return self.futures[work]

    def finish(self, *works: int) -> None:
        for work in works:
            self.futures[work].set_result(f"result {work}")

    def fail(self, work: int) -> None:
        self.futures[work].set_exception(ThinkerError(f"{work} is broken"))

    def run(self, works: Iterable[int], limit: int) -> Iterator[str]:
        """The iterator; a work's `then` is called when the next one is asked for."""

        def numbers() -> Iterator[int]:
            for work in works:
                yield work
                self.then(work)

        return in_completion_order(numbers(), self.submit, limit)  # type: ignore[arg-type]


def test_the_order_is_that_of_completion() -> None:
    hand = Hand(then=lambda work: work == 2 and hand.finish(2, 0, 1))
    assert list(hand.run(range(3), 4)) == ["result 2", "result 0", "result 1"]


def test_works_begin_when_results_are_asked_for() -> None:
    hand = Hand(then=lambda work: hand.finish(work - 1) if work else None)
    found = hand.run(range(9), 3)
    assert not hand.futures
    assert next(found) == "result 0"
    assert len(hand.futures) == 4, "another work takes the place of the one that is handed out"
    assert next(found) == "result 1"
    assert len(hand.futures) == 5


def test_complete_results_come_before_an_error() -> None:
    """Work 1 fails while the consumer is busy with the result of work 0; then 2 completes; 3 never does."""
    hand = Hand(then=lambda work: work == 3 and hand.finish(0))
    found = hand.run(range(4), 9)
    assert next(found) == "result 0"
    hand.fail(1)
    hand.finish(2)
    assert next(found) == "result 2"
    with pytest.raises(ThinkerError, match="1 is broken"):
        next(found)
    assert hand.futures[3].cancelled()


def test_nothing_begins_after_an_error() -> None:
    hand = Hand(then=lambda work: work == 0 and hand.fail(0))
    with pytest.raises(ThinkerError, match="0 is broken"):
        next(hand.run(range(9), 2))
    assert list(hand.futures) == [0, 1]


def test_an_error_of_the_works_themselves_waits_for_those_begun() -> None:
    def works() -> Iterator[int]:
        yield from (0, 1)
        hand.finish(1)
        threading.Timer(0.1, hand.finish, [0]).start()
        raise InvalidInputError("line 3")

    hand = Hand()
    found = hand.run(works(), 5)
    assert [next(found), next(found)] == ["result 1", "result 0"]
    with pytest.raises(InvalidInputError, match="line 3"):
        next(found)


def test_closing_cancels_what_was_begun() -> None:
    hand = Hand(then=lambda work: work == 1 and hand.finish(0))
    found = hand.run(range(9), 3)
    assert next(found) == "result 0"
    found.close()  # type: ignore[attr-defined]
    assert [number for number, future in hand.futures.items() if future.cancelled()] == [1, 2, 3]


def test_a_cancelled_work_says_why() -> None:
    hand = Hand(then=lambda work: hand.futures[work].cancel())
    with pytest.raises(O1Error, match="The client was closed while it was at work"):
        next(hand.run(range(2), 2))

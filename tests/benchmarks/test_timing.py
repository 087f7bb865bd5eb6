"""Works that take turns: each as often as said, the order swapped every round, medians."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from benchmarks import timing
from benchmarks.timing import alternate, take_turns


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of works in the order of their turns; the n-th turn takes n seconds."""
    names: list[str] = []

    def seconds(work: Callable[[], object]) -> float:
        work()
        return float(len(names))

    monkeypatch.setattr(timing, "seconds", seconds)
    return names


def test_the_order_is_swapped_every_round(called: list[str]) -> None:
    works = {name: partial(called.append, name) for name in "abc"}
    medians = take_turns(works, rounds=3)
    assert "".join(called) == "abc" + "cba" + "abc"
    assert medians == {"a": 6.0, "b": 5.0, "c": 4.0}  # of 1, 6, 7; of 2, 5, 8; of 3, 4, 9


def test_two_sides_warm_up_first(called: list[str]) -> None:
    ratio = alternate("case", partial(called.append, "plain"), partial(called.append, "ours"), rounds=2, target=1.5)
    assert called == ["plain", "ours", "plain", "ours", "ours", "plain"]
    assert (ratio.name, ratio.target) == ("case", 1.5)
    assert (ratio.reference_s, ratio.ours_s) == ((3 + 6) / 2, (4 + 5) / 2)

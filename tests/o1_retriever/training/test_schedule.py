"""Every row in its turn, the same in every process and after every stop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.training.schedule import Schedule


def sources(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts), dtype=np.uint16), counts)


def test_each_row_once_an_epoch_in_another_order_each_time() -> None:
    schedule = Schedule(sources(7, 3), batch=4, seed=1)
    first, second = [[schedule.row(v) for v in range(e * 10, e * 10 + 10)] for e in (0, 1)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != list(range(10))
    assert schedule.batches_per_epoch() == 2.5


def test_order_is_a_function_of_the_seed_alone() -> None:
    one, two, other = Schedule(sources(50), 8, 3), Schedule(sources(50), 8, 3), Schedule(sources(50), 8, 4)
    backwards = [two.row(v) for v in reversed(range(200))]
    assert [one.row(v) for v in range(200)] == backwards[::-1]
    assert [one.row(v) for v in range(50)] != [other.row(v) for v in range(50)]


def test_shares_hold_in_every_batch() -> None:
    schedule = Schedule(sources(100, 5, 40), batch=10, seed=0, shares=(0.5, 0.2, 0.3))
    rows = [schedule.row(v) for v in range(500)]
    for start in range(0, 500, 10):
        assert Counter("abc"[(r >= 100) + (r >= 105)] for r in rows[start : start + 10]) == {"a": 5, "b": 2, "c": 3}
    small = [r for r in rows if 100 <= r < 105]
    assert all(count == 20 for count in Counter(small).values()), "a small source is used again and again, evenly"


def test_remainders_go_to_the_largest() -> None:
    """8 rows by thirds: 2.67 each; the first two get the third row... 0.5/0.3/0.2 of 8 = 4, 2.4, 1.6 -> 4, 2, 2."""
    schedule = Schedule(sources(9, 9, 9), batch=8, seed=0, shares=(0.5, 0.3, 0.2))
    assert Counter(schedule.row(v) // 9 for v in range(8)) == {0: 4, 1: 2, 2: 2}


def test_same_source_batches() -> None:
    schedule = Schedule(sources(10, 7, 3), batch=4, seed=0, same_source=True)
    assert schedule.batches_per_epoch() == 3, "2 + 1 + 0: a source of 3 rows fills no batch"
    epoch = [[schedule.row(v) for v in range(b * 4, b * 4 + 4)] for b in range(3)]
    assert sorted(len({(r >= 10) + (r >= 17) for r in batch}) for batch in epoch) == [1, 1, 1]
    assert len({r for batch in epoch for r in batch}) == 12


def test_shares_of_nothing_and_batches_of_nothing() -> None:
    with pytest.raises(InvalidInputError, match="no usable rows"):
        Schedule(sources(5), batch=4, seed=0, shares=(0.5, 0.5))
    with pytest.raises(InvalidInputError, match="no source has 8 rows"):
        Schedule(sources(5, 5), batch=8, seed=0, same_source=True)

"""Times several ways of doing the same work, taking turns, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both sides and how many times as fast ours is."""

    name: str
    reference_s: float
    ours_s: float
    target: float

    @property
    def ratio(self) -> float:
        return self.reference_s / self.ours_s


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    name: str, reference: Callable[[], object], ours: Callable[[], object], rounds: int, target: float
) -> Ratio:
    """One warm-up each, then `rounds` turns each, the order swapped every turn; medians."""
    reference()
    ours()
    medians = take_turns({"reference": reference, "ours": ours}, rounds)
    return Ratio(name, medians["reference"], medians["ours"], target)


def take_turns(works: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Median seconds of each; in every round each has its turn, the order swapped every round. Nothing warms up."""
    order = list(works)
    times: dict[Name, list[float]] = {name: [] for name in order}
    for number in range(rounds):
        for name in order if number % 2 == 0 else order[::-1]:
            times[name].append(seconds(works[name]))
    return {name: statistics.median(taken) for name, taken in times.items()}

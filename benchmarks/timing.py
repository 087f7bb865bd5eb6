"""Times two ways of doing the same work, taking turns, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


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
    times: dict[str, list[float]] = {"reference": [], "ours": []}
    for turn in range(rounds):
        pair = [("reference", reference), ("ours", ours)]
        for side, work in pair if turn % 2 == 0 else pair[::-1]:
            times[side].append(seconds(work))
    return Ratio(name, statistics.median(times["reference"]), statistics.median(times["ours"]), target)

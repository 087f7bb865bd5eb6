"""Callers side by side: the same thoughts as alone, a ratio for each number of callers, an end within minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import concurrency
from benchmarks.concurrency import TARGETS, Case, differing, main, parse, run, show
from benchmarks.timing import Ratio
from o1_retriever import O1Embedder, QueryEncoding, ThinkingConfig
from o1_retriever.micro_batching import MicroBatcher

SECONDS: dict[str | int, float] = {"alone": 0.67, 1: 0.67, 4: 0.4, 16: 0.2}
"""What a question takes on two cores: one by one, and with that many callers."""


@pytest.fixture
def case(tiny: O1Embedder) -> Case:
    questions = [f"What is number {number}?" for number in range(8)]
    return Case(tiny, MicroBatcher(tiny), questions, replace(tiny.config.thinking, num_thoughts=2))


class Counted(Case):
    """Thinks about nothing; counts the seconds that its questions would take on two cores."""

    spent = 0.0

    def one_by_one(self) -> list[QueryEncoding]:
        return self._answered("alone")

    def threads(self, callers: int) -> list[QueryEncoding]:
        return self._answered(callers)

    def tasks(self, callers: int) -> list[QueryEncoding]:
        return self._answered(callers)

    def _answered(self, side: str | int) -> list[QueryEncoding]:
        Counted.spent += SECONDS[side] * len(self.questions)
        return [QueryEncoding(np.ones((1, 1), np.float32), [["thought"]], [], [False]) for _ in self.questions]


def test_callers_get_what_they_get_alone(case: Case) -> None:
    assert differing(case) == 0
    asked = [answer.thoughts for answer in case.one_by_one()]
    assert [answer.thoughts for answer in case.threads(4)] == [answer.thoughts for answer in case.tasks(4)] == asked


@pytest.mark.parametrize("side", ["threads", "tasks"])
def test_other_thoughts_are_counted(case: Case, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = replace(case, thinking=replace(case.thinking, num_thoughts=1))
    monkeypatch.setattr(Case, side, lambda self, callers: fewer.one_by_one())
    assert differing(case) == len(case.questions)


def test_a_ratio_for_each_number_and_kind_of_caller(case: Case) -> None:
    ratios = run(case, rounds=1)
    assert [ratio.name for ratio in ratios] == [f"{n} {kind}" for n in TARGETS for kind in ("threads", "tasks")]
    assert [ratio.target for ratio in ratios] == [target for target in TARGETS.values() for _ in range(2)]
    assert TARGETS[16] == 3.0


def test_the_defaults_end_in_three_minutes(tiny: O1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "spent", 0.0)
    args = parse([])
    counted = Counted(tiny, MicroBatcher(tiny), ["question"] * args.questions, ThinkingConfig())
    assert differing(counted) == 0
    run(counted, args.rounds)
    assert 120 < Counted.spent < 180


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([Ratio("16 tasks", 0.5, 0.125, 3.0)])
    assert not show([Ratio("4 tasks", 0.5, 0.125, 3.0), Ratio("16 tasks", 0.5, 0.25, 3.0)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["16", "tasks", "2.0/s", "8.0/s", "4.00", "3.0"] in rows


def test_the_command(
    make_embedder: Callable[..., O1Embedder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(O1Embedder, "from_pretrained", lambda **settings: make_embedder())
    monkeypatch.setattr(concurrency, "TARGETS", {1: 0.0, 2: 0.0})
    assert main(["--questions", "2", "--rounds", "1", "--num-thoughts", "1"]) == 0
    told = capsys.readouterr().out
    assert "2 questions, 1 thoughts each" in told and "other thoughts than alone: 0 of 2" in told
    monkeypatch.setattr(concurrency, "TARGETS", {1: 1e9})
    assert main(["--questions", "1", "--rounds", "1", "--num-thoughts", "1"]) == 1

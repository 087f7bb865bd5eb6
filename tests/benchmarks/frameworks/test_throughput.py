"""Callers on one event loop: as many as asked for, each question once, turns that alternate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.frameworks.__main__ import main, parse
from benchmarks.frameworks.throughput import CALLERS, ask_all, measure, show


class Asked:
    """Answers with the question, and notes how many wait at a time."""

    def __init__(self) -> None:
        self.waiting, self.peak, self.questions = 0, 0, list[str]()

    async def __call__(self, question: str) -> list[str]:
        self.questions.append(question)
        self.waiting += 1
        self.peak = max(self.peak, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        return [question]


@pytest.mark.parametrize("callers", CALLERS)
def test_callers_ask_side_by_side(callers: int) -> None:
    asked, questions = Asked(), [f"question {number}" for number in range(20)]
    assert asyncio.run(ask_all(asked, questions, callers)) == [[question] for question in questions]
    assert asked.peak == callers
    assert sorted(asked.questions) == sorted(questions)


def test_every_turn_asks_everything() -> None:
    asks = {"one": Asked(), "other": Asked()}
    table = measure(dict(asks), ["a", "b"], rounds=2)
    assert list(table) == ["one", "other"] and all(list(times) == list(CALLERS) for times in table.values())
    for asked in asks.values():
        assert len(asked.questions) == 2 * (1 + 2 * len(CALLERS))  # a warm-up, then two rounds


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show({"one": {1: 4.0, 4: 2.0, 16: 1.0}}, questions=32)
    assert "8.0/s (x 1.00)" in (told := capsys.readouterr().out)
    assert "16.0/s (x 2.00)" in told and "32.0/s (x 4.00)" in told


def test_the_command(tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", tiny_folder, "--cache", str(tmp_path), "--questions", "2", "--rounds", "1"]
    assert main(["throughput", *given, "--passages", "20"]) == 0
    told = capsys.readouterr().out
    assert "LlamaIndex aretrieve" in told and "LangChain ainvoke" in told


def test_the_defaults_end_in_three_minutes() -> None:
    """On two cores a question takes 0.67 s with one caller, 0.4 s with four and 0.2 s with 16."""
    asks, args = {"one": Asked(), "other": Asked()}, parse(["throughput"])
    measure(dict(asks), [str(number) for number in range(args.questions)], args.rounds)
    assert (args.questions, args.rounds) == (16, 2)
    warm_up, rounds = 0.2 * args.questions, (0.67 + 0.4 + 0.2) * args.questions * args.rounds
    assert [len(asked.questions) for asked in asks.values()] == [args.questions * (1 + 3 * args.rounds)] * len(asks)
    assert len(asks) * (warm_up + rounds) < 180

"""What the comparison says: means, intervals, the better HyDE, and whether ours is where it has to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.frameworks.__main__ import main
from benchmarks.frameworks.material import Material
from benchmarks.frameworks.systems import OURS
from benchmarks.frameworks.thoughts import Comparison, ndcg, show


def comparison(data: str, ours: list[float]) -> Comparison:
    """Four questions; the better HyDE has 0.5 for each."""
    values = {
        OURS: np.array(ours),
        "HyDE, 1 text": np.full(4, 0.5),
        "HyDE, 3 texts": np.full(4, 0.25),
        "query alone": np.full(4, 0.75),
    }
    return Comparison(data, "a framework", values, ["HyDE, 1 text", "HyDE, 3 texts"])


@pytest.mark.parametrize(
    ("ours", "verdict", "hotpotqa", "nq"),
    [
        ([0.6, 0.7, 0.6, 0.8], "above", True, True),
        ([0.4, 0.9, 0.4, 0.9], "not told apart", False, True),
        ([0.4, 0.3, 0.4, 0.2], "below", False, False),
    ],
)
def test_what_is_required(ours: list[float], verdict: str, hotpotqa: bool, nq: bool) -> None:
    for data, met in (("hotpotqa", hotpotqa), ("nq", nq)):
        compared = comparison(data, ours)
        assert compared.better_hyde == "HyDE, 1 text"
        assert compared.difference("HyDE, 1 text").verdict == verdict
        assert compared.met is met


def test_differences_are_paired() -> None:
    """Values that go up and down together differ by the same everywhere: the interval is a point."""
    values = np.array([0.1, 0.9, 0.2, 0.8])
    compared = Comparison("nq", "a framework", {OURS: values + 0.1, "HyDE": values}, ["HyDE"])
    difference = compared.difference("HyDE")
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))


def test_what_is_shown() -> None:
    lines: list[str] = []
    show(comparison("hotpotqa", [0.6, 0.7, 0.6, 0.8]), lines.append)
    assert lines[-2].startswith("ours minus the better HyDE (HyDE, 1 text): +0.1750 [+0.1") and "above" in lines[-2]
    assert lines[-1] == "required: above: met"
    lines.clear()
    show(comparison("nq", [0.4, 0.3, 0.4, 0.2]), lines.append)
    assert lines[-1] == "required: not below: MISSED"


def test_ndcg_knows_ranks(material: Material) -> None:
    values = ndcg(material.collection, [["p0", "p6"], ["x", "p1", "p7"], ["x"], []])
    discounts = 1 / np.log2([2, 3, 4])
    second = (discounts[1] + discounts[2]) / (discounts[0] + discounts[1])
    assert values == pytest.approx([1.0, second, 0.0, 0.0])


def test_the_command(data: Path, tiny_folder: str, material: Material, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(data), "--model", tiny_folder, "--cache", str(material.cache), "--datasets", "hotpotqa"]
    status = main(["thoughts", *given, "--recorded", str(data / "thoughts.jsonl"), "--questions", "2"])
    told = capsys.readouterr().out
    assert "hotpotqa, LlamaIndex + Chroma, 2 questions" in told and "hotpotqa, LangChain + Chroma" in told
    assert told.count("required: above:") == 2
    assert status == (1 if "MISSED" in told else 0)

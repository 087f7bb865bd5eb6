"""Pictures of training runs: which curves are drawn from a log history, and that files appear whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from o1_retriever.errors import InvalidInputError, MissingDependencyError, StorageError
from o1_retriever.training import plots
from o1_retriever.training.plots import plot_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

pytest.importorskip("matplotlib")

LOGS = [
    {"loss": 3.5 - n / 40, "contrastive": 1.5 - n / 60, "generation": 2.0 - n / 120, "learning_rate": 1e-5, "step": n}
    for n in range(10, 60, 10)
]
EVALUATIONS = [
    {"eval_ndcg@10_k10": 0.40 + n / 1000, "eval_ndcg@10_k3": 0.35, "eval_ndcg@10_k0": 0.3, "step": n, "epoch": 0.1}
    for n in (0, 25, 50)
]
SUMMARY = {"train_runtime": 12.0, "train_loss": 2.5, "step": 50}
HISTORY: list[dict[str, Any]] = sorted([*LOGS, *EVALUATIONS], key=lambda row: row["step"])


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, read by matplotlib, which also checks that it is whole."""
    from matplotlib.image import imread

    height, width = imread(path).shape[:2]
    return width, height


def curves(history: list[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Axis label -> labels of its curves, as drawn."""
    drawn: list[Figure] = []
    figure_of = plots._figure

    def keep(panels: Any) -> Figure:
        drawn.append(figure_of(panels))
        return drawn[0]

    monkeypatch.setattr(plots, "_figure", keep)
    plot_history(history, path)
    return {axis.get_ylabel(): [str(line.get_label()) for line in axis.get_lines()] for axis in drawn[0].axes}


def test_two_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = curves([*HISTORY, SUMMARY], tmp_path / "run.png", monkeypatch)
    assert found == {
        "loss": ["total", "contrastive", "generation"],
        "nDCG@10": ["query alone", "3 thoughts", "10 thoughts"],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["run.png"]


def test_curves_are_the_logged_values() -> None:
    assert plots._losses(HISTORY)["total"] == [(row["step"], row["loss"]) for row in LOGS]
    assert plots._ndcg(HISTORY)["10 thoughts"] == [(0, 0.40), (25, 0.40 + 25 / 1000), (50, 0.40 + 50 / 1000)]
    assert plots._ndcg([{"eval_ndcg@10_k1": 0.5, "step": 1}, {"eval_ndcg@100_k1": 0.5, "step": 1}]) == {
        "1 thought": [(1, 0.5)]
    }


def test_a_panel_without_curves_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, losses = tmp_path / "both.png", tmp_path / "losses.png"
    plot_history(HISTORY, both)
    plot_history(LOGS, losses)
    assert size(losses)[0] == size(both)[0]
    assert size(losses)[1] < size(both)[1]
    only_total = [{"loss": 1.0, "step": 5}]
    assert curves(only_total, tmp_path / "total.png", monkeypatch) == {"loss": ["total"]}


def test_evaluations_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(curves(EVALUATIONS, tmp_path / "run.png", monkeypatch)) == ["nDCG@10"]


def test_a_diverged_run_is_drawn(tmp_path: Path) -> None:
    plot_history([*LOGS, {"loss": float("nan"), "step": 60}, {"loss": float("inf"), "step": 70}], tmp_path / "run.png")
    assert size(tmp_path / "run.png")[0] > 0


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_history(HISTORY, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_nothing_global_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may plot on a screen beside us: pyplot, which holds the current figure, stays out."""
    from matplotlib import rcParams

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = rcParams.copy()  # dict(rcParams) would choose a backend by importing pyplot
    plot_history(HISTORY, tmp_path / "run.png")
    assert "matplotlib.pyplot" not in sys.modules
    assert rcParams.copy() == before


@pytest.mark.parametrize("history", [[], [SUMMARY], [{"loss": 1.0}], [{"step": 1, "learning_rate": 1.0}]])
def test_nothing_to_draw(history: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no losses and no nDCG@10"):
        plot_history(history, tmp_path / "run.png")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'o1-retriever\[train\]'"):
        plot_history(HISTORY, tmp_path / "run.png")
    assert list(tmp_path.iterdir()) == []


def test_the_disk_refuses(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        plot_history(HISTORY, tmp_path / "missing" / "run.png")

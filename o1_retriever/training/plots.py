"""A picture of a training run: losses and nDCG@10 against steps. Knows transformers' log history, nothing of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o1_retriever.errors import InvalidInputError, MissingDependencyError
from o1_retriever.storage import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]
Curves = dict[str, list[tuple[float, float]]]
"""label -> (step, value) pairs."""

LOSSES = {"loss": "total", "contrastive": "contrastive", "generation": "generation"}
NDCG = re.compile(r"eval_ndcg@10_k(\d+)")
_COLOURS = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito: for all eyes


def plot_history(history: History, path: Path) -> None:
    """Draws losses and, where there were evaluations, nDCG@10; a panel without curves is left out.

    Args:
        history: `state.log_history` of transformers: dicts with "step" and any of "loss", "contrastive",
            "generation" and "eval_ndcg@10_k0", "eval_ndcg@10_k3" and so on; other keys are passed over.
        path: of the PNG; it appears whole or not at all.

    Raises:
        InvalidInputError: the history holds neither losses nor nDCG.
        MissingDependencyError: matplotlib is not installed.
        StorageError: the disk refuses.
    """
    panels = [panel for panel in (("loss", _losses(history)), ("nDCG@10", _ndcg(history))) if panel[1]]
    if not panels:
        raise InvalidInputError("The history holds no losses and no nDCG@10: train with logging_steps above 0.")
    figure = _figure(panels)
    with writing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _losses(history: History) -> Curves:
    return _curves(history, LOSSES)


def _ndcg(history: History) -> Curves:
    found = {key: int(match[1]) for row in history for key in row if (match := NDCG.fullmatch(key))}
    return _curves(history, {key: _thoughts(found[key]) for key in sorted(found, key=found.__getitem__)})


def _thoughts(number: int) -> str:
    return {0: "query alone", 1: "1 thought"}.get(number, f"{number} thoughts")


def _curves(history: History, labels: Mapping[str, str]) -> Curves:
    curves = {
        label: sorted((float(row["step"]), float(row[key])) for row in history if key in row and "step" in row)
        for key, label in labels.items()
    }
    return {label: points for label, points in curves.items() if points}


def _figure(panels: Sequence[tuple[str, Curves]]) -> Figure:
    """One panel below the other, on the same steps. No pyplot: nothing global changes, and no screen is needed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("Plots need matplotlib: pip install 'o1-retriever[train]'") from error
    figure = Figure(figsize=(8, 1 + 3.2 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axis, (name, curves) in zip(axes, panels, strict=True):
        _draw(axis, name, curves)
    axes[-1].set_xlabel("optimizer step")
    figure.align_ylabels()
    return figure


def _draw(axis: Axes, name: str, curves: Curves) -> None:
    few = max(len(points) for points in curves.values()) <= 50
    for number, (label, points) in enumerate(curves.items()):
        steps, values = zip(*points, strict=True)
        marker, colour = "o" if few else "", _COLOURS[number % len(_COLOURS)]
        axis.plot(steps, values, label=label, color=colour, marker=marker, markersize=4, linewidth=1.5)
    axis.set_ylabel(name)
    axis.grid(visible=True, color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    # above the panel, where it covers no curve
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)

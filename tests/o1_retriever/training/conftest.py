"""Training rows, examples and settings on tiny random models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from o1_retriever import O1Embedder
from o1_retriever.training.batch import Assembler
from o1_retriever.training.config import (
    DataSettings,
    LossSettings,
    ModelSettings,
    OwnThoughtSettings,
    TrainConfig,
)
from o1_retriever.training.examples import Example, Examples
from o1_retriever.training.rows import TrainingRows
from o1_retriever.training.run_settings import RunSettings
from o1_retriever.training.schedule import Schedule

WORDS = ("red", "blue", "fox", "dog", "hill", "sea", "moon", "sun", "tree", "rock", "iron", "salt")


def make_rows(count: int, negatives: int = 3) -> list[dict[str, Any]]:
    """Rows whose thoughts, positives and negatives differ from one another."""
    return [
        {
            "query": f"{WORDS[i % 12]} {i}?",
            "pos": [f"{WORDS[(i * 5 + 3) % 12]} stone {i}"],
            "neg": [f"{WORDS[(i + j) % 12]} glass {i} {j}" for j in range(negatives)],
            "thought": f"{WORDS[(i * 7 + 1) % 12]} {i % 10}",
        }
        for i in range(count)
    ]


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., str]:
    """`write_rows(rows, name)` writes a JSONL file and gives its path."""

    def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def rows_of() -> Callable[[int], list[dict[str, Any]]]:
    return make_rows


@pytest.fixture
def examples_of(write_rows: Callable[..., str], tiny: O1Embedder) -> Callable[..., list[Example]]:
    """`examples_of(rows, embedder=..., group_size=4, ...)` gives one example of each row, in the file's order."""

    def make(rows: list[dict[str, Any]], embedder: O1Embedder = tiny, own: float = 0.0, **data: Any) -> list[Example]:
        file = write_rows(rows)
        settings = DataSettings(files=[file], **{"group_size": 4, "thought_dropout": 0.0, **data})
        opened = TrainingRows.open([Path(file)])
        schedule = Schedule(opened.sources, len(rows), seed=0)
        examples = Examples(
            opened, schedule, len(rows), embedder.prompts, settings, OwnThoughtSettings(share=own), seed=0
        )
        made = [examples[visit] for visit in range(len(rows))]
        return sorted(made, key=lambda example: int(example.where.rpartition(":")[2]))

    return make


@pytest.fixture
def assembler() -> Callable[..., Assembler]:
    """`assembler(embedder, multiple=1, teacher=None, contrastive_weight=...)`: any field of `LossSettings`."""

    def make(embedder: O1Embedder, multiple: int = 1, teacher: Any = None, **loss: float) -> Assembler:
        return Assembler(embedder.prompts, multiple, LossSettings(**loss), teacher)

    return make


@pytest.fixture
def train_config(tmp_path: Path, tiny_folder: str) -> Callable[..., TrainConfig]:
    """`train_config(file, run={...}, loss={...}, model={...}, data={...}, **rest)`: a run of a few seconds."""

    def make(file: str | list[str], output: str = "out", **sections: Any) -> TrainConfig:
        files = [file] if isinstance(file, str) else file
        model = {"base": tiny_folder, "tuning": "full", **sections.pop("model", {})}
        data = {"files": files, "group_size": 4, **sections.pop("data", {})}
        run = {"steps": 4, "batch_size": 8, "save_every": 2, "log_every": 1, **sections.pop("run", {})}
        return TrainConfig(
            output=str(tmp_path / output),
            model=ModelSettings(**model),
            data=DataSettings(**data),
            loss=LossSettings(**sections.pop("loss", {})),
            run=RunSettings(**run),
            **sections,
        )

    return make


@pytest.fixture
def changed() -> Callable[..., TrainConfig]:
    """`changed(config, run={"steps": 9})`: the same settings but some."""

    def change(config: TrainConfig, **sections: Any) -> TrainConfig:
        made = {name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
        return dataclasses.replace(config, **made)

    return change

"""The output folder of a run: whose it is, what made it, and the finished model in it.

training.json       settings, versions and hashes of the data; written first, it marks the folder as this run's
checkpoints/        see `checkpoints.py`
adapter or weights, tokenizer, o1_config.json, README.md, history.json, training.png: written at the end
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from o1_retriever.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from o1_retriever.errors import InvalidInputError
from o1_retriever.locating import ADAPTER_CONFIG
from o1_retriever.storage import disk_errors, make_folder, write_whole
from o1_retriever.training import checkpoints, distributed
from o1_retriever.training.config import TrainConfig
from o1_retriever.training.same_run import differences

RECORD = "training.json"
NOT_PART_OF_A_MODEL = {"metric.json"}


def describe(config: TrainConfig, data: dict[str, str], checkpoint: Checkpoint) -> dict[str, Any]:
    """What decides a run's result: settings, data, base, processes; and the versions it was made with."""
    packages = ("o1-retriever", "torch", "transformers", "peft", "accelerate")
    return {
        "config": dataclasses.asdict(config),
        "data": data,
        "base": {"weights": checkpoint.weights_hash, "tokenizer": checkpoint.tokenizer_hash},
        "processes": distributed.world(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


class RunFolder:
    """One run's output.

    Args:
        path: the folder.
        record: see `describe`.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, json.loads(json.dumps(record))
        self.checkpoints = path / "checkpoints"

    def claim(self) -> None:
        """Marks the folder as this run's, or finds it marked.

        Raises:
            InvalidInputError: it holds other files or another run, or this run is finished.
            StorageError: it cannot be written to.
        """
        marked = self.path / RECORD
        if not marked.is_file():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise InvalidInputError(f"{self.path} is not an empty folder: choose another --output.")
            make_folder(self.path)
            write_whole(marked, (json.dumps(self.record, indent=2) + "\n").encode())
            make_folder(self.checkpoints)
            return
        self._check_same(json.loads(marked.read_text(encoding="utf-8")))
        if (self.path / "history.json").is_file():
            raise InvalidInputError(f"The run in {self.path} is finished: choose another --output, or remove it.")
        make_folder(self.checkpoints)

    def _check_same(self, other: dict[str, Any]) -> None:
        """Going on with other settings would mix two runs."""
        changed = differences(self.record, other)
        if changed:
            told = "; ".join(changed[:3])
            raise InvalidInputError(
                f"{self.path} holds another run ({told}): choose another --output, give its settings, or remove it."
            )

    def last_checkpoint(self) -> Path | None:
        """The checkpoint to go on from."""
        found = checkpoints.complete_checkpoints(self.checkpoints)
        return found[-1] if found else None

    def finish(self, source: Path, merged: bool, card: str, history: list[dict[str, Any]]) -> None:
        """Puts the finished model in place; `history.json`, written last, says that the run is over.

        Args:
            source: folder of weights or an adapter, as the trainer saved it.
            merged: write full weights where it is an adapter.
            card: the README.
            history: transformers' log.

        Raises:
            StorageError: the disk refuses.
        """
        folder = self._merged(source) if merged and (source / ADAPTER_CONFIG).is_file() else source
        with disk_errors(self.path):
            for file in sorted(folder.iterdir()):
                if file.is_file() and file.name not in NOT_PART_OF_A_MODEL:
                    shutil.copyfile(file, self.path / file.name)
        write_whole(self.path / "README.md", card.encode())
        write_whole(self.path / "history.json", (json.dumps(history, indent=1) + "\n").encode())

    def _merged(self, source: Path) -> Path:
        target = self.checkpoints / "merged"
        shutil.rmtree(target, ignore_errors=True)
        return save_checkpoint(load_checkpoint(source, device="cpu"), target)

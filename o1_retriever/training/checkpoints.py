"""The folder of a run's checkpoints: complete ones are marked, incomplete ones removed, old ones deleted last.

checkpoints/checkpoint-200/   transformers' layout, and `complete` once everything is written
checkpoints/best/             the weights of the best evaluation, loadable; `metric.json` says how good
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from o1_retriever.errors import StorageError

MARK = "complete"
BEST = "best"


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that can be gone on from, the latest last."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{MARK}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def mark_complete(checkpoint: Path, keep: int) -> None:
    """Marks a checkpoint as complete, then deletes all but the last `keep`."""
    (checkpoint / MARK).touch()
    for old in complete_checkpoints(checkpoint.parent)[:-keep]:
        (old / MARK).unlink()
        shutil.rmtree(old, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Deletes what a killed process was writing, and puts back what it was replacing."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARK).exists():
            shutil.rmtree(path, ignore_errors=True)
    old, best = folder / f"{BEST}.old", folder / BEST
    if old.is_dir() and not best.is_dir():
        old.rename(best)
    for path in (old, folder / f"{BEST}.partial"):
        shutil.rmtree(path, ignore_errors=True)


def replace_best(partial: Path) -> None:
    """Puts a whole `best.partial` in the place of `best`; at no moment is there neither, nor half of one."""
    best = partial.with_name(BEST)
    old = partial.with_name(f"{BEST}.old")
    if best.is_dir():
        best.rename(old)
    partial.rename(best)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def saving(target: Path) -> Iterator[None]:
    """Around writing a checkpoint: where the disk refuses, the half-written one goes and the last good one stays.

    Raises:
        StorageError: it refuses.
    """
    try:
        yield
    except (OSError, StorageError, SafetensorError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its writer
        if isinstance(error, RuntimeError) and not _of_torch_writer(error):
            raise
        shutil.rmtree(target, ignore_errors=True)
        good = complete_checkpoints(target.parent)
        kept = f"{good[-1]} is complete" if good else "there is no earlier one"
        raise StorageError(
            f"{target} cannot be written: {error}. {kept}. Free some space and give the same command again."
        ) from error


def _of_torch_writer(error: RuntimeError) -> bool:
    return any(sign in str(error) for sign in ("PytorchStreamWriter", "inline_container", "unexpected pos"))

"""Folders of stores that take minutes to fill: kept for the next run, and filled anew where a run was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from o1_retriever.errors import StorageError
from o1_retriever.storage import disk_errors, make_folder

_WHOLE = "whole"


class Kept:
    """A store's folder, in the hands of this process.

    Args:
        path: the folder; what a stopped run left there is removed.

    Attributes:
        filled: nothing has to be put into it any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filled = (path / _WHOLE).is_file()
        if not self.filled:
            shutil.rmtree(path, ignore_errors=True)
            make_folder(path)

    def done(self) -> None:
        """Everything is in it: the next run takes it as it is."""
        with disk_errors(self.path):
            (self.path / _WHOLE).touch()
        self.filled = True


@contextmanager
def kept(path: Path) -> Iterator[Kept]:
    """The folder, for one process at a time: an embedded Chroma bears no more.

    Raises:
        StorageError: another process has it, or the disk refuses.
    """
    lock = FileLock(make_folder(path.parent) / f"{path.name}.lock", timeout=0)
    try:
        with lock:
            yield Kept(path)
    except Timeout as error:
        raise StorageError(f"Another process uses {path}: wait for it, or pass another --cache.") from error

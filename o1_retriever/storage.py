"""Files of long jobs: written whole or not at all, and errors of the disk as errors of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from o1_retriever.errors import StorageError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into a `StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be used: {error}. Free some space or choose another folder.") from error


def make_folder(path: Path) -> Path:
    """Creates a folder that can be written to.

    Raises:
        StorageError: there is a file of this name, or the folder is not writable.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(f"no permission to write into {path}")
    return path


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears complete or not at all, also when the process is killed.

    Raises:
        StorageError: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears complete or not at all; see `writing`.

    Raises:
        StorageError: the disk refuses.
    """
    with writing(path) as file:
        file.write(content)

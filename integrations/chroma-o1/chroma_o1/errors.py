"""Errors of the store, and the one place where Chroma's own errors become ours."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from o1_retriever.errors import O1Error

_LITTLE_SPACE = 1 << 20  # bytes; below it a failed write means a full disk
_NO_ACCESS = "The folder is not readable or not writable: change its permissions or choose another one."
_ADVICE = (
    ("disk is full", "Free some space and run the same again: what was finished is kept."),
    ("no space left", "Free some space and run the same again: what was finished is kept."),
    ("file too large", "A limit on file sizes was reached: raise it (ulimit -f) and run the same again."),
    ("readonly database", "The folder is not writable: change its permissions or choose another one."),
    ("read-only file system", "The folder is not writable: choose another one."),
    ("unable to open database", _NO_ACCESS),
    ("permission denied", _NO_ACCESS),
    ("not a directory", "A part of the path is a file: choose another folder."),
    ("not a database", "chroma.sqlite3 is damaged: restore it from a copy, or index again into another folder."),
    ("malformed", "chroma.sqlite3 is damaged: restore it from a copy, or index again into another folder."),
    ("different settings", "Close the Chroma client that this process already has on the folder, then try again."),
    ("hnsw", "The index file is damaged or was written by two processes at once: index again into another folder."),
)


class StoreError(O1Error):
    """A store cannot be opened, read or written."""


class StoreNotFoundError(StoreError):
    """There is no store, or no such collection in it."""


class StoreLockedError(StoreError):
    """Another process has the store open in a way that excludes what was asked for."""


@contextmanager
def store_errors(where: str, folder: Path | None = None) -> Iterator[None]:
    """Turns errors of Chroma, of the network and of files into a `StoreError`.

    Args:
        where: names the store in the message.
        folder: of an embedded store, to find out whether its disk is full.

    Raises:
        StoreError: what went wrong at `where`, and what to do.
    """
    import httpx
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, sqlite3.Error, OSError, httpx.HTTPError) as error:
        raise StoreError(explain(where, str(error) or type(error).__name__, folder)) from error


def explain(where: str, reason: str, folder: Path | None = None) -> str:
    """The reason with what to do about it."""
    if folder is None:
        return f"Store {where}: {reason}. Check that a Chroma server is running there and has space on its disk."
    if _disk_is_full(folder):
        return f"Store {where}: the disk is full ({reason}). {_ADVICE[0][1]}"
    low = reason.lower()
    advice = next((text for sign, text in _ADVICE if sign in low), "Check the folder and its disk, then try again.")
    return f"Store {where}: {reason}. {advice}"


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LITTLE_SPACE
    except OSError:
        return False

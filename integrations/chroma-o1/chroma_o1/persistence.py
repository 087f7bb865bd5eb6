"""Keeps an embedded store's vector index whole when a process is killed while Chroma writes it to disk.

Chroma commits every write to SQLite at once, but saves the vector index (HNSW) now and then, into files that it changes
in place, and then forgets the rows that the files hold. A process killed in the middle of that leaves files that cannot
be loaded. So we keep a copy of the last complete files with the number of the last row in them (`max_seq_id`), made
before the next row is written. At the next start, files that changed while that number did not are half-written: the
copy takes their place, and Chroma itself adds the later rows, which SQLite still has.

Knows Chroma's files and its tables `segments` and `max_seq_id`; must be called while no other process writes.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from chroma_o1.locking import FOLDER

DATABASE = "chroma.sqlite3"
_MANIFEST = "manifest.json"
_Manifest = dict[str, list[int]]


@dataclass(frozen=True)
class _Copy:
    """A copy of one segment's files. `files`: name -> size in bytes and modification time in nanoseconds."""

    folder: Path
    row: int
    files: _Manifest


class IndexGuard:
    """Copies and restores the vector indexes of one store.

    Args:
        folder: of the embedded store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._copies = folder, folder / FOLDER / "index"

    def protect(self) -> None:
        """Makes copies of the indexes that Chroma saved since the last call; cheap when it saved none."""
        for segment, row in self._segments().items():
            if not any(copy.row == row for copy in self._copies_of(segment)):
                self._save(segment, row)

    def recover(self) -> list[str]:
        """Puts copies in place of half-written indexes. Call it before Chroma opens the store.

        Returns:
            the segments that were mended.
        """
        segments = self._segments()
        self._remove_leftovers(set(segments))
        mended = []
        for segment, row in segments.items():
            copies = self._copies_of(segment)
            current = next((copy for copy in copies if copy.row == row), None)
            if current is None:
                if copies:  # saved completely after the copy was made
                    self._save(segment, row)
            elif _manifest(self.folder / segment) != current.files:
                self._restore(segment, current)
                mended.append(segment)
        return mended

    def _segments(self) -> dict[str, int]:
        """Vector segment -> last row that its files hold; 0 before they were first saved."""
        database = self.folder / DATABASE
        if not database.is_file():
            return {}
        # Not mode=ro: a process killed inside a transaction leaves a journal that only a writer may roll back.
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"segments", "max_seq_id"} <= tables:
                return {}
            rows = connection.execute(
                "SELECT s.id, m.seq_id FROM segments s LEFT JOIN max_seq_id m ON m.segment_id = s.id "
                "WHERE s.scope = 'VECTOR'"
            ).fetchall()
        return {str(segment): _number(row) for segment, row in rows}

    def _copies_of(self, segment: str) -> list[_Copy]:
        copies = []
        for path in sorted(self._copies.glob(f"{segment}.*/{_MANIFEST}")):
            record = json.loads(path.read_text(encoding="utf-8"))
            copies.append(_Copy(path.parent, int(record["row"]), record["files"]))
        return copies

    def _save(self, segment: str, row: int) -> None:
        live, new, old = self.folder / segment, self._copies / "new", self._copies_of(segment)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        files = _manifest(live)
        for name in files:
            shutil.copy2(live / name, new / name)
        (new / _MANIFEST).write_text(json.dumps({"row": row, "files": files}), encoding="utf-8")
        new.rename(self._copies / f"{segment}.{row}")
        for copy in old:
            shutil.rmtree(copy.folder)

    def _restore(self, segment: str, copy: _Copy) -> None:
        live, new = self.folder / segment, self._copies / "restored"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name in copy.files:
            shutil.copy2(copy.folder / name, new / name)
        shutil.rmtree(live, ignore_errors=True)
        if copy.files:
            new.rename(live)
        else:
            new.rmdir()

    def _remove_leftovers(self, segments: set[str]) -> None:
        """Removes unfinished copies and those of deleted collections."""
        for path in self._copies.glob("*"):
            if path.name.partition(".")[0] not in segments:
                shutil.rmtree(path, ignore_errors=True)


def _number(row: int | bytes | None) -> int:
    return int.from_bytes(row, "big") if isinstance(row, bytes) else int(row or 0)


def _manifest(folder: Path) -> _Manifest:
    if not folder.is_dir():
        return {}
    stats = {path.name: path.stat() for path in sorted(folder.iterdir()) if path.is_file()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}

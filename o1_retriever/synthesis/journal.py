"""An append-only file of finished work, keyed by query id, that survives being killed at any byte.

The first line holds the settings that the work depends on; a journal of other settings is refused. A torn last line,
all that a kill can leave, is cut off at the next opening. Knows JSON and files; knows nothing of what the rows mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import FileLock, Timeout

from o1_retriever.errors import StorageError
from o1_retriever.storage import disk_errors, make_folder

Row = dict[str, Any]


class Journal:
    """One stage's finished rows. Use it as a context manager: it locks its own file while it is open.

    Several processes share a stage by shard: each appends to a file of its own and reads those of all.

    Args:
        folder: of all stages.
        stage: name of the stage; files are `<stage>.<shard>.jsonl`.
        settings: what the rows depend on; rows of other settings must not be mixed with these.
        shard: name of this process's part.

    Raises:
        StorageError: the disk refuses, a line in the middle is damaged, the settings differ, or another process
            writes the same shard.
    """

    def __init__(self, folder: Path, stage: str, settings: Mapping[str, Any], shard: str = "1of1") -> None:
        self.folder, self.stage, self.settings = make_folder(folder), stage, dict(settings)
        self.path = folder / f"{stage}.{shard}.jsonl"
        self._offsets: dict[str, tuple[Path, int]] = {}
        self._lock = FileLock(self.path.with_suffix(".lock"), timeout=0)

    def __enter__(self) -> Journal:
        with disk_errors(self.path):
            try:
                self._lock.acquire()
                self._refuse_other_sharding()
            except Timeout as error:
                self._lock.release()
                raise StorageError(f"Another process is writing {self.path}: wait for it to end.") from error
        try:
            self._repair()
            self.refresh()
            self._file: IO[bytes] = self._open()
        except StorageError:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with disk_errors(self.path):
            self._file.close()
        self._lock.release()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, key: str) -> Row:
        if key not in self._offsets:
            raise StorageError(f"{self.folder} has no row of {self.stage} for {key!r}: run the same command again.")
        path, offset = self._offsets[key]
        with disk_errors(path), path.open("rb") as file:
            file.seek(offset)
            return self._parse(file.readline(), path)

    def append(self, key: str, row: Mapping[str, Any]) -> None:
        """Writes one finished row; when this returns, a kill of the process does not lose it.

        Raises:
            StorageError: the disk refuses; what was written before is intact.
        """
        line = json.dumps({"id": key, **row}, ensure_ascii=False).encode("utf-8", errors="surrogatepass") + b"\n"
        with disk_errors(self.path):
            offset = self._file.seek(0, os.SEEK_END)
            if self._file.write(line) != len(line):
                raise OSError("the line could not be written as a whole")
        self._offsets[key] = (self.path, offset)

    def sync(self) -> None:
        """Waits until everything is on the disk itself: survives a power cut too."""
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def refresh(self) -> None:
        """Reads which rows the files of all shards hold by now."""
        for path in sorted(self.folder.glob(f"{self.stage}.*.jsonl")):
            for offset, row in self._rows(path):
                self._offsets.setdefault(row["id"], (path, offset))

    def _refuse_other_sharding(self) -> None:
        """Processes with different numbers of shards would do the same work twice."""
        count = self.path.name.split(".")[-2].partition("of")[2]
        for path in self.folder.glob(f"{self.stage}.*.lock"):
            if path.name.split(".")[-2].partition("of")[2] != count:
                with FileLock(path, timeout=0):
                    pass

    def _open(self) -> IO[bytes]:
        with disk_errors(self.path):
            file = self.path.open("ab", buffering=0)
            if file.tell() == 0:
                file.write(json.dumps({"settings": self.settings}, ensure_ascii=False).encode() + b"\n")
            return file

    def _repair(self) -> None:
        """Cuts off what follows the last line end of our own file."""
        with disk_errors(self.path):
            if not self.path.exists():
                return
            with self.path.open("rb+") as file:
                end = file.seek(0, os.SEEK_END)
                keep = _last_line_end(file, end)
                if keep != end:
                    file.truncate(keep)

    def _rows(self, path: Path) -> Iterator[tuple[int, Row]]:
        """(offset, row) of each whole line; another process may be writing the last one."""
        offset = 0
        with disk_errors(path), path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                row = self._parse(line, path)
                if number == 0:
                    self._check(row, path)
                else:
                    yield offset, row
                offset += len(line)

    def _check(self, header: Row, path: Path) -> None:
        # through JSON, where tuples are lists
        expected, found = json.loads(json.dumps(self.settings)), header.get("settings")
        if found != expected:
            other = found if isinstance(found, dict) else {}
            differing = sorted(k for k in {*expected, *other} if expected.get(k) != other.get(k))
            raise StorageError(
                f"{path} was made with other settings ({', '.join(differing)}): use those again, or remove "
                f"{self.stage}.*.jsonl there to do this stage anew; the other stages keep what they have."
            )

    @staticmethod
    def _parse(line: bytes, path: Path) -> Row:
        try:
            row: Row = json.loads(line.decode("utf-8", errors="surrogatepass"))
        except ValueError as error:
            raise StorageError(
                f"{path} is damaged ({error}): restore it, or remove it to do its work again."
            ) from error
        return row


def _last_line_end(file: IO[bytes], end: int, block: int = 65536) -> int:
    """Position behind the last newline; 0 where there is none."""
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        position = file.read(end - start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0

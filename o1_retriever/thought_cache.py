"""Thoughts that were thought before, kept in a small SQLite file, and the thinkers that go with it.

Knows thinkers, keys and rows; opening and sharing the file is the business of `sqlite_file.py`. Only thoughts that were
not used for longest are ever deleted, and only past the bound.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from o1_retriever.asking import Answer, aanswers_of, answers_of, whole
from o1_retriever.config import ThinkingConfig, require_int
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import InvalidInputError, StorageError
from o1_retriever.fingerprints import digest
from o1_retriever.llm import together
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.sqlite_file import DAMAGED, Kind, SQLiteFile
from o1_retriever.thinkers import Thinker
from o1_retriever.worker_threads import THINKERS

_KIND = Kind(
    application=0x6F317463,  # "o1tc"
    version=1,
    tables=(
        "CREATE TABLE thoughts (key TEXT PRIMARY KEY, texts TEXT NOT NULL, used INTEGER NOT NULL)",
        "CREATE INDEX by_use ON thoughts (used)",
    ),
)
_NEXT_USE = "SELECT coalesce(max(used), 0) + 1 FROM thoughts"
_DROP = "DELETE FROM thoughts WHERE key IN (SELECT key FROM thoughts ORDER BY used, rowid LIMIT ?)"


class ThoughtCache:
    """A file of thoughts by key. Threads and processes may share it; it crosses forks, and pickling by its path.

    Args:
        path: of the file; made with its folder where it is missing.
        max_entries: queries that are kept at most. Past it a tenth is dropped at once: what was not used for longest.

    Raises:
        StorageError: the file cannot be made, read or written, or is something else; it is left as it is.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_entries: int = 100_000) -> None:
        require_int("max_entries", max_entries, 1)
        self.path, self.max_entries = Path(path).absolute(), max_entries
        self._file = SQLiteFile(self.path, _KIND)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), max_entries=self.max_entries), (self.path,)

    def __len__(self) -> int:
        with self._file.using() as database:
            return int(database.execute("SELECT count(*) FROM thoughts").fetchone()[0])

    def read(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """The thoughts of those keys that are here; they count as used now.

        Raises:
            StorageError: the file cannot be read.
        """
        found: dict[str, list[str]] = {}
        with self._file.using() as database:
            for key in keys:
                row = database.execute("SELECT texts FROM thoughts WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = self._parsed(row[0])
            if found:
                database.execute("BEGIN IMMEDIATE")
                (now,) = database.execute(_NEXT_USE).fetchone()
                database.executemany("UPDATE thoughts SET used = ? WHERE key = ?", ((now, key) for key in found))
        return found

    def write(self, thoughts: Mapping[str, Sequence[str]]) -> None:
        """Keeps the thoughts of each key: all of them or, after an error, none.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._file.using() as database:
            database.execute("BEGIN IMMEDIATE")
            (now,) = database.execute(_NEXT_USE).fetchone()
            rows = ((key, json.dumps(list(texts), ensure_ascii=False), now) for key, texts in thoughts.items())
            database.executemany("INSERT OR REPLACE INTO thoughts VALUES (?, ?, ?)", rows)
            (entries,) = database.execute("SELECT count(*) FROM thoughts").fetchone()
            if entries > self.max_entries:
                database.execute(_DROP, (entries - self.max_entries + self.max_entries // 10,))

    def close(self) -> None:
        """Closes the file for this process; does nothing the second time."""
        self._file.close()

    def _parsed(self, texts: str) -> list[str]:
        try:
            return [str(text) for text in json.loads(texts)]
        except (ValueError, TypeError) as error:
            raise StorageError(f"{self.path} cannot be used: {error}. {DAMAGED}") from error


class CachedThinker:
    """A thinker that is asked only for what the cache does not hold.

    Only complete results enter the cache. A thinker that is unavailable for now raises as it does without a cache, so
    that queries embedded alone for want of thoughts leave nothing behind. Two callers that miss the same query at the
    same time both ask.

    Args:
        thinker: where thoughts come from; its fingerprint is part of every key.
        cache: where they are kept; may serve several thinkers. The caller closes it.

    >>> thinker = CachedThinker(RecordedThoughts({"who?": ["Ada."]}), ThoughtCache("thoughts.sqlite"))
    >>> thinker.think(["who?"], 1)
    [['Ada.']]
    """

    def __init__(self, thinker: Thinker, cache: ThoughtCache) -> None:
        self.thinker, self.cache = thinker, cache

    @property
    def fingerprint(self) -> str:
        """The thinker's own: remembered thoughts are the same thoughts."""
        return self.thinker.fingerprint

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts for each of B queries; the thinker is asked once, for the missing ones.

        Args:
            queries: B texts.
            num_thoughts: K; part of the key.
            evidence: B lists of passages that a first search found; part of the key.

        Raises:
            ThinkerError: of the thinker, or it returned too few or too many; none is kept.
            TransientThinkerError: a query has no thoughts for now; those of the others are kept.
            StorageError: the cache cannot be used.
            InvalidInputError: evidence that does not match the queries.
        """
        return whole(self.think_each(queries, num_thoughts, evidence))

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """As `think`, but a query without thoughts for now leaves the others theirs."""
        keys = self._keys(queries, num_thoughts, evidence)
        known = self.cache.read(dict.fromkeys(keys))
        missing = _missing(keys, known)
        if not missing:
            return [list(known[key]) for key in keys]
        answers = answers_of(self.thinker, *_those(missing.values(), queries, num_thoughts, evidence))
        return self._kept(keys, known, dict(zip(missing, answers, strict=True)))

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """`think` without blocking the event loop: the file is read and written in a thread, the thinker awaited."""
        keys = self._keys(queries, num_thoughts, evidence)
        known = await THINKERS.run(self.cache.read, dict.fromkeys(keys))
        missing = _missing(keys, known)
        if not missing:
            return [list(known[key]) for key in keys]
        answers = await aanswers_of(self.thinker, *_those(missing.values(), queries, num_thoughts, evidence))
        return whole(await THINKERS.run(self._kept, keys, known, dict(zip(missing, answers, strict=True))))

    def _kept(self, keys: list[str], known: dict[str, list[str]], new: dict[str, Answer]) -> list[Answer]:
        """The answers to all queries; of the new ones thoughts are kept and failures are not."""
        thoughts = {key: answer for key, answer in new.items() if isinstance(answer, list)}
        if thoughts:
            self.cache.write(thoughts)
        found: dict[str, Answer] = {**known, **new}
        return [list(answer) if isinstance(answer, list) else answer for answer in map(found.__getitem__, keys)]

    def _keys(self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None) -> list[str]:
        """Names everything that decides the thoughts of each query."""
        if evidence is not None and len(evidence) != len(queries):
            raise InvalidInputError(
                f"evidence must be one list of passages per query: {len(queries)}, got {len(evidence)}."
            )
        thinker = self.fingerprint
        found = [None] * len(queries) if evidence is None else [list(passages) for passages in evidence]
        return [digest(thinker, num_thoughts, *pair) for pair in zip(found, queries, strict=True)]


def _missing(keys: Sequence[str], known: Mapping[str, object]) -> dict[str, int]:
    """Each key that is not known, once, and where it stands."""
    return {key: index for index, key in enumerate(keys) if key not in known}


def _those(
    which: Collection[int], queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
) -> tuple[list[str], int, list[Sequence[str]] | None]:
    """What a thinker is asked for these queries."""
    passages = None if evidence is None else [evidence[index] for index in which]
    return [queries[index] for index in which], num_thoughts, passages


class OwnThinker:
    """A model that thinks for itself, as a thinker, so that its thoughts can be cached too. Queries that are asked one
    at a time are thought about together with those of other callers.

    Embedding remembered thoughts costs one forward pass, thinking costs one for every token. Thoughts travel as text:
    vectors equal those that the embedder makes by itself wherever the text is read as the tokens it was written with
    (a sampled "s" + "##s" is read as "ss"). With and without a cache they are the same.

    Args:
        embedder: the model; it may have no other thinker.
        thinking: how to think; None takes the checkpoint's default. The number of thoughts is that of each call.

    >>> own = O1Embedder.from_pretrained()
    >>> thinker = CachedThinker(OwnThinker(own), ThoughtCache("thoughts.sqlite"))
    >>> embedder = O1Embedder(own.checkpoint, thinker=thinker)
    """

    def __init__(self, embedder: O1Embedder, thinking: ThinkingConfig | None = None) -> None:
        if embedder.thinker is not None:
            raise InvalidInputError(
                "OwnThinker needs an embedder that thinks for itself, and this one has a thinker: give that one to "
                "CachedThinker, or make O1Embedder(embedder.checkpoint) without it."
            )
        self.embedder, self.thinking = embedder, thinking or embedder.config.thinking
        # a thought does not depend on how many others there are: 1 stands for any number
        self.fingerprint = digest("own", embedder.query_fingerprint(1, self.thinking))

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """The model's own K thoughts for each of B queries; evidence is not read."""
        if len(queries) == 1 and num_thoughts:
            return shared_batcher(self.embedder).encode_query(queries[0], thinking=self._of(num_thoughts)).thoughts
        return [list(row) for row in self.embedder.think(list(queries), num_thoughts, thinking=self.thinking)]

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """As `think`, and leaves the event loop free."""
        batcher, thinking = shared_batcher(self.embedder), self._of(num_thoughts)
        found = await together(batcher.aencode_query(query, thinking=thinking) for query in queries)
        return [encoding.thoughts[0] for encoding in found]

    def _of(self, num_thoughts: int) -> ThinkingConfig:
        return dataclasses.replace(self.thinking, num_thoughts=num_thoughts)

"""Remembered thoughts: who is asked for what, what is kept, who shares it, and files that cannot be used."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from o1_retriever import O1Embedder, ThinkingConfig, metering, sqlite_file
from o1_retriever.asking import AsyncThinker, EachThinker
from o1_retriever.errors import InvalidInputError, InvalidTypeError, StorageError, ThinkerError, TransientThinkerError
from o1_retriever.llm import LLMConfig
from o1_retriever.llm_thinker import LLMThinker
from o1_retriever.metering import metered
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.serving import aencode, encode
from o1_retriever.thinkers import Thinker
from o1_retriever.thought_cache import CachedThinker, OwnThinker, ThoughtCache
from o1_retriever.usage import Usage

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no forking here")


class Counting:
    """Thinks "query/number/evidence" and keeps what it was asked; can raise an error or leave out a thought."""

    def __init__(self, fingerprint: str = "counting") -> None:
        self.fingerprint = fingerprint
        self.calls: list[list[str]] = []
        self.error: Exception | None = None
        self.short = False

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        self.calls.append(list(queries))
        if self.error is not None:
            raise self.error
        found = evidence or [["-"] for _ in queries]
        return [
            [f"{query}/{i}/{' '.join(passages)}" for i in range(num_thoughts - self.short)]
            for query, passages in zip(queries, found, strict=True)
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "thoughts.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[ThoughtCache]:
    with closing(ThoughtCache(path)) as cache:
        yield cache


def test_the_thinker_is_asked_once_for_what_is_missing(cache: ThoughtCache) -> None:
    inner = Counting()
    thinker = CachedThinker(inner, cache)
    assert thinker.think(["b", "ä\u2028"], 2) == [["b/0/-", "b/1/-"], ["ä\u2028/0/-", "ä\u2028/1/-"]]
    found = thinker.think(["a", "b", "c", "a", "ä\u2028"], 2)
    assert found == [[f"{query}/0/-", f"{query}/1/-"] for query in ("a", "b", "c", "a", "ä\u2028")]
    assert inner.calls == [["b", "ä\u2028"], ["a", "c"]]
    assert thinker.think(["c", "a"], 2) == [["c/0/-", "c/1/-"], ["a/0/-", "a/1/-"]]
    assert len(inner.calls) == 2
    assert len(cache) == 4
    assert isinstance(thinker, Thinker)


def test_what_belongs_to_the_key(cache: ThoughtCache) -> None:
    inner, other = Counting(), Counting("another")
    thinker = CachedThinker(inner, cache)
    thinker.think(["q"], 1)
    assert thinker.think(["q"], 2) == [["q/0/-", "q/1/-"]]
    assert thinker.think(["q", "p"], 1, [["x", "y"], ["z"]]) == [["q/0/x y"], ["p/0/z"]]
    assert thinker.think(["p", "q"], 1, [["z"], ["xy"]]) == [["p/0/z"], ["q/0/xy"]]
    assert thinker.think(["q"], 1, evidence=[("x", "y")]) == [["q/0/x y"]], "a tuple holds the same passages"
    assert inner.calls == [["q"], ["q"], ["q", "p"], ["q"]]
    assert CachedThinker(other, cache).fingerprint == "another"
    CachedThinker(other, cache).think(["q"], 1)
    assert other.calls == [["q"]]
    with pytest.raises(InvalidInputError, match="one list of passages per query: 2, got 1"):
        thinker.think(["q", "p"], 1, [["x"]])


def test_it_outlives_its_process_and_is_pickled_by_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parents[1])
    with closing(ThoughtCache("cache/thoughts.sqlite", max_entries=7)) as cache:
        CachedThinker(Counting(), cache).think(["q"], 2)
        pickled = pickle.dumps(CachedThinker(Counting(), cache))
    monkeypatch.chdir("/")
    copy = pickle.loads(pickled)
    assert copy.think(["q"], 2) == [["q/0/-", "q/1/-"]]
    assert copy.thinker.calls == []
    assert (copy.cache.path, copy.cache.max_entries) == (path, 7)
    copy.cache.close()


def test_callers_may_change_what_they_were_given(cache: ThoughtCache) -> None:
    thinker = CachedThinker(Counting(), cache)
    for _ in range(2):
        one, two = thinker.think(["q", "q"], 1)
        one.append("mine")
        assert two == ["q/0/-"]


def test_degraded_results_never_enter(tiny: O1Embedder, cache: ThoughtCache) -> None:
    inner = Counting()
    thinker = CachedThinker(inner, cache)
    embedder = O1Embedder(tiny.checkpoint, thinker=thinker)
    embedder.encode_query(["known"])
    inner.error = TransientThinkerError("503")
    with pytest.raises(TransientThinkerError, match="503"):
        thinker.think(["known", "new"], 3)
    assert embedder.encode_query(["new"], return_thoughts=True).degraded == [True]
    assert embedder.encode_query(["known"], return_thoughts=True).degraded == [False], "the thinker is not asked"
    assert len(cache) == 1
    inner.error = None
    after = embedder.encode_query(["new"], return_thoughts=True)
    assert (after.degraded, after.thoughts) == ([False], [["new/0/-", "new/1/-", "new/2/-"]])
    assert len(cache) == 2


def test_one_query_that_fails_leaves_the_others_theirs(tiny: O1Embedder, cache: ThoughtCache) -> None:
    class Each(Counting):
        def think_each(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[Any]:
            late = TransientThinkerError("503")
            return [late if query == "bad" else self.think([query], num_thoughts)[0] for query in queries]

    thinker = CachedThinker(Each(), cache)
    found = O1Embedder(tiny.checkpoint, thinker=thinker).encode_query(["a", "bad", "b", "bad"], 1, return_thoughts=True)
    assert found.degraded == [False, True, False, True]
    assert found.thoughts == [["a/0/-"], [], ["b/0/-"], []]
    assert len(cache) == 2, "what the others got is kept"
    with pytest.raises(TransientThinkerError, match="503"):
        thinker.think(["a", "bad"], 1)
    assert len(thinker.thinker.calls) == 2


def test_wrong_numbers_of_thoughts_never_enter(cache: ThoughtCache) -> None:
    inner = Counting()
    inner.short = True
    with pytest.raises(ThinkerError, match="returned 1 thoughts for 'q', not 2"):
        CachedThinker(inner, cache).think(["q"], 2)
    assert len(cache) == 0


def test_past_the_bound_the_longest_unused_tenth_goes(path: Path) -> None:
    with closing(ThoughtCache(path, max_entries=20)) as cache:
        for number in range(20):
            cache.write({f"key {number}": ["t"]})
        assert len(cache) == 20
        assert list(cache.read(["key 0", "key 2", "nowhere"])) == ["key 0", "key 2"]
        cache.write({"one more": ["t"]})
        kept = cache.read([*(f"key {number}" for number in range(20)), "one more"])
        assert list(kept) == [f"key {number}" for number in (0, 2, *range(5, 20))] + ["one more"]
        cache.write({f"new {number}": ["t"] for number in range(50)})
        assert len(cache) == 18
        assert all(key.startswith("new") for key in cache.read([*kept, *(f"new {n}" for n in range(50))]))


@pytest.mark.parametrize(("bound", "error"), [(0, InvalidInputError), ("many", InvalidTypeError)])
def test_a_wrong_bound(path: Path, bound: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_entries must be"):
        ThoughtCache(path, max_entries=bound)
    assert not path.exists()


def test_threads_share_it(cache: ThoughtCache) -> None:
    thinker = CachedThinker(Counting(), cache)

    def work(seed: int) -> bool:
        queries = [f"q{(seed * 7 + n) % 30}" for n in range(30)]
        return all(thinker.think([query], 2) == [[f"{query}/0/-", f"{query}/1/-"]] for query in queries)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    assert len(cache) == 30


def use_from_a_process(path: Path, begin: Any, seed: int) -> None:
    """Opens the file at the same moment as others do, then reads and writes keys that they use too."""
    begin.wait(60)
    with closing(ThoughtCache(path, max_entries=40)) as cache:
        thinker = CachedThinker(Counting(), cache)
        for turn in range(60):
            query = f"q{(seed * 17 + turn) % 50}"
            assert thinker.think([query], 1) == [[f"{query}/0/-"]]


@needs_fork
def test_processes_share_it(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(5)
    processes = [context.Process(target=use_from_a_process, args=(path, begin, seed)) for seed in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 5
    with closing(ThoughtCache(path)) as cache:
        assert 30 <= len(cache) <= 40
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_opening_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many processes that make the file at once, SQLite refuses some without waiting: too rarely for a test."""
    prepare, refused = sqlite_file._prepare, sqlite3.OperationalError("database is locked")
    refused.sqlite_errorcode = sqlite3.SQLITE_BUSY
    answers: list[Any] = [refused, refused, prepare]

    def busy_twice(*args: Any) -> None:
        answer = answers.pop(0)
        if answer is refused:
            raise refused
        answer(*args)

    monkeypatch.setattr(sqlite_file, "_prepare", busy_twice)
    with closing(ThoughtCache(path)) as cache:
        assert len(cache) == 0
    assert not answers
    answers.append(refused)
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", -1)
    with pytest.raises(StorageError, match="Another process keeps it locked"):
        ThoughtCache(path)


def write_in_child(cache: ThoughtCache) -> None:
    assert cache.read(["parent"]) == {"parent": ["t"]}
    cache.write({"child": ["t"]})


@needs_fork
def test_it_crosses_a_fork(cache: ThoughtCache) -> None:
    cache.write({"parent": ["t"]})
    context = multiprocessing.get_context("fork")
    child = context.Process(target=write_in_child, args=(cache,))
    with cache._file._opened.lock:  # the child inherits a lock that is taken
        child.start()
        child.join(60)
    assert child.exitcode == 0
    cache.write({"parent, later": ["t"]})
    assert set(cache.read(["parent", "child", "parent, later"])) == {"parent", "child", "parent, later"}


@pytest.mark.parametrize("content", [b"notes", b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"thoughts\.sqlite cannot be used: .*Nothing was deleted.*delete the file"):
        ThoughtCache(path)
    assert path.read_bytes() == content


def test_a_file_damaged_in_the_middle(path: Path) -> None:
    keys = [f"key {number}" for number in range(400)]
    with closing(ThoughtCache(path)) as cache:
        cache.write({key: [key * 20] for key in keys})
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with (
        closing(ThoughtCache(path)) as cache,
        pytest.raises(StorageError, match=r"Nothing was deleted.*delete the file"),
    ):
        CachedThinker(Counting(), cache).think(keys, 1)
    assert path.stat().st_size == len(content)


@pytest.mark.parametrize("texts", ["[not json", "5", "null"])
def test_a_damaged_row(cache: ThoughtCache, path: Path, texts: str) -> None:
    cache.write({"key": ["t"]})
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE thoughts SET texts = ?", (texts,))
    with pytest.raises(StorageError, match=r"cannot be used: .*Nothing was deleted"):
        cache.read(["key"])


def test_the_files_of_others_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE addresses (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="belongs to another program and was left as it is: give another path"):
        ThoughtCache(path)
    assert path.read_bytes() == before


def test_a_file_of_another_version(path: Path) -> None:
    ThoughtCache(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="was written by another version"):
        ThoughtCache(path)


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"file cannot be used: .* choose another folder"):
        ThoughtCache(tmp_path / "file" / "thoughts.sqlite")
    with pytest.raises(StorageError, match=r"folder cannot be used: .*give the path of a file in a folder that can"):
        ThoughtCache(tmp_path / "folder")


def test_a_folder_that_is_read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o555)
    if os.access(path.parent, os.W_OK):  # the superuser may write everywhere: stand in for the system's answer
        monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(StorageError, match=r"cache cannot be used: no permission to write .* choose another folder"):
        ThoughtCache(path)
    path.parent.chmod(0o755)


def test_a_disk_that_becomes_read_only(cache: ThoughtCache, tiny: O1Embedder) -> None:
    cache._file._opened.connection.execute("PRAGMA query_only = 1")  # SQLite's answer is that of a read-only file
    embedder = O1Embedder(tiny.checkpoint, thinker=CachedThinker(Counting(), cache))
    with pytest.raises(StorageError, match="It cannot be written to: mend its permissions"):
        embedder.encode_query(["q"])


def test_another_process_that_keeps_it_locked(cache: ThoughtCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write({"before": ["t"]})
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    with closing(ThoughtCache(path)) as impatient, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="Another process keeps it locked: wait"):
            impatient.write({"key": ["t"]})
        other.execute("ROLLBACK")
        impatient.write({"key": ["t"]})
        assert list(impatient.read(["before", "key"])) == ["before", "key"]


def test_after_an_error_nothing_of_it_remains(cache: ThoughtCache) -> None:
    with pytest.raises(TypeError):
        cache.write({"good": ["t"], "bad": [object()]})  # type: ignore[list-item]
    assert len(cache) == 0
    cache.write({"good": ["t"]})
    assert len(cache) == 1


def test_closed(cache: ThoughtCache) -> None:
    cache.close()
    cache.close()
    with pytest.raises(StorageError, match=r"thoughts\.sqlite was closed: open it again"):
        cache.read(["key"])


def test_a_model_as_its_own_thinker(tiny: O1Embedder) -> None:
    hot = ThinkingConfig(num_thoughts=2, temperature=1.0, max_new_tokens=9, seed=4)
    thinker = OwnThinker(tiny, hot)
    assert thinker.think(["one", "two"], 3) == tiny.think(["one", "two"], 3, thinking=hot)
    assert thinker.think(["one"], 1, evidence=[["not read"]])[0] == tiny.think("one", 1, thinking=hot)
    assert OwnThinker(tiny).think(["one"], 3) == tiny.think(["one"])
    assert isinstance(thinker, Thinker)


def test_the_fingerprint_of_an_own_thinker(tiny: O1Embedder, make_embedder: Callable[..., O1Embedder]) -> None:
    default = tiny.config.thinking
    name = OwnThinker(tiny).fingerprint
    assert name == OwnThinker(tiny, replace(default, num_thoughts=8)).fingerprint
    others = [replace(default, seed=7), replace(default, temperature=0.5), replace(default, max_new_tokens=5)]
    names = {name, *(OwnThinker(tiny, thinking).fingerprint for thinking in others)}
    names.add(OwnThinker(make_embedder(seed=1)).fingerprint)
    assert len(names) == 5
    with pytest.raises(InvalidInputError, match="OwnThinker needs an embedder that thinks for itself"):
        OwnThinker(O1Embedder(tiny.checkpoint, thinker=Counting()))


def test_own_thoughts_are_thought_once(tiny: O1Embedder, cache: ThoughtCache, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = O1Embedder(tiny.checkpoint, thinker=CachedThinker(OwnThinker(tiny), cache))
    queries = ["one question", "another"]
    first = embedder.encode_query(queries, return_thoughts=True)
    assert first.thoughts == tiny.think(queries)
    with monkeypatch.context() as patch:
        patch.setattr(O1Embedder, "think", None)
        again = embedder.encode_query(queries, return_thoughts=True)
    assert again.thoughts == first.thoughts
    np.testing.assert_array_equal(again.vectors, first.vectors)


def test_vectors_of_remembered_thoughts_are_the_models_own(cache: ThoughtCache) -> None:
    own = O1Embedder.from_pretrained(device="cpu")
    embedder = O1Embedder(own.checkpoint, thinker=CachedThinker(OwnThinker(own), cache))
    queries = ["Who wrote the first program?", "why is the sky blue", "capital of the country where Goethe was born"]
    expected = own.encode_query(queries, return_thoughts=True)
    survive = np.array(tokens_survive(own, queries))
    assert survive.mean() >= 0.5, "too few would prove little"
    for _ in range(2):
        found = embedder.encode_query(queries, return_thoughts=True)
        assert found.thoughts == expected.thoughts
        vectors, own_vectors = np.stack(found.thought_vectors), np.stack(expected.thought_vectors)
        np.testing.assert_allclose(vectors[survive], own_vectors[survive], atol=1e-5)
        whole = survive.all(axis=1)
        np.testing.assert_allclose(found.vectors[whole], expected.vectors[whole], atol=1e-5)


def tokens_survive(embedder: O1Embedder, queries: list[str]) -> list[list[bool]]:
    """Whether each thought's text is read as the tokens it was written with: a sampled "s" + "##s" is read as "ss"."""
    prompts = embedder.prompts.queries(queries, embedder.max_query_tokens).ids
    ids, _ = embedder._self_thinker.think(queries, prompts, embedder.config.thinking)
    read = [embedder.prompts.text_ids([embedder.prompts.thought_text(t) for t in row], 999).ids for row in ids]
    return [[a == b for a, b in zip(*rows, strict=True)] for rows in zip(ids, read, strict=True)]


def slow_down(own: O1Embedder, monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[str]], threading.Event]:
    """The batches that the model itself encodes from now on; all but the first wait for nothing, the first for this."""
    batches: list[list[str]] = []
    go = threading.Event()
    plain = own.encode_query

    def watch(queries: Any, *args: Any, **kwargs: Any) -> Any:
        batches.append(list(queries))
        assert len(batches) > 1 or go.wait(60)
        return plain(queries, *args, **kwargs)

    monkeypatch.setattr(own, "encode_query", watch)
    return batches, go


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def test_misses_of_many_callers_are_thought_about_together(
    make_embedder: Callable[..., O1Embedder], cache: ThoughtCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads and tasks; what is remembered is answered while the model thinks about something else."""
    own = make_embedder()
    embedder = O1Embedder(own.checkpoint, thinker=CachedThinker(OwnThinker(own), cache))
    known = encode(embedder, ["known"], own.config.thinking)
    expected = {query: own.encode_query([query], return_thoughts=True) for query in "abcdef"}
    batches, go = slow_down(own, monkeypatch)
    line = shared_batcher(own)._line

    async def run(pool: ThreadPoolExecutor) -> list[Any]:
        loop, thinking = asyncio.get_running_loop(), own.config.thinking
        first = asyncio.create_task(aencode(embedder, "a", thinking))
        await asyncio.to_thread(until, lambda: batches == [["a"]])
        rest = [asyncio.create_task(aencode(embedder, query, thinking)) for query in "bcd"]
        rest += [loop.run_in_executor(pool, encode, embedder, [query], thinking) for query in "ef"]  # type: ignore[list-item]
        await asyncio.to_thread(until, lambda: len(line._waiting) == 5)
        again = await asyncio.wait_for(aencode(embedder, "known", thinking), 60)
        assert again.thoughts == known.thoughts and not first.done(), "a hit waits for no miss"
        go.set()
        return await asyncio.gather(first, *rest)

    with ThreadPoolExecutor(2) as pool:
        found = asyncio.run(run(pool))
    assert [sorted(batch) for batch in batches] == [["a"], ["b", "c", "d", "e", "f"]]
    for query, encoding in zip("abcdef", found, strict=True):
        assert encoding.thoughts == expected[query].thoughts
    assert len(cache) == 7


class Costly(Counting):
    """Counts what it costs, and can be awaited."""

    def think(self, queries: Sequence[str], *args: Any) -> list[list[str]]:
        metering.count(Usage(requests=len(queries)))
        return super().think(queries, *args)

    async def athink(self, queries: Sequence[str], *args: Any) -> list[list[str]]:
        return self.think(queries, *args)


def test_awaited_as_waited_for(cache: ThoughtCache) -> None:
    inner = Costly()
    thinker = CachedThinker(inner, cache)
    assert isinstance(thinker, AsyncThinker) and isinstance(thinker, EachThinker)
    with metered() as meter:
        found = asyncio.run(thinker.athink(["a", "b", "a"], 2, [["x"], ["y"], ["x"]]))
    assert found == [["a/0/x", "a/1/x"], ["b/0/y", "b/1/y"], ["a/0/x", "a/1/x"]]
    assert meter.usage == Usage(requests=2), "what was missing, once"
    with metered() as meter:
        assert asyncio.run(thinker.athink(["b", "a"], 2, [["y"], ["x"]])) == [found[1], found[0]]
        assert thinker.think(["b"], 2, [["y"]]) == [found[1]]
    assert meter.usage == Usage(), "what is remembered costs nothing"
    with metered() as meter:
        thinker.think(["c", "b"], 2, [["z"], ["y"]])
    assert meter.usage == Usage(requests=1)
    inner.error = TransientThinkerError("503")
    with pytest.raises(TransientThinkerError, match="503"):
        asyncio.run(thinker.athink(["a", "new"], 2))
    inner.error = ThinkerError("401")
    with pytest.raises(ThinkerError, match="401"):
        asyncio.run(thinker.athink(["new"], 2))
    assert len(cache) == 3
    inner.error, inner.short = None, True
    with pytest.raises(ThinkerError, match="returned 1 thoughts for 'new', not 2"):
        asyncio.run(thinker.athink(["new"], 2))


def test_own_thoughts_awaited(tiny: O1Embedder, cache: ThoughtCache) -> None:
    thinker = OwnThinker(tiny)
    expected = tiny.think(["one", "two"], 2)
    assert asyncio.run(thinker.athink(["one", "two"], 2)) == expected
    assert asyncio.run(thinker.athink([], 2)) == []
    assert asyncio.run(thinker.athink(["one"], 0)) == thinker.think(["one"], 0) == [[]]
    cached = CachedThinker(thinker, cache)
    assert asyncio.run(cached.athink(["one", "two"], 2)) == expected == cached.think(["one", "two"], 2)


def test_what_a_language_model_behind_a_cache_costs(tiny: O1Embedder, cache: ThoughtCache, chat_server: Any) -> None:
    server = chat_server()
    with LLMThinker(LLMConfig(server.url, "expert")) as inner:
        embedder = O1Embedder(tiny.checkpoint, thinker=CachedThinker(inner, cache))
        for again in (False, True):
            for ask in (encode, lambda *args: asyncio.run(aencode(args[0], args[1][0], args[2]))):
                query = "waited for" if ask is encode else "awaited"
                with metered() as meter:
                    ask(embedder, [query], ThinkingConfig(num_thoughts=2))
                assert (meter.usage == Usage()) is again
                assert again or meter.usage.completion_tokens > 0

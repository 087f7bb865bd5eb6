"""The lexical index stays true to its collection: after every write, a kill, damage, and at the next opening."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chroma_o1 import O1ChromaStore, Passage, lexical_files
from chroma_o1.lexical_files import Words
from o1_retriever import O1Embedder
from o1_retriever.lexical import LexicalIndex

Make = Callable[[int], list[Passage]]
Start = Callable[..., subprocess.Popen[str]]
Said = Callable[[subprocess.Popen[str], str], None]


def assert_true(store: O1ChromaStore, question: str = "passage title 7 word") -> None:
    """The store's lexical scores are those of an index made of what it holds now."""
    texts = {p.id: f"{p.title} {p.text}".strip() for p in store.get()}
    scores = dict(zip(texts, LexicalIndex(list(texts.values())).scores(question).tolist(), strict=True))
    hits = store.search(question, max(1, len(texts)), mode="lexical")
    assert {hit.id: hit.score for hit in hits} == pytest.approx({i: s for i, s in scores.items() if s > 0})


def index_folders(path: Path) -> list[Path]:
    return sorted((path / ".o1" / "lexical").glob("*/*"))


def forbid_making(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Words, "of", lambda *_: pytest.fail("made again"))


def test_every_write_is_seen(store: O1ChromaStore, passages: Make) -> None:
    given = passages(40)
    store.add(given[:20])
    assert_true(store)
    store.add([*given[20:], Passage("a zebra")])
    assert_true(store)
    assert [hit.text for hit in store.search("zebra", mode="lexical")] == ["a zebra"]
    store.delete([given[7].id, Passage("a zebra").id])
    assert_true(store)
    assert store.search("zebra", mode="lexical") == []
    assert store.delete_where({"source_id": {"$in": ["1", "2", "30"]}}) == 3
    assert_true(store)
    store.update({given[9].id: {"checked": True}})
    assert_true(store)


def test_one_passage_for_another_is_seen(store: O1ChromaStore, passages: Make) -> None:
    """The number of passages stays."""
    given = passages(200)
    store.add(given)
    assert_true(store)
    store.delete([given[100].id])
    store.add([Passage("a zebra")])
    assert len(store.search("zebra", mode="lexical")) == 1
    assert_true(store)


def test_another_store_of_the_process_sees_it(store: O1ChromaStore, tiny: O1Embedder, passages: Make) -> None:
    given = passages(150)
    store.add(given)
    with O1ChromaStore(tiny, path=store._connection.where) as other:
        assert_true(other)
        store.add([Passage("a zebra")])
        assert_true(other)
        store.delete([given[3].id])
        assert_true(other)
        store.delete([given[4].id])
        store.add([Passage("another zebra")])  # as many as before
        assert_true(other)
        assert len(other.search("zebra", mode="lexical")) == 2


def test_nothing_is_made_again_without_need(
    tiny: O1Embedder, tmp_path: Path, passages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(30))
        assert index_folders(tmp_path) == []  # whoever searches no words pays nothing
        assert_true(store)
        [folder] = index_folders(tmp_path)
        forbid_making(monkeypatch)
        assert_true(store)
        store.add(passages(30))
        store.update({passages(1)[0].id: {"a": 1}})
        assert_true(store)
    with O1ChromaStore(tiny, path=tmp_path, create=False) as store:
        assert_true(store)
    assert index_folders(tmp_path) == [folder]


def test_only_the_last_index_is_kept(store: O1ChromaStore, passages: Make) -> None:
    folder, before = Path(store._connection.where), []
    for count in (10, 20, 30):
        store.add(passages(count))
        assert_true(store)
        before.append(index_folders(folder))
    assert [len(folders) for folders in before] == [1, 1, 1] and len({folders[0] for folders in before}) == 3


def test_made_again_if_missing(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(30))
        assert_true(store)
    shutil.rmtree(tmp_path / ".o1" / "lexical")
    with O1ChromaStore(tiny, path=tmp_path) as store:
        assert_true(store)
    assert len(index_folders(tmp_path)) == 1


def test_an_older_index_is_not_used(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    """What a process leaves behind that was killed between a write and the next search."""
    old, kept = tmp_path / "store" / ".o1" / "lexical", tmp_path / "kept"
    with O1ChromaStore(tiny, path=tmp_path / "store") as store:
        store.add(passages(30))
        assert_true(store)
        shutil.copytree(old, kept)
        store.add(passages(40))
        store.delete([p.id for p in passages(10)])  # as many as before
        assert store.count() == 30
        assert_true(store)
    shutil.rmtree(old)
    shutil.copytree(kept, old)
    with O1ChromaStore(tiny, path=tmp_path / "store") as store:
        assert_true(store)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "garbage"])
@pytest.mark.parametrize("name", ["ids.json", "data.csc.index.npy", "vocab.index.json", "params.index.json"])
def test_a_damaged_index_is_made_again(
    tiny: O1Embedder, tmp_path: Path, passages: Make, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(30))
        assert_true(store)
    [folder] = index_folders(tmp_path)
    file = folder / name
    if damage == "gone":
        file.unlink()
    else:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"\xff" * 100}[damage])
    with O1ChromaStore(tiny, path=tmp_path) as store:
        assert_true(store)
    assert "cannot be read and is made again" in caplog.text
    assert index_folders(tmp_path) == [folder] and file.stat().st_size > 0


def test_what_others_are_making_is_left_alone(store: O1ChromaStore, passages: Make) -> None:
    store.add(passages(10))
    assert_true(store)
    [folder] = index_folders(Path(store._connection.where))
    fresh, abandoned = folder.with_name("new-fresh"), folder.with_name("new-abandoned")
    for unfinished in (fresh, abandoned):
        unfinished.mkdir()
    long_ago = time.time() - 2 * lexical_files._OLD
    os.utime(abandoned, (long_ago, long_ago))
    store.add(passages(11))
    assert_true(store)
    assert fresh.exists() and not abandoned.exists() and not folder.exists()


def test_a_folder_that_cannot_be_written(
    tiny: O1Embedder, tmp_path: Path, passages: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(20))
        (tmp_path / ".o1" / "lexical").write_text("in the way")
        with caplog.at_level(logging.WARNING):
            assert_true(store)
        assert "cannot be written and stays in memory" in caplog.text
        forbid_making(monkeypatch)
        assert_true(store)  # it does stay


@pytest.mark.slow
def test_killed_while_it_writes(
    loaded: O1Embedder, tiny_folder: str, tmp_path: Path, process: Start, said: Said
) -> None:
    script = """
    with O1ChromaStore(O1Embedder.from_pretrained(sys.argv[1]), path=sys.argv[2], window=10) as store:
        for count in range(10, 2000, 10):
            store.add(passages(count))
            store.search("passage title 7", mode="lexical")
            say(f"indexed {count}")
    """
    child = process(script, tiny_folder, tmp_path)
    for count in (30, 70, 100):
        said(child, f"indexed {count}")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with O1ChromaStore(loaded, path=tmp_path, create=False) as store:
        assert store.count() >= 100
        assert_true(store)
        store.add([Passage("a zebra")])
        assert len(store.search("zebra", mode="lexical")) == 1

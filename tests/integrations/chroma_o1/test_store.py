"""The embedded store: adding, finding, deleting, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from chroma_o1 import Hit, O1ChromaStore, Passage, StoreError, StoreNotFoundError
from o1_retriever import O1Embedder
from o1_retriever.errors import FingerprintMismatchError, InvalidInputError, InvalidTypeError

Make = Callable[[int], list[Passage]]


def vectors_of(store: O1ChromaStore) -> dict[str, bytes]:
    rows = store.collection.get(include=["embeddings"])
    return dict(zip(rows["ids"], (np.asarray(v, dtype=np.float32).tobytes() for v in rows["embeddings"]), strict=True))


def test_add_twice_changes_nothing_and_embeds_once(
    store: O1ChromaStore, passages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.add(passages(30)).added == 30
    before = vectors_of(store)
    monkeypatch.setattr(store.embedder, "encode_document", lambda *_, **__: pytest.fail("embedded again"))
    report = store.add(passages(30))
    assert (report.added, report.present, report.empty) == (0, 30, 0)
    assert vectors_of(store) == before and store.count() == 30


def test_equal_content_is_one_passage(store: O1ChromaStore) -> None:
    report = store.add([Passage("a", "t", {"source_id": "1"}), Passage("a", "t", {"source_id": "2"}), Passage("a")])
    assert (report.added, report.present) == (2, 1)
    [found] = store.get([Passage("a", "t").id])
    assert found.metadata == {"source_id": "1"}


def test_ids_do_not_mix_title_and_text() -> None:
    assert Passage("b c", "a").id != Passage("c", "a b").id
    assert Passage("a", "t", {"source_id": "x"}).id == Passage("a", "t").id


def test_empty_passages_are_skipped_and_counted(store: O1ChromaStore) -> None:
    report = store.add([Passage(""), Passage(" \n", " "), Passage("", "only a title"), Passage("text")])
    assert (report.added, report.empty) == (2, 2)


def test_vectors_are_those_of_the_embedder(store: O1ChromaStore, tiny: O1Embedder, passages: Make) -> None:
    given = passages(40)
    store.add(iter(given), total=40, show_progress=False)
    expected = tiny.encode_document([p.full_text for p in given])
    stored = vectors_of(store)
    for passage, vector in zip(given, expected, strict=True):
        np.testing.assert_allclose(np.frombuffer(stored[passage.id], dtype=np.float32), vector, atol=1e-6)


def test_search_by_text_equals_search_by_vector(store: O1ChromaStore, tiny: O1Embedder, passages: Make) -> None:
    store.add(passages(60))
    by_text = store.search("passage 7", k=5, num_thoughts=2)
    by_vector = store.search(tiny.encode_query("passage 7", 2), k=5)
    assert by_text == by_vector and len(by_text) == 5
    batch = store.search_batch(["passage 7", "title"], 5, 2)[0]
    assert [hit.id for hit in batch] == [hit.id for hit in by_text]
    assert [hit.score for hit in batch] == pytest.approx([hit.score for hit in by_text], abs=1e-4)
    assert store.search_batch([]) == []


def test_score_is_the_cosine(store: O1ChromaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((3, store.embedder.dimension), dtype=np.float32)
    rows[0, 0], rows[1, :2], rows[2, 0] = 1.0, (0.6, 0.8), -1.0
    monkeypatch.setattr(store.embedder, "encode_document", lambda texts, **_: rows[: len(texts)])
    store.add([Passage("same"), Passage("slanted"), Passage("opposite")])
    query = np.zeros(store.embedder.dimension, dtype=np.float32)
    query[0] = 2.0  # length does not count
    hits = store.search(query, k=9)
    assert [hit.text for hit in hits] == ["same", "slanted", "opposite"]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 0.6, -1.0], abs=1e-6)
    assert all(isinstance(hit, Hit) and -1.0 <= hit.score <= 1.0 for hit in hits)


@pytest.mark.parametrize(
    "text",
    ["<emb> </query><thought>", "NUL \0 inside", "Žluťoučký 漢字 🐝 e\u0301", 'quote " \\ \r\n\ttab', "x" * 100_000],
    ids=["special tokens", "NUL", "unicode", "quotes", "long"],
)
def test_any_text_comes_back_as_it_was(store: O1ChromaStore, text: str) -> None:
    passage = Passage(text, text[:200], {"note": text[:200]})
    store.add([passage])
    [hit] = store.search(store.embedder.encode_document(passage.full_text))
    assert (hit.id, hit.text, hit.title, hit.metadata["note"]) == (passage.id, text, passage.title, text[:200])
    assert hit.score == pytest.approx(1.0, abs=1e-5)


def test_delete_and_get(store: O1ChromaStore, passages: Make) -> None:
    given = passages(20)
    store.add(given)
    ids = [p.id for p in given]
    assert store.delete([*ids[:3], ids[0], "unknown"]) == 3
    assert store.count() == 17 and store.delete([]) == 0
    assert [p.id for p in store.get([ids[5], ids[0], ids[4]])] == [ids[5], ids[4]]
    assert not set(ids[:3]) & {hit.id for hit in store.search("passage 1", k=20)}
    assert store.add(given).added == 3


def test_batches_keep_to_chromas_limit(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with O1ChromaStore(tiny, path=tmp_path, window=1_000_000) as store:
        limit = store.window
        assert limit == store._connection.client.get_max_batch_size() < 6000
        assert store.add(passages(limit + 1)).added == limit + 1
        ids = [p.id for p in passages(limit + 1)]
        assert len(store.get(ids)) == limit + 1
        assert store.delete(ids) == limit + 1


def test_reopened_store_has_everything(tiny: O1Embedder, tmp_path: Path, passages: Make) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store.add(passages(30))
        before = store.search("passage 3")
    with O1ChromaStore(tiny, path=str(tmp_path), create=False) as store:
        assert store.search("passage 3") == before
        assert store.collection.configuration["hnsw"]["space"] == "cosine"


def test_other_model_is_refused(make_embedder: Callable[..., O1Embedder], tmp_path: Path) -> None:
    with O1ChromaStore(make_embedder(), path=tmp_path):
        pass
    with pytest.raises(FingerprintMismatchError, match="index again"):
        O1ChromaStore(make_embedder("qwen2", True, 1), path=tmp_path)
    with O1ChromaStore(make_embedder("qwen2", True, 1), path=tmp_path, collection="another") as store:
        assert store.count() == 0


def test_collection_of_another_space_is_refused(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path) as store:
        store._connection.client.create_collection("euclid", embedding_function=None)
        with pytest.raises(StoreError, match="cosine"):
            O1ChromaStore(tiny, path=tmp_path, collection="euclid")


def test_missing_store_and_collection(tiny: O1Embedder, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="o1 index"):
        O1ChromaStore(tiny, path=tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    with O1ChromaStore(tiny, path=tmp_path), pytest.raises(StoreNotFoundError, match="o1-passages"):
        O1ChromaStore(tiny, path=tmp_path, collection="another", create=False)


@pytest.mark.parametrize(
    ("passage", "error", "message"),
    [
        ("text", InvalidTypeError, "passage 1 is str"),
        (Passage(3), InvalidTypeError, "its text is int"),  # type: ignore[arg-type]
        (Passage("\ud800"), InvalidInputError, "surrogate"),
        (Passage("a", metadata={"title": "b"}), InvalidInputError, "reserved"),
        (Passage("a", metadata={"n": 2**63}), InvalidInputError, "64 bits"),
        (Passage("a", metadata={"n": float("nan")}), InvalidInputError, "finite"),
        (Passage("a", metadata={"n": None}), InvalidTypeError, "NoneType"),  # type: ignore[dict-item]
    ],
)
def test_bad_passages_are_named(store: O1ChromaStore, passage: Passage, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        store.add([Passage("good"), passage])
    assert store.count() == 0
    assert store.add([Passage("good")]).added == 1


def test_bad_arguments(store: O1ChromaStore, tiny: O1Embedder, tmp_path: Path) -> None:
    for given in ({}, {"path": tmp_path, "host": "localhost"}):
        with pytest.raises(InvalidInputError, match="either"):
            O1ChromaStore(tiny, **given)
    with pytest.raises(InvalidTypeError, match="iterable"):
        store.add("one text")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="list of ids"):
        store.delete("abc")
    with pytest.raises(InvalidInputError, match="at least 1"):
        store.search("a", k=0)
    with pytest.raises(InvalidInputError, match="empty"):
        store.search(" ")
    for vector in (np.zeros(tiny.dimension), np.full(tiny.dimension, np.nan), np.ones(3)):
        with pytest.raises(InvalidInputError, match="vector"):
            store.search(vector)


def test_closed_store_says_so(tiny: O1Embedder, tmp_path: Path) -> None:
    store = O1ChromaStore(tiny, path=tmp_path)
    store.close()
    store.close()
    add, delete = partial(store.add, [Passage("a")]), partial(store.delete, ["a"])
    for call in (store.count, partial(store.search, "a"), add, delete):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_threads_share_a_store(store: O1ChromaStore, passages: Make) -> None:
    given = passages(80)

    def work(part: list[Passage]) -> int:
        store.search(part[0].full_text, k=3, num_thoughts=0)
        return store.add(part).added

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, [given[i::4] for i in range(4)])) == [20] * 4
    assert store.count() == 80

"""Filters, pages, updates and deletions by filter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from chroma_o1 import O1ChromaStore, Passage, StoreError
from chroma_o1.readers import read_paths
from o1_retriever import O1Embedder
from o1_retriever.errors import InvalidInputError, InvalidTypeError

GIVEN = [Passage(f"text {i} about {'bees' if i % 2 else 'ducks'}", f"T{i % 3}", {"n": i}) for i in range(12)]


@pytest.fixture
def filled(store: O1ChromaStore) -> O1ChromaStore:
    store.add(GIVEN)
    return store


def numbers(found: Any) -> list[int]:
    return [passage.metadata["n"] for passage in found]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"where": {"n": {"$lt": 4}}}, {0, 1, 2, 3}),
        ({"where": {"title": "T1"}}, {1, 4, 7, 10}),
        ({"where_document": {"$contains": "bees"}}, {1, 3, 5, 7, 9, 11}),
        ({"where": {"n": {"$gte": 6}}, "where_document": {"$contains": "ducks"}}, {6, 8, 10}),
        ({"where": {"$and": [{"n": {"$gt": 2}}, {"n": {"$in": [2, 3, 11]}}]}}, {3, 11}),
        ({"where": {"n": 99}}, set()),
    ],
)
def test_searches_keep_to_the_filter(
    filled: O1ChromaStore, mode: Any, filters: dict[str, Any], expected: set[int]
) -> None:
    assert set(numbers(filled.search("text about bees", 12, 0, mode=mode, **filters))) == expected
    assert set(numbers(filled.get(**filters))) == expected


def test_the_highest_score_is_that_of_the_passages_that_count(filled: O1ChromaStore) -> None:
    """ "bees" is nowhere among them, so "text" alone sets the scale: everybody has the whole weight."""
    where = {"n": {"$in": [0, 2, 4]}}
    dense = filled.search("bees text", 12, 0, where=where)
    hybrid = filled.search("bees text", 12, 0, where=where, mode="hybrid", lexical_weight=2.0)
    assert [hit.score for hit in hybrid] == pytest.approx([hit.score + 2.0 for hit in dense], abs=1e-5)


def test_get_of_ids_with_a_filter(filled: O1ChromaStore) -> None:
    ids = [GIVEN[i].id for i in (7, 3, 8)]
    assert numbers(filled.get(ids)) == [7, 3, 8]
    assert numbers(filled.get([*ids, ids[0], "unknown"], where={"n": {"$gt": 5}})) == [7, 8]
    assert numbers(filled.get(ids, limit=1, offset=1)) == [3]
    assert filled.get([]) == []


def test_pages_hold_everything_once(filled: O1ChromaStore) -> None:
    def pages(**filters: Any) -> Iterator[list[int]]:
        offset = 0
        while page := filled.get(limit=5, offset=offset, **filters):
            yield numbers(page)
            offset += 5

    found = list(pages())
    assert [len(page) for page in found] == [5, 5, 2] and sorted(chain(*found)) == list(range(12))
    assert sorted(chain(*pages(where={"n": {"$lt": 7}}))) == list(range(7))
    assert sorted(numbers(filled.get())) == list(range(12))


def test_update_changes_metadata_alone(filled: O1ChromaStore) -> None:
    first, second = GIVEN[0], GIVEN[1]
    before = filled.search("text", 12, 0)
    assert filled.update({first.id: {"n": 100, "checked": True}, second.id: {"n": None}, "unknown": {"n": 1}}) == 2
    found = filled.get([first.id, second.id])
    assert [(p.text, p.title) for p in found] == [(p.text, p.title) for p in (first, second)]
    assert [dict(p.metadata) for p in found] == [{"n": 100, "checked": True}, {}]
    assert [hit.id for hit in filled.search("text", 12, 0)] == [hit.id for hit in before]
    assert [hit.id for hit in filled.search("text", 12, 0, where={"checked": True})] == [first.id]
    assert filled.add([first]).present == 1 and filled.count() == 12
    assert filled.update({}) == 0


def test_updates_outlive_the_process(tiny: O1Embedder, tmp_path: Path) -> None:
    with O1ChromaStore(tiny, path=tmp_path, window=5) as store:
        store.add(GIVEN)
        assert store.update({p.id: {"n": -1} for p in GIVEN}) == 12
    with O1ChromaStore(tiny, path=tmp_path) as store:
        assert numbers(store.get()) == [-1] * 12


def test_delete_where(filled: O1ChromaStore) -> None:
    assert filled.delete_where({"n": {"$lt": 3}}) == 3
    assert filled.delete_where({"n": {"$lt": 3}}) == 0
    assert filled.delete_where(where_document={"$contains": "ducks"}) == 4
    assert sorted(numbers(filled.get())) == [3, 5, 7, 9, 11]


def test_delete_a_document(store: O1ChromaStore, tmp_path: Path) -> None:
    """All passages that came from one file."""
    for name in ("bees", "ducks"):
        paragraphs = (f"{name} {i} " + "word " * 100 for i in range(5))
        (tmp_path / f"{name}.md").write_text("\n\n".join(paragraphs))
    store.add(read_paths([tmp_path / "bees.md", tmp_path / "ducks.md"]))
    assert store.count() == 10
    assert store.delete_where({"source": str(tmp_path / "bees.md")}) == 5
    assert {p.title for p in store.get()} == {"ducks"}
    assert store.search("bees", mode="lexical") == []


@pytest.mark.parametrize(
    "filters",
    [
        {"where": {}},
        {"where": {"a": 1, "b": 2}},
        {"where": ["source"]},
        {"where": {"n": {"$above": 1}}},
        {"where": {"n": None}},
        {"where_document": {}},
        {"where_document": "bees"},
        {"where_document": {"$contains": ""}},
    ],
)
def test_bad_filters_are_named(filled: O1ChromaStore, filters: dict[str, Any]) -> None:
    for call in (partial(filled.search, "a"), filled.get, filled.delete_where):
        with pytest.raises(InvalidInputError, match="A filter looks like"):
            call(**filters)
    assert filled.count() == 12


def test_bad_arguments(filled: O1ChromaStore) -> None:
    with pytest.raises(InvalidInputError, match="never removes everything"):
        filled.delete_where()
    for change, error, message in (
        ([], InvalidTypeError, "update takes"),
        (None, InvalidTypeError, "update takes"),
        ({3: {"a": 1}}, InvalidTypeError, "update takes"),
        ({GIVEN[0].id: None}, InvalidTypeError, "update takes"),
        ({GIVEN[0].id: {}}, InvalidInputError, "no metadata"),
        ({GIVEN[0].id: {"title": "x"}}, InvalidInputError, "reserved"),
        ({GIVEN[0].id: {"a": [1]}}, InvalidTypeError, "is list"),
        ({GIVEN[0].id: {3: 1}}, InvalidTypeError, "use texts as keys"),
        ({GIVEN[0].id: {"a": float("inf")}}, InvalidInputError, "finite"),
    ):
        with pytest.raises(error, match=message):
            filled.update(change)  # type: ignore[arg-type]
    for ids in ("abc", [3], None):
        with pytest.raises(InvalidTypeError, match="list of ids"):
            filled.delete(ids)  # type: ignore[arg-type]
    for how in ({"limit": 0}, {"offset": -1}):
        with pytest.raises(InvalidInputError, match="at least"):
            filled.get(**how)
    for given in (None, 3, "text"):
        with pytest.raises(InvalidTypeError, match="iterable of passages"):
            filled.add(given)  # type: ignore[arg-type]
    assert filled.add([]).added == 0
    assert filled.count() == 12


def test_a_closed_store_says_so(tiny: O1Embedder, tmp_path: Path) -> None:
    store = O1ChromaStore(tiny, path=tmp_path)
    store.close()
    for call in (
        lambda: store.get(),
        lambda: store.update({"a": {"b": 1}}),
        lambda: store.delete_where({"a": 1}),
        lambda: store.search("a", mode="lexical"),
        lambda: store.search("a", mode="hybrid"),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()

"""Exact search against scores worked out by hand and against one big matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from o1_retriever.errors import InvalidInputError
from o1_retriever.search import exact_search, to_run

CORNERS = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32)


def unit(rows: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    normalised: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalised


def test_by_hand() -> None:
    scores, indices = exact_search(CORNERS[:2], CORNERS, k=3)
    assert indices.tolist() == [[0, 3, 1], [1, 3, 0]]
    assert scores == pytest.approx(np.array([[1, 0.6, 0], [1, 0.8, 0]]))
    assert (scores.dtype, indices.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("block", [1, 2, 7, 36, 37, 38, 1000])
@pytest.mark.parametrize("k", [1, 5, 37, 100])
def test_blocks_do_not_matter(block: int, k: int) -> None:
    queries, passages = unit(5, 8, seed=1), unit(37, 8, seed=2)
    scores, indices = exact_search(queries, passages, k, block)
    every = queries @ passages.T
    expected = np.argsort(-every, axis=1, kind="stable")[:, :k]
    assert indices.shape == (5, min(k, 37))
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(every, expected, axis=1), atol=1e-6)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 100])
def test_ties_go_to_the_lower_index_across_blocks(block: int) -> None:
    passages = np.repeat(CORNERS[:1], 10, axis=0)
    passages[4] = CORNERS[1]
    _, indices = exact_search(CORNERS[:1], passages, 5, block)
    assert indices.tolist() == [[0, 1, 2, 3, 5]]


def test_a_memory_map_works(tmp_path: Path) -> None:
    passages = unit(50, 4)
    np.save(tmp_path / "p.npy", passages)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    for of_map, of_array in zip(
        exact_search(passages[:3], mapped, 5, 8), exact_search(passages[:3], passages, 5, 8), strict=True
    ):
        np.testing.assert_array_equal(of_map, of_array)


def test_nothing_to_search_and_nothing_to_search_for() -> None:
    empty = np.empty((0, 2), dtype=np.float32)
    assert [part.shape for part in exact_search(CORNERS, empty, 3)] == [(4, 0), (4, 0)]
    assert [part.shape for part in exact_search(empty, CORNERS, 3)] == [(0, 3), (0, 3)]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(k: int) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        exact_search(CORNERS, CORNERS, k)


@pytest.mark.parametrize("queries", [CORNERS[0], np.ones((1, 3), dtype=np.float32)])
def test_shapes_that_do_not_fit(queries: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        exact_search(queries, CORNERS, 1)


def test_to_run() -> None:
    scores, indices = exact_search(CORNERS[:1], CORNERS, 2)
    assert to_run(["q"], ["a", "b", "c", "d"], scores, indices) == {"q": {"a": 1.0, "d": pytest.approx(0.6)}}


def test_many_ties_across_blocks_go_to_the_lower_index() -> None:
    passages = np.tile(np.eye(4, dtype=np.float32), (5, 1))  # rows 0, 4, 8, 12, 16 are alike
    scores, indices = exact_search(np.eye(4, dtype=np.float32)[:1], passages, k=4, block=7)
    assert indices.tolist() == [[0, 4, 8, 12]]
    assert scores.tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_equals_a_full_sort_on_random_vectors() -> None:
    rng = np.random.default_rng(0)
    queries, passages = (rng.integers(-2, 3, size=(n, 6)).astype(np.float32) for n in (9, 300))
    plain = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :20]
    assert np.array_equal(exact_search(queries, passages, k=20, block=64)[1], plain)

"""Votes by hand-derived values, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.synthesis.voting import RULES, Rule, fleiss_kappa, ranking, standardise, votes


def test_standardise() -> None:
    # (1, 2, 3): mean 2, variance 2/3
    expected = [[-math.sqrt(1.5), 0.0, math.sqrt(1.5)], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(standardise(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])), expected)


def test_majority_counts_first_choices_and_shares_ties() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0], [1.0, 0.0, 0.5]])
    assert votes(scores, "majority").tolist() == [2.0, 0.5, 0.5]
    assert ranking(scores, "majority")[0] == 0


def test_ties_go_to_the_mean_standardised_score() -> None:
    # one vote each; standardised: (1.37, -0.39, -0.98) and (-0.98, 1.37, -0.39): candidate 1 is ahead on average
    scores = np.array([[10.0, 4.0, 2.0], [2.0, 10.0, 4.0]])
    assert votes(scores, "majority").tolist() == [1.0, 1.0, 0.0]
    assert ranking(scores, "majority") == [1, 0, 2]


def test_soft() -> None:
    # standardised (1, -1): softmax 1 / (1 + e^-2) and the rest; the second member has no opinion
    scores = np.array([[5.0, 3.0], [7.0, 7.0]])
    first = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(votes(scores, "soft"), [(first + 0.5) / 2, (1 - first + 0.5) / 2])


def test_borda_counts_the_beaten_and_half_the_equals() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
    np.testing.assert_allclose(votes(scores, "borda"), [(2 + 1.5) / 2, (1 + 1.5) / 2, 0.0])


@pytest.mark.parametrize("rule", RULES)
def test_unchanged_by_a_members_scale_and_offset(rule: Rule) -> None:
    scores = np.random.default_rng(0).normal(size=(4, 5))
    moved = scores * np.array([[1.0], [1000.0], [0.001], [3.0]]) + np.array([[0.0], [-5.0], [7.0], [1e3]])
    np.testing.assert_allclose(votes(scores, rule), votes(moved, rule), atol=1e-6)
    assert ranking(scores, rule) == ranking(moved, rule)


@pytest.mark.parametrize("rule", RULES)
def test_one_candidate_and_members_of_one_mind(rule: Rule) -> None:
    assert ranking(np.array([[0.3]]), rule) == [0]
    assert ranking(np.array([[0.1, 0.9, 0.5]] * 3), rule) == [1, 2, 0]
    assert ranking(np.array([[1.0, 1.0]]), rule) == [0, 1], "equal candidates keep their order"


@pytest.mark.parametrize("scores", [np.empty((0, 3)), np.empty((2, 0)), np.array([[1.0, np.nan]]), np.array([1.0])])
def test_refuses_what_cannot_be_counted(scores: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="finite"):
        votes(scores, "majority")


def test_unknown_rule() -> None:
    with pytest.raises(InvalidInputError, match="majority, soft, borda"):
        votes(np.ones((1, 1)), "approval")  # type: ignore[arg-type]


def test_fleiss_kappa_of_the_published_example() -> None:
    # Fleiss (1971) as worked out in the textbooks: 10 subjects, 14 raters, 5 categories, kappa 0.210
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts, dtype=float)) == pytest.approx(0.210, abs=0.0005)


def test_fleiss_kappa_at_its_ends() -> None:
    assert fleiss_kappa(np.array([[2.0, 0.0], [0.0, 2.0]])) == pytest.approx(1.0)
    assert fleiss_kappa(np.array([[1.0, 1.0], [1.0, 1.0]])) == pytest.approx(-1.0)
    assert math.isnan(fleiss_kappa(np.array([[1.0, 0.0]]))), "one rater agrees with nobody"
    assert math.isnan(fleiss_kappa(np.array([[2.0, 0.0]]))), "one category only"

"""The paired randomisation test on cases whose p-values can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from o1_eval.significance import bootstrap_interval, randomisation_test


def test_identical_systems_differ_by_chance() -> None:
    values = np.array([0.1, 0.7, 0.3, 0.0])
    assert randomisation_test(values, values) == 1.0


def test_a_constant_advantage_over_many_queries_is_no_chance() -> None:
    worse = np.linspace(0, 0.5, 50)
    assert randomisation_test(worse + 0.3, worse) == pytest.approx(1 / 10_001)


def test_three_queries_leave_one_chance_in_four() -> None:
    """Of the 8 exchanges only + + + and - - - reach the real difference: p = 2/8."""
    a, b = np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.1, 0.1])
    assert randomisation_test(a, b) == pytest.approx(0.25, abs=0.015)


def test_ties_in_the_sums_count_although_floats_round() -> None:
    """Every exchange of 0.1 + 0.2 - 0.3 is compared with a sum that is zero but for rounding."""
    assert randomisation_test(np.array([0.1, 0.2, 0.0]), np.array([0.0, 0.0, 0.3])) == 1.0


def test_order_of_the_systems_does_not_matter_and_the_seed_decides() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random(30), generator.random(30)
    assert randomisation_test(a, b) == randomisation_test(b, a) == randomisation_test(a, b)
    assert 0 < randomisation_test(a, b, permutations=1500) <= 1


def test_bootstrap_of_two_values() -> None:
    """Of two values the resampled mean is the lower, the middle or the higher one, with 1/4, 1/2, 1/4."""
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.6) == (0.0, 1.0)


def test_bootstrap_interval_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(0).normal(loc=2.0, size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)

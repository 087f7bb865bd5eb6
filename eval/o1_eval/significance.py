"""Could a difference be chance? Paired randomisation test (Smucker, Allan and Carterette, CIKM 2007) and bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1000


def randomisation_test(
    a: NDArray[np.float64], b: NDArray[np.float64], permutations: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p-value of the difference of the means of paired values.

    Each permutation exchanges the two values of a random half of the queries; p is the share of permutations whose
    difference is at least as large as the real one, which itself counts as one of them.

    Args:
        a: (B,) values of one system.
        b: (B,) values of the other, for the same queries.
        permutations: how many exchanges are drawn.
        seed: of the draws.

    >>> randomisation_test(np.array([0.5, 1.0]), np.array([0.5, 1.0]))
    1.0
    """
    difference = a - b
    observed = abs(float(difference.sum()))
    tolerance = 1e-9 * (1.0 + float(np.abs(difference).sum()))  # sums of the same numbers in another order
    generator = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, permutations, _BLOCK):
        rows = min(_BLOCK, permutations - start)
        signs = generator.integers(0, 2, size=(rows, len(difference)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ difference) >= observed - tolerance).sum())
    return (extreme + 1) / (permutations + 1)


def bootstrap_interval(
    differences: NDArray[np.float64], level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of paired differences.

    Args:
        differences: (B,) one per query.
        level: of confidence.
        samples: resamples of the queries, drawn with replacement.
        seed: of the draws.

    >>> bootstrap_interval(np.array([0.25, 0.25]))
    (0.25, 0.25)
    """
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            differences[
                generator.integers(0, len(differences), size=(min(_BLOCK, samples - start), len(differences)))
            ].mean(axis=1)
            for start in range(0, samples, _BLOCK)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""The committee's vote as pure functions: scores of M members for C candidates of one query become a ranking.

    majority   each member's first choice is one vote, shared where it scores several best; ties are broken by the mean
               standardised score (the paper's way, section 3.2)
    soft       mean over the members of softmax(standardised scores)
    borda      mean number of candidates that a member scores lower, ties counting half

Scores of one member are compared only with each other: every rule is unchanged by a member's scale and offset.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import InvalidInputError

Scores = NDArray[np.float64]
Rule = Literal["majority", "soft", "borda"]
RULES: tuple[Rule, ...] = ("majority", "soft", "borda")


def standardise(scores: Scores) -> Scores:
    """(M, C) each member's scores with mean 0 and standard deviation 1; a member without an opinion gives zeros."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    # differences of the size of rounding errors are no opinion
    opinion = deviation > 1e-9 * (1.0 + np.abs(scores).max(axis=1, keepdims=True))
    return np.asarray(np.divide(centred, deviation, out=np.zeros_like(centred), where=opinion))


def first_choices(scores: Scores) -> Scores:
    """(M, C) each member's vote: 1 for its best candidate, shared equally where several are best."""
    values = standardise(scores)
    best = values >= values.max(axis=1, keepdims=True) - 1e-9
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def votes(scores: Scores, rule: Rule) -> Scores:
    """What each candidate gathers under a rule.

    Args:
        scores: (M, C), higher is better, each member in its own unit.
        rule: how to count.

    Returns:
        (C,) float64.

    Raises:
        InvalidInputError: there is no member or candidate, a score is not finite, or the rule is unknown.

    >>> votes(np.array([[3.0, 1.0, 2.0], [0.9, 0.1, 0.2], [5.0, 9.0, 1.0]]), "majority").tolist()
    [2.0, 1.0, 0.0]
    """
    if scores.ndim != 2 or 0 in scores.shape or not np.isfinite(scores).all():
        raise InvalidInputError(f"scores must be finite and of shape (members, candidates), got {scores!r:.120}.")
    if rule == "majority":
        return np.asarray(first_choices(scores).sum(axis=0))
    values = standardise(scores)
    if rule == "soft":
        weights = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray((weights / weights.sum(axis=1, keepdims=True)).mean(axis=0))
    if rule == "borda":
        higher = (values[:, :, None] > values[:, None, :] + 1e-9).sum(axis=2)
        lower = (values[:, :, None] < values[:, None, :] - 1e-9).sum(axis=2)
        return np.asarray(((higher - lower + values.shape[1] - 1) / 2).mean(axis=0))
    raise InvalidInputError(f"Unknown voting rule {rule!r}: use one of {', '.join(RULES)}.")


def ranking(scores: Scores, rule: Rule, finer: Scores | None = None) -> list[int]:
    """Candidates from best to worst: by votes, then by mean standardised score, then in their order.

    Args:
        scores: (M, C), higher is better.
        rule: how to count.
        finer: (M, C) scores that decide between candidates which are equal so far: reciprocal ranks often are.

    >>> ranking(np.array([[1.0, 0.0], [0.0, 9.0], [0.5, 0.5]]), "majority")
    [0, 1]
    """
    keys = [votes(scores, rule), standardise(scores).mean(axis=0)]
    if finer is not None:
        keys.append(standardise(finer).mean(axis=0))
    # rounding must not decide between equal candidates
    return sorted(range(scores.shape[1]), key=lambda i: (*(-round(float(key[i]), 9) for key in keys), i))


def fleiss_kappa(counts: NDArray[np.float64]) -> float:
    """Agreement of raters beyond chance (Fleiss, 1971): kappa = (P - P_e) / (1 - P_e).

    P is the mean share of agreeing pairs of raters, P_e what the categories' shares alone would give.

    Args:
        counts: (N, C) how many of the n raters chose category j for item i; n the same in every row, at least 2.

    Returns:
        1 for full agreement, 0 for chance, nan where it is not defined (fewer than two raters, or one category only).
    """
    if not len(counts) or counts[0].sum() < 2:
        return float("nan")
    raters = counts[0].sum()
    observed = ((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float("nan") if np.isclose(chance, 1.0) else float((observed - chance) / (1.0 - chance))

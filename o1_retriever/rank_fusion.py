"""Several rankings of the same passages become one: reciprocal rank fusion, and weighted scores. Pure functions.

Knows ids and numbers; nothing of what a ranking comes from.

    reciprocal rank   score(d) = sum over the rankings r that hold d of w_r / (c + rank_r(d)), ranks from 1
                      (Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
                      Learning Methods", SIGIR 2009, with c = 60 and all w_r = 1)
    weighted scores   score(d) = dense(d) + w * lexical(d) / (highest lexical score of the query)
                      (dense scores are cosine similarities; BM25 has no fixed range, its highest score sets the scale)

The first knows only the order of each ranking, so it fuses anything; the second keeps how far apart passages are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from o1_retriever.errors import InvalidInputError

Id = TypeVar("Id", bound=Hashable)
RANK_CONSTANT = 60.0
"""c above: the larger, the less the first few ranks stand out."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Id]], weights: Sequence[float] | None = None, constant: float = RANK_CONSTANT
) -> dict[Id, float]:
    """Fuses rankings by their order alone.

    Args:
        rankings: ids, best first, each at most once in a ranking; an id may be missing from some of them.
        weights: one for each ranking, 0 or more; None: all 1.
        constant: c, 0 or more.

    Returns:
        id -> score, best first; of equal ones first what an earlier ranking holds, then what it holds earlier.

    Raises:
        InvalidInputError: a ranking holds an id twice, or weights or constant are not as above.

    >>> reciprocal_rank_fusion([["a", "b"], ["b", "c"]], constant=1)
    {'b': 0.8333333333333333, 'a': 0.5, 'c': 0.3333333333333333}
    """
    factors = [1.0] * len(rankings) if weights is None else [check_weight("weights", weight) for weight in weights]
    if len(factors) != len(rankings):
        raise InvalidInputError(f"There are {len(rankings)} rankings and {len(factors)} weights: give one for each.")
    check_weight("constant", constant)
    scores: dict[Id, float] = {}
    for ranking, weight in zip(rankings, factors, strict=True):
        if len(set(ranking)) != len(ranking):
            raise InvalidInputError("A ranking holds an id twice: leave out all but its best place.")
        for rank, found in enumerate(ranking, start=1):
            scores[found] = scores.get(found, 0.0) + weight / (constant + rank)
    return best_first(scores)


def weighted_scores(
    dense: Mapping[Id, float], lexical: Mapping[Id, float], weight: float, highest: float | None = None
) -> dict[Id, float]:
    """Adds lexical scores to dense ones, on a scale of `weight`.

    Args:
        dense: id -> cosine similarity.
        lexical: id -> BM25 score, 0 or more. An id that one side does not hold counts as 0 there.
        weight: of the lexical side, 0 or more: what the best lexical score adds to a cosine similarity.
        highest: the highest lexical score of the query; None: that of `lexical`. 0: no word was found anywhere.

    Returns:
        id -> score, best first; of equal ones the dense side's first, in its order.

    Raises:
        InvalidInputError: `weight` or `highest` is negative or not finite.

    >>> weighted_scores({"a": 0.5, "b": 0.25}, {"b": 8.0, "c": 4.0}, weight=0.5)
    {'b': 0.75, 'a': 0.5, 'c': 0.25}
    """
    check_weight("weight", weight)
    top = check_weight("highest", float(max(lexical.values(), default=0.0)) if highest is None else highest)
    scale = weight / top if top > 0 else 0.0
    ids = dict.fromkeys([*dense, *lexical])
    return best_first({i: dense.get(i, 0.0) + scale * lexical.get(i, 0.0) for i in ids})


def best_first(scores: Mapping[Id, float]) -> dict[Id, float]:
    """The same scores from the highest to the lowest; equal ones stay in their order."""
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def check_weight(name: str, value: float) -> float:
    """Returns a number that may weigh something.

    Raises:
        InvalidInputError: it is no number, negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise InvalidInputError(f"{name} must be a finite number of at least 0, got {value!r}.")
    return float(value)

"""Hard negatives: turns, depth, and each exclusion with its count."""

from __future__ import annotations

import numpy as np
import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.synthesis.config import NegativesConfig
from o1_retriever.synthesis.negatives import choose_negatives, overlap
from o1_retriever.synthesis.ranking import Ranking

LONG = "the quick brown fox jumps over the lazy dog near the old mill by the river every single morning"
TEXTS = [
    LONG,
    LONG.upper() + ".",  # 1: the positive once more
    LONG + " again",  # 2: nearly the positive
    "volcanoes throw out lava and ash",  # 3
    "penguins swim and do not fly",  # 4
    "bees dance to show where flowers are",  # 5
    "Volcanoes throw out lava and ash!",  # 6: the same as 3
]


def ranked(rows: list[int], scores: list[float], positive: float = 1.0) -> Ranking:
    return Ranking(np.array([1]), np.array([positive], np.float32), np.array(rows), np.array(scores, dtype=np.float32))


def chosen(rankings: list[Ranking], **settings: float) -> tuple[list[int], dict[str, int]]:
    found = choose_negatives(rankings, [0], TEXTS.__getitem__, NegativesConfig(**settings))  # type: ignore[arg-type]
    assert found.excluded.pop("known positive") == 1, "the positive itself ranks first"
    return found.rows, dict(found.excluded)


def test_repetitions_of_positives_and_of_negatives_are_left_out() -> None:
    rows, excluded = chosen([ranked([1, 2, 3, 6, 4], [0.9, 0.9, 0.5, 0.5, 0.4])])
    assert rows == [3, 4]
    assert excluded == {"duplicate": 2, "near-duplicate": 1}


def test_likely_false_negatives() -> None:
    rows, excluded = chosen([ranked([3, 4, 5], [0.96, 0.95, 0.2])], max_share=0.95)
    assert rows == [4, 5]
    assert excluded == {"likely false negative": 1}
    assert chosen([ranked([3, 4], [1.2, 0.99])], max_share=1.0) == ([3, 4], {})


def test_any_member_can_call_a_passage_a_false_negative() -> None:
    lenient, strict = ranked([3, 4], [0.5, 0.4]), ranked([5, 3], [0.2, 0.99])
    for rankings in ([lenient, strict], [strict, lenient]):
        rows, excluded = chosen(rankings)
        assert sorted(rows) == [4, 5] and excluded == {"likely false negative": 1}


def test_members_take_turns_and_share_no_passage() -> None:
    rows, _ = chosen([ranked([3, 4], [0.5, 0.4]), ranked([4, 5], [7.0, 6.0], positive=20.0)])
    assert rows == [3, 4, 5]


def test_number_and_depth() -> None:
    ranking = ranked([3, 4, 5], [0.5, 0.4, 0.3])
    assert chosen([ranking], number=1)[0] == [3]
    assert chosen([ranking], number=0)[0] == []
    assert chosen([ranking], first=2)[0] == [4, 5]
    assert chosen([ranking], first=2, last=2)[0] == [4]
    assert chosen([ranking], first=9, last=9)[0] == []


def test_a_positive_below_the_depth_is_not_counted() -> None:
    low = Ranking(np.array([50]), np.array([1.0], np.float32), np.array([3]), np.array([0.5], np.float32))
    assert not choose_negatives([low], [0], TEXTS.__getitem__, NegativesConfig(last=49)).excluded


def test_overlap() -> None:
    assert overlap({("a",), ("b",)}, {("b",), ("c",)}) == pytest.approx(1 / 3)
    assert overlap(set(), set()) == 0.0


@pytest.mark.parametrize(
    "settings", [{"number": -1}, {"first": 0}, {"first": 5, "last": 4}, {"max_share": 0.0}, {"max_overlap": 1.5}]
)
def test_settings_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        NegativesConfig(**settings)  # type: ignore[arg-type]

"""Verdicts on hand-made opinions, and a whole batch by a member that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.synthesis.config import RefineConfig
from o1_retriever.synthesis.questions import Question
from o1_retriever.synthesis.ranking import Ranking
from o1_retriever.synthesis.refine import Opinion, decide, from_json, refine, to_json


def opinion(margins: list[float], alone: float, similarity: list[float] | None = None) -> Opinion:
    scores = {"similarity": similarity or [0.0] * len(margins), "rank": [0.5] * len(margins), "margin": margins}
    return Opinion(scores, {"rank": 0.5, "margin": alone})  # type: ignore[arg-type]


def test_the_majority_wins() -> None:
    opinions = {"a": opinion([0.1, 0.3], 0.0), "b": opinion([0.1, 0.2], 0.0), "c": opinion([0.9, 0.2], 0.0)}
    verdict = decide(opinions, 2, RefineConfig(vote_on="margin"))
    assert (verdict.order, verdict.rejected) == ([1, 0], [])
    # standardised: (-1, 1), (-1, 1), (1, -1)
    assert verdict.merits == pytest.approx([1 / 3, -1 / 3])


def test_vote_on_decides_what_is_compared() -> None:
    opinions = {"a": opinion([0.1, 0.3], 0.0, similarity=[0.9, 0.1])}
    assert decide(opinions, 2, RefineConfig(vote_on="similarity")).order == [0, 1]
    assert decide(opinions, 2, RefineConfig(vote_on="margin")).order == [1, 0]
    assert decide(opinions, 2, RefineConfig(vote_on="rank")).order == [1, 0], "margins decide between equal ranks"
    ranks = {"similarity": [0.0, 0.0], "rank": [1.0, 0.5], "margin": [0.1, 0.3]}
    better = {"a": Opinion(ranks, {"rank": 0.1, "margin": 0.0})}  # type: ignore[arg-type]
    assert decide(better, 2, RefineConfig(vote_on="rank")).order == [0, 1], "and only between those"


def test_worse_than_no_thought_for_more_than_half_is_rejected() -> None:
    opinions = {"a": opinion([0.1, 0.3, 0.9], 0.2), "b": opinion([0.1, 0.1, 0.9], 0.2)}
    verdict = decide(opinions, 3, RefineConfig(vote_on="margin", reject_by="margin"))
    assert verdict.rejected == [0], "one of two is not more than half"
    assert verdict.order == [2, 1]
    assert decide(opinions, 3, RefineConfig(reject_worse=False)).rejected == []
    assert decide(opinions, 3, RefineConfig(reject_by="rank")).rejected == [], "equal ranks are not worse"


def test_all_rejected_leaves_no_thought() -> None:
    verdict = decide({"a": opinion([0.1, 0.0], 0.2)}, 2, RefineConfig(reject_by="margin"))
    assert (verdict.order, verdict.merits, verdict.rejected) == ([], [], [0, 1])
    assert decide({"a": opinion([], 0.2)}, 0, RefineConfig()).order == []


class LengthMember:
    """Ranks by what is asked: the positive's score is the text's length, every other passage scores 10."""

    fingerprint = "length"

    def __init__(self, name: str = "length") -> None:
        self.name, self.batches = name, 0

    def prepare(self, passages: Sequence[str]) -> None:
        pass

    def similarity(self, candidates: Sequence[str], positives: Sequence[Sequence[int]]) -> list[float]:
        return [float(len(text)) for text in candidates]

    def rank(
        self,
        queries: Sequence[str],
        candidates: Sequence[str | None],
        positives: Sequence[Sequence[int]],
        depth: int,
    ) -> list[Ranking]:
        self.batches += 1
        lengths = [len(query) + len(text or "") for query, text in zip(queries, candidates, strict=True)]
        ten = np.array([10.0], dtype=np.float32)
        return [
            Ranking(np.array([1 if n >= 10 else 2]), np.array([n], dtype=np.float32), np.array([0]), ten)
            for n in lengths
        ]


def test_a_batch_goes_through_a_member_together_and_stays_apart() -> None:
    member = LengthMember()
    questions = [Question("q1", "12345", (1,)), Question("q2", "1234567", (2,)), Question("q3", "1", (3,))]
    verdicts = refine(questions, [["abc", "abcdefg"], [], ["a"]], [member], RefineConfig())
    assert member.batches == 1
    first, second, third = (verdict.opinions["length"] for verdict in verdicts)
    assert first.scores == {"similarity": [3.0, 7.0], "rank": [0.5, 1.0], "margin": [-2.0, 2.0]}
    assert first.alone == {"rank": 0.5, "margin": -5.0}
    assert second.scores == {"similarity": [], "rank": [], "margin": []}
    assert third.scores["margin"] == [-8.0]
    assert [verdict.order for verdict in verdicts] == [[1, 0], [], [0]]
    assert [from_json(to_json(verdict)) for verdict in verdicts] == verdicts


def test_members_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="different names"):
        refine([], [], [LengthMember("a"), LengthMember("a")], RefineConfig())


@pytest.mark.parametrize(
    "settings", [{"vote_on": "taste"}, {"rule": "dice"}, {"reject_by": "similarity"}, {"hardest": 0}]
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        RefineConfig(**settings)  # type: ignore[arg-type]

"""How passages are ranked: by vectors, by words, or by both. Settings only; the work is in `searching.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from o1_retriever.config import require
from o1_retriever.rank_fusion import check_weight

Mode = Literal["dense", "lexical", "hybrid"]
Fusion = Literal["scores", "reciprocal_rank"]
SCORES_WEIGHT, RANKS_WEIGHT = 0.4, 1.0


@dataclass(frozen=True)
class Ranking:
    """How to rank.

    Attributes:
        mode: "dense" by the vectors' cosine, "lexical" by BM25, "hybrid" by both.
        lexical_weight: of the lexical side of a hybrid search, 0 or more; None: 0.4 for scores, 1 for ranks.
        fusion: how a hybrid search joins its sides: "scores" adds `lexical_weight * BM25 / highest BM25` to the cosine,
            "reciprocal_rank" adds reciprocal ranks (see `o1_retriever.rank_fusion`).
    """

    mode: Mode = "dense"
    lexical_weight: float | None = None
    fusion: Fusion = "scores"

    def __post_init__(self) -> None:
        require(self.mode in get_args(Mode), f"mode must be one of {', '.join(get_args(Mode))}, got {self.mode!r}.")
        require(
            self.fusion in get_args(Fusion),
            f"fusion must be one of {', '.join(get_args(Fusion))}, got {self.fusion!r}.",
        )
        if self.lexical_weight is not None:
            check_weight("lexical_weight", self.lexical_weight)

    @property
    def weight(self) -> float:
        """The weight to use."""
        if self.lexical_weight is not None:
            return self.lexical_weight
        return SCORES_WEIGHT if self.fusion == "scores" else RANKS_WEIGHT

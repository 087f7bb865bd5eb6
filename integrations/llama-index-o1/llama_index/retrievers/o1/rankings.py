"""Several result lists for one query become one. Knows nodes; how lists are fused is the engine's `rank_fusion`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from llama_index.core.schema import NodeWithScore

from o1_retriever.config import require, require_int
from o1_retriever.rank_fusion import check_weight, reciprocal_rank_fusion


@dataclass(frozen=True)
class FusionSettings:
    """What is fused, and how deep the lists are.

    Attributes:
        fusion: "reciprocal_rank" fuses the list of the pooled vector with those of the single thoughts' vectors; None
            searches by the pooled vector alone.
        lexical_weight: of a lexical list among the others, which have 1.
        fetch_k: nodes of each list that is fused, at least those wanted.
    """

    fusion: Literal["reciprocal_rank"] | None = None
    lexical_weight: float = 1.0
    fetch_k: int = 50

    def __post_init__(self) -> None:
        require(
            self.fusion in (None, "reciprocal_rank"), f"fusion must be None or 'reciprocal_rank', got {self.fusion!r}."
        )
        check_weight("lexical_weight", self.lexical_weight)
        require_int("fetch_k", self.fetch_k, 1)


def fuse(lists: Sequence[Sequence[NodeWithScore]], weights: Sequence[float], top_k: int) -> list[NodeWithScore]:
    """Reciprocal rank fusion.

    Args:
        lists: each best first; a node is the same where its id is.
        weights: one for each list.
        top_k: nodes to return.

    Returns:
        New `NodeWithScore`s, best first, with the fused score; of a node in several lists the first list's.
    """
    found: dict[str, NodeWithScore] = {}
    for results in lists:
        for result in results:
            found.setdefault(result.node_id, result)
    ids = [list(dict.fromkeys(result.node_id for result in results)) for results in lists]
    best = islice(reciprocal_rank_fusion(ids, weights).items(), top_k)
    return [NodeWithScore(node=found[node_id].node, score=score) for node_id, score in best]

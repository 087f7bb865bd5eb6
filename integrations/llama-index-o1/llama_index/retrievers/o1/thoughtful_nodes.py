"""Thoughts in the metadata of the nodes they found: for people to see, not for language models or for embedding.

The nodes are copies: those in the store know nothing of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore

THOUGHTS = "o1_thoughts"
"""Metadata key: the list of the query's thoughts; empty for a query embedded alone."""
DEGRADED = "o1_degraded"
"""Metadata key: there and True where the thinker was unavailable and the query was embedded alone."""
_OURS = (THOUGHTS, DEGRADED)


class ThoughtfulMetadata(dict[str, Any]):
    """A node's metadata whose `str` leaves the thoughts out.

    LlamaIndex hashes that `str` to find out whether two text nodes are the same, as when results of several
    retrievers or of several queries are fused: the same passage must stay the same whatever was thought about it.
    """

    def __str__(self) -> str:
        return str({key: value for key, value in self.items() if key not in _OURS})


def with_thoughts(found: Sequence[NodeWithScore], thoughts: Sequence[str], degraded: bool) -> list[NodeWithScore]:
    """Copies of the nodes that carry the thoughts."""
    ours = {THOUGHTS: thoughts, DEGRADED: True} if degraded else {THOUGHTS: thoughts}
    return [NodeWithScore(node=_copy(result.node, ours), score=result.score) for result in found]


def _copy(node: BaseNode, ours: dict[str, Any]) -> BaseNode:
    own = {key: list(value) if key == THOUGHTS else value for key, value in ours.items()}
    return node.model_copy(
        update={
            "metadata": ThoughtfulMetadata({**node.metadata, **own}),
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, *own],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, *own],
        }
    )

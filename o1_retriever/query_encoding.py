"""Queries and their thoughts to vectors: read from the cache of a model that thinks itself, or encoded where given.

Both ways end in the same pooling. Knows token ids and vectors; knows nothing of other thinkers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from o1_retriever import pooling
from o1_retriever.config import O1Config, ThinkingConfig
from o1_retriever.encoding import PassageEncoder
from o1_retriever.thinking import SelfThinker

Array = NDArray[np.float32]


@dataclass(frozen=True)
class QueryEncoding:
    """Vectors of queries and the thoughts behind them.

    Attributes:
        vectors: (B, D) float32, unit length.
        thoughts: B lists of K texts; an empty list where the query was embedded alone.
        thought_vectors: B arrays (K, D), the vectors before pooling; (1, D) for a query alone.
        degraded: B flags: the thinker was unavailable and the query was embedded alone.
    """

    vectors: Array
    thoughts: list[list[str]]
    thought_vectors: list[Array]
    degraded: list[bool]


class QueryEncoder:
    """Two ways from prompts to pooled vectors.

    Args:
        thinker: the model as its own thinker; brings the prompts and the context.
        encoder: token ids to vectors.
        config: the limit of thoughts and the aggregation.
        count_truncated: called with ("thought", how many were cut, limit).
    """

    def __init__(
        self,
        thinker: SelfThinker,
        encoder: PassageEncoder,
        config: O1Config,
        count_truncated: Callable[[str, int, int], None],
    ) -> None:
        self.thinker, self.encoder, self.prompts, self.config = thinker, encoder, thinker.prompts, config
        self._aggregate = pooling.aggregation(config.aggregation)
        self._count = count_truncated

    def own(self, texts: list[str], prompts: list[list[int]], settings: ThinkingConfig) -> QueryEncoding:
        """The model thinks by itself; vectors come from the cache it thought on."""
        ids, vectors = self.thinker.think(texts, prompts, settings)
        pooled = self._aggregate(vectors)
        thoughts = [[self.prompts.thought_text(thought) for thought in row] for row in ids]
        return QueryEncoding(pooled.numpy(), thoughts, [v.numpy() for v in vectors], [False] * len(texts))

    def given(self, prompts: list[list[int]], thoughts: list[list[str]], degraded: list[bool]) -> QueryEncoding:
        """Encodes each prompt with each of its thoughts, or alone where it has none, and pools."""
        rows: list[list[int]] = []
        for prompt, texts in zip(prompts, thoughts, strict=True):
            room = min(self.config.max_thought_tokens, self.thinker.context - len(prompt) - 2)
            encoded = self.prompts.text_ids(texts, room)
            self._count("thought", encoded.truncated, room)
            rows.extend([self.prompts.close(prompt, ids) for ids in encoded.ids] or [self.prompts.close(prompt, None)])
        vectors = self.encoder.encode(rows)
        parts: list[Tensor] = list(torch.split(vectors, [max(1, len(texts)) for texts in thoughts])) if rows else []
        pooled = torch.cat([self._aggregate(part[None]) for part in parts]) if parts else vectors
        return QueryEncoding(pooled.numpy(), thoughts, [part.numpy() for part in parts], degraded)

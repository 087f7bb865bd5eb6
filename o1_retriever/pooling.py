"""From vectors to a vector: pure functions of tensors. The place for further aggregations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from o1_retriever.errors import InvalidInputError


def last_token(hidden: Tensor, last: Tensor) -> Tensor:
    """Unit vectors at each row's last token, the `<emb>` (paper, section 3.1).

    Args:
        hidden: (B, T, D) final hidden states, any float dtype.
        last: (B,) index of each row's last real token.

    Returns:
        (B, D) float32, unit length.
    """
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return normalize(hidden[rows, last].float(), dim=-1)


def mean(vectors: Tensor) -> Tensor:
    """Normalised mean of the K thought vectors of each query: v = normalize(sum_k v_k / K) (paper, equation 3).

    Args:
        vectors: (B, K, D), K >= 1.

    Returns:
        (B, D), unit length.
    """
    return normalize(vectors.mean(dim=1), dim=-1)


AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean}


def aggregation(name: str) -> Callable[[Tensor], Tensor]:
    """Looks an aggregation up by name.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name not in AGGREGATIONS:
        raise InvalidInputError(f"Unknown aggregation {name!r}; known are {sorted(AGGREGATIONS)}.")
    return AGGREGATIONS[name]

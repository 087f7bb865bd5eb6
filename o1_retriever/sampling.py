"""Sampling one token per row. Knows logits and random keys; knows nothing of models, caches or text.

Nucleus sampling without sorting the vocabulary: the 64 largest logits are found, and because the normaliser is taken
over the whole vocabulary the mass they leave out is exact. Where the nucleus reaches further, one uniform number
decides whether the token is among those 64 at all, then among the next ones up to 1,024; only the rows left over look
at the whole vocabulary, where a number beyond the nucleus' mass means a new draw from all of the nucleus (rejection
sampling). Inside a block the draw is Gumbel-max, argmax_j (l_j / temperature + g_j), which samples from
softmax(l / temperature); g_j is a hash of (row key, step, token id), so a draw depends on nothing else in the batch
and no generator is touched.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from o1_retriever.config import ThinkingConfig

PARTIAL = (64, 1024)
"""How many of the largest logits are tried before the whole vocabulary."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_key(seed: int, query: str, index: int) -> int:
    """64-bit key of thought `index` of `query`: what all its random numbers derive from."""
    digest = hashlib.sha256(f"{seed}\x1f{index}\x1f{query}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), elementwise."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def gumbel(keys: NDArray[np.uint64], steps: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard Gumbel noise for each candidate token.

    Args:
        keys: (N,) row keys.
        steps: (N,) position of the token in its thought.
        tokens: (N, M) token ids.

    Returns:
        (N, M) float64, a function of (key, step, token id) alone.
    """
    with np.errstate(over="ignore"):
        state = _mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * _GOLDEN)[:, None]
        bits = _mix(state + (tokens.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(-np.log(-np.log(uniform)), dtype=np.float64)


def uniform(keys: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) numbers in (0, 1), independent of the noise of `gumbel` for the same key and step."""
    with np.errstate(over="ignore"):
        bits = _mix(_mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * _GOLDEN))
    return np.asarray(((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """Logits / temperature, the largest of each row at 0 and none below -80.

    A probability of e^-80 is never drawn, and the exponentials of what lies lower are denormal numbers, which are slow.
    """
    return (logits - logits.amax(dim=-1, keepdim=True)).div_(temperature).clamp_(min=-80.0)


def _block(
    scaled: Tensor, log_z: Tensor, config: ThinkingConfig, u: Tensor, previous: int, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The `size` likeliest tokens, of which only those stay in the draw that the row's number u points at.

    Args:
        scaled: (N, V) logits / temperature.
        log_z: (N,) their logsumexp.
        config: top_p and top_k.
        u: (N,) numbers that were not below the mass of the `previous` likeliest tokens.
        previous: tokens looked at before; they lie inside the nucleus.
        size: tokens to look at now.

    Returns:
        scores (N, size) with -inf for what is out, token ids (N, size), done (N,) bool: u or the nucleus ends here.
    """
    values, tokens = torch.topk(scaled, size, dim=-1)
    if config.top_k:
        log_z = torch.logsumexp(values, dim=-1)
    probabilities = torch.exp(values - log_z[:, None])
    inside = probabilities.cumsum(dim=-1) - probabilities < config.top_p
    inside[:, 0] = True
    mass = (probabilities * inside).sum(dim=-1)
    here = u < mass
    complete = (probabilities.sum(dim=-1) >= config.top_p) | (size == scaled.shape[-1]) | bool(config.top_k)
    inside[:, :previous] &= ~here[:, None]  # u at or beyond the nucleus' mass: drawn anew from all of it
    return values.masked_fill(~inside, -torch.inf), tokens, complete | here


def sample(
    logits: Tensor, keys: NDArray[np.uint64], steps: NDArray[np.int64], config: ThinkingConfig
) -> NDArray[np.int64]:
    """Draws one token per row by temperature, then top-k, then top-p (the order of transformers).

    Args:
        logits: (N, V), any float dtype.
        keys: (N,) row keys from `row_key`.
        steps: (N,) position of the token in its thought.
        config: temperature, top_p and top_k.

    Returns:
        (N,) token ids.
    """
    if config.temperature == 0:
        return np.asarray(logits.argmax(dim=-1).cpu().numpy(), dtype=np.int64)
    scaled = _scaled(logits.float(), config.temperature)
    vocabulary = scaled.shape[-1]
    log_z = scaled.exp().sum(dim=-1).log()
    chosen = np.empty(len(keys), dtype=np.int64)
    waiting, previous = np.arange(len(keys)), 0
    for size in [config.top_k] if config.top_k else [*PARTIAL, vocabulary]:
        u = torch.as_tensor(uniform(keys[waiting], steps[waiting]), dtype=scaled.dtype, device=scaled.device)
        values, tokens, ready = _block(scaled, log_z, config, u, previous, min(size, vocabulary))
        done = ready.cpu().numpy()
        chosen[waiting[done]] = _draw(values[ready], tokens[ready], keys[waiting[done]], steps[waiting[done]])
        if done.all():
            break
        waiting, scaled, log_z, previous = waiting[~done], scaled[~ready], log_z[~ready], size
    return chosen


def _draw(values: Tensor, tokens: Tensor, keys: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gumbel-max over the candidates left."""
    ids = tokens.cpu().numpy()
    best = (values.cpu().double().numpy() + gumbel(keys, steps, ids)).argmax(axis=-1)
    return np.asarray(np.take_along_axis(ids, best[:, None], axis=-1)[:, 0], dtype=np.int64)

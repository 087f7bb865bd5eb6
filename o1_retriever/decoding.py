"""Fused thinking: K thoughts per query are sampled on a live key-value cache, their vectors read from the same cache.

    prefill   one forward pass over the B left-padded prompts
    expand    each prompt's cache becomes K rows
    step      every row takes its next token: a sampled one; after EOS (sampled, or forced at the limit) `<emb>`
    read      the hidden state at `<emb>` is the thought's vector; the row leaves the batch

Nothing is decoded to text, tokenised or encoded twice. Knows token ids; knows nothing of text or templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from o1_retriever.config import ThinkingConfig
from o1_retriever.kv_cache import PreallocatedCache
from o1_retriever.sampling import sample

_NOTHING = torch.empty(0, dtype=torch.long)
"""As `logits_to_keep`: the language-model head is not computed at all."""


@dataclass(frozen=True)
class StopTokens:
    """The ids that end a thought and read its vector, the padding id, and the ids no thought may hold."""

    eos: int
    emb: int
    pad: int
    banned: tuple[int, ...] = ()


class FusedDecoder:
    """Decodes one batch of prompts; made for one use. Rows are numbered query-major: row = query * K + thought.

    Args:
        model: a causal LM in eval mode.
        prompts: B lists of token ids.
        keys: (B, K) row keys of the random numbers (see `sampling.row_key`).
        limits: B numbers of thought tokens at most.
        config: temperature, top_p and top_k; the number of thoughts is the shape of `keys`.
        stop: EOS, `<emb>` and padding ids.
        forced_lengths: (B * K,) end each thought after exactly so many tokens; for benchmarks, None otherwise.

    Attributes:
        thoughts: B * K lists of token ids, EOS left out; complete after `run`.
        vectors: (B * K, D) float32 unit vectors on the CPU; complete after `run`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        keys: NDArray[np.uint64],
        limits: Sequence[int],
        config: ThinkingConfig,
        stop: StopTokens,
        forced_lengths: Sequence[int] | None = None,
    ) -> None:
        self.model, self.config, self.stop = model, config, stop
        self.prompts, self.repeats = prompts, keys.shape[1]
        self.keys = keys.reshape(-1)
        self.forced = None if forced_lengths is None else np.asarray(forced_lengths)
        self.limits = np.repeat(np.asarray(limits), self.repeats) if self.forced is None else self.forced
        self.thoughts: list[list[int]] = [[] for _ in self.keys]
        self.vectors = torch.empty(len(self.keys), 0)

    def run(self) -> None:
        """Decodes to the end; results are in `thoughts` and `vectors`."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[list[tuple[int, int]]]:
        """Decodes step by step; yields the (row, token id) pairs just written, EOS included."""
        logits = self._prefill()
        while len(self.rows):
            tokens = self._next_tokens(logits)
            thinking = (tokens != self.stop.emb) | (self.last != self.stop.eos)
            written = [(int(row), int(token)) for row, token in zip(self.rows[thinking], tokens[thinking], strict=True)]
            logits, hidden = self._feed(tokens)
            self._read(tokens, hidden)
            logits = self._leave(tokens, logits)
            yield written

    @torch.inference_mode()
    def _prefill(self) -> Tensor:
        """One pass over the left-padded prompts; returns logits (B * K, V) of the first thought token."""
        width = max(len(prompt) for prompt in self.prompts)
        ids = torch.tensor([[self.stop.pad] * (width - len(p)) + list(p) for p in self.prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in self.prompts])
        device = self.model.device
        output = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(device),
            past_key_values=DynamicCache(),
            use_cache=True,
            logits_to_keep=1,
        )
        capacity = width + int(self.limits.max()) + 2
        self.cache = PreallocatedCache(output.past_key_values, self.repeats, capacity)
        self.mask = torch.ones(len(self.keys), capacity, dtype=torch.long, device=device)
        self.mask[:, :width] = mask.to(device).repeat_interleave(self.repeats, dim=0)
        self.padded = bool((mask == 0).any())
        self.rows = np.arange(len(self.keys))
        self.last = np.full(len(self.keys), -1)
        self.positions = mask.sum(dim=1).repeat_interleave(self.repeats)
        return torch.as_tensor(output.logits[:, -1].repeat_interleave(self.repeats, dim=0))

    @torch.inference_mode()
    def _next_tokens(self, logits: Tensor) -> NDArray[np.int64]:
        """(N,) tokens to feed: `<emb>` after an EOS, EOS at the limit, a sample elsewhere."""
        lengths = np.array([len(self.thoughts[row]) for row in self.rows])
        after_eos = self.last == self.stop.eos
        tokens = np.where(after_eos, self.stop.emb, self.stop.eos)
        open_rows = np.flatnonzero(~after_eos & (lengths < self.limits[self.rows]))
        if len(open_rows):
            chosen = logits if len(open_rows) == len(self.rows) else logits[torch.as_tensor(open_rows)]
            banned = [*self.stop.banned, *([] if self.forced is None else [self.stop.eos])]
            chosen[:, banned] = -torch.inf
            tokens[open_rows] = sample(chosen, self.keys[self.rows[open_rows]], lengths[open_rows], self.config)
        for index in open_rows:
            if tokens[index] != self.stop.eos:
                self.thoughts[self.rows[index]].append(int(tokens[index]))
        return np.asarray(tokens, dtype=np.int64)

    @torch.inference_mode()
    def _feed(self, tokens: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """One token per row through the model; returns logits (N, V) and final hidden states (N, D).

        Where no row will sample from them, the head is not computed and there are no logits: (0, V).
        Hidden states are asked for only where a vector will be read: collecting them costs time at every layer.
        """
        device = self.model.device
        length = self.cache.get_seq_length() + 1
        output = self.model(
            input_ids=torch.as_tensor(tokens, device=device)[:, None],
            attention_mask=self.mask[: len(tokens), :length] if self.padded else None,
            position_ids=self.positions[:, None].to(device),
            past_key_values=self.cache,
            use_cache=True,
            output_hidden_states=bool(self._done(tokens).any()),
            logits_to_keep=1 if self._sampling_follows(tokens) else _NOTHING,
        )
        self.positions = self.positions + 1
        return output.logits.flatten(0, 1), output.hidden_states[-1][:, -1] if output.hidden_states else None

    def _sampling_follows(self, tokens: NDArray[np.int64]) -> bool:
        """Whether any row goes on thinking after these tokens: neither EOS nor `<emb>` nor the last it may have."""
        lengths = np.array([len(self.thoughts[row]) for row in self.rows])
        return bool(((tokens != self.stop.eos) & ~self._done(tokens) & (lengths < self.limits[self.rows])).any())

    @torch.inference_mode()
    def _read(self, tokens: NDArray[np.int64], hidden: Tensor | None) -> None:
        """Keeps the vectors of the rows that were just fed `<emb>` after EOS."""
        done = self._done(tokens)
        if hidden is None:
            return
        vectors = normalize(hidden[torch.as_tensor(np.flatnonzero(done))].float(), dim=-1).cpu()
        if self.vectors.shape[1] == 0:
            self.vectors = torch.empty(len(self.keys), vectors.shape[1])
        self.vectors[torch.as_tensor(self.rows[done])] = vectors

    def _done(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((tokens == self.stop.emb) & (self.last == self.stop.eos))

    @torch.inference_mode()
    def _leave(self, tokens: NDArray[np.int64], logits: Tensor) -> Tensor:
        """Takes finished rows out of the batch; returns the logits of the rows that stay."""
        done = self._done(tokens)
        self.last = tokens
        if not done.any():
            return logits
        order = self.cache.drop(torch.as_tensor(done), len(self.rows))
        kept = order.numpy()
        self.rows, self.last, self.positions = self.rows[kept], self.last[kept], self.positions[order]
        self.mask[: len(order)] = self.mask[order.to(self.mask.device)]
        return logits[order.to(logits.device)] if len(logits) else logits

"""The model as its own thinker: queries in, thoughts with their vectors out. Batches the work for `decoding.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from o1_retriever.config import ThinkingConfig
from o1_retriever.decoding import FusedDecoder, StopTokens
from o1_retriever.errors import OutOfMemoryError
from o1_retriever.prompts import PromptBuilder
from o1_retriever.sampling import row_key


@dataclass(frozen=True)
class ThoughtDelta:
    """A piece of a thought, as it is written.

    Attributes:
        query_index: which query of the call.
        thought_index: which of its K thoughts.
        text: what was added; may be empty while a character is incomplete.
        done: the thought is complete.
    """

    query_index: int
    thought_index: int
    text: str
    done: bool


class SelfThinker:
    """Samples thoughts from the model and reads their vectors from the same cache.

    Args:
        model: causal LM in eval mode.
        prompts: builds its token ids.
        context: positions the model has.
        max_rows: thoughts decoded side by side at most.
    """

    def __init__(self, model: PreTrainedModel, prompts: PromptBuilder, context: int, max_rows: int) -> None:
        self.model, self.prompts, self.context, self.max_rows = model, prompts, context, max_rows
        banned = tuple(sorted(prompts.reserved - {prompts.eos}))
        self.stop = StopTokens(eos=prompts.eos, emb=prompts.emb, pad=prompts.pad, banned=banned)

    def think(
        self, queries: Sequence[str], prompts: Sequence[list[int]], config: ThinkingConfig
    ) -> tuple[list[list[list[int]]], Tensor]:
        """Thoughts and vectors of all queries.

        Args:
            queries: B texts; with the seed they decide the random numbers.
            prompts: their B token-id prompts.
            config: K and the sampling settings.

        Returns:
            B x K lists of token ids (EOS left out), and (B, K, D) float32 unit vectors.

        Raises:
            OutOfMemoryError: not even one query fits.
        """
        thoughts: list[list[list[int]]] = [[] for _ in prompts]
        vectors: list[Tensor | None] = [None] * len(prompts)
        per_batch = max(1, self.max_rows // config.num_thoughts)
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        while order:
            batch, order = order[:per_batch], order[per_batch:]
            decoder = self._decoder([queries[i] for i in batch], [prompts[i] for i in batch], config)
            try:
                decoder.run()
            except torch.OutOfMemoryError as error:
                order, per_batch = batch + order, self._shrink(len(batch), error)
                continue
            k = config.num_thoughts
            for position, index in enumerate(batch):
                thoughts[index] = decoder.thoughts[position * k : (position + 1) * k]
                vectors[index] = decoder.vectors[position * k : (position + 1) * k]
        return thoughts, torch.stack([v for v in vectors if v is not None])

    def stream(
        self, queries: Sequence[str], prompts: Sequence[list[int]], config: ThinkingConfig
    ) -> Iterator[ThoughtDelta]:
        """The same thoughts, token by token, all queries side by side."""
        decoder = self._decoder(queries, prompts, config)
        shown = [""] * len(decoder.thoughts)
        for written in decoder.steps():
            for row, token in written:
                done = token == self.stop.eos
                text = self.prompts.thought_text(decoder.thoughts[row])
                if not done and text.endswith("\ufffd"):
                    continue  # half of a multi-byte character: wait for the rest
                query, thought = divmod(row, config.num_thoughts)
                yield ThoughtDelta(query, thought, text[len(shown[row]) :], done)
                shown[row] = text

    def _decoder(self, queries: Sequence[str], prompts: Sequence[list[int]], config: ThinkingConfig) -> FusedDecoder:
        keys = [[row_key(config.seed, query, i) for i in range(config.num_thoughts)] for query in queries]
        limits = [min(config.max_new_tokens, self.context - len(prompt) - 2) for prompt in prompts]
        return FusedDecoder(self.model, prompts, np.array(keys, dtype=np.uint64), limits, config, self.stop)

    @staticmethod
    def _shrink(batch: int, error: torch.OutOfMemoryError) -> int:
        if batch == 1:
            raise OutOfMemoryError(
                "One query does not fit into memory: lower num_thoughts or max_new_tokens, or use another device."
            ) from error
        return batch // 2

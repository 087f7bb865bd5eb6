"""Writing with a chat model of transformers: batches of prompts in, token ids out, random numbers of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from o1_retriever.config import ThinkingConfig
from o1_retriever.errors import CheckpointError, OutOfMemoryError
from o1_retriever.sampling import sample

_NEUTRAL = {
    "do_sample": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
}
"""What `generate` would otherwise take from the model's own generation_config.json; the sampling is ours."""


@dataclass(frozen=True)
class Prompt:
    """What one answer is written from.

    Attributes:
        ids: token ids of the prompt.
        key: decides the random numbers (see `sampling.row_key`).
    """

    ids: list[int]
    key: int


class ChatGenerator:
    """Samples answers from a causal language model, in batches padded on the left.

    Args:
        model: in eval mode.
        tokenizer: its own; names the token that ends an answer.
        sampling: temperature, top_p, top_k and max_new_tokens.
        batch_rows: answers written side by side at most.

    Raises:
        CheckpointError: no token ends an answer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: ThinkingConfig,
        batch_rows: int,
    ) -> None:
        self.model, self.sampling, self.batch_rows = model, sampling, batch_rows
        self._ends = _end_tokens(model, tokenizer)
        self._pad = self._ends[0] if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)

    def write(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each answer, without the token that ends it.

        Prompts of similar length share a batch; one that does not fit into memory is halved.

        Raises:
            OutOfMemoryError: not even one answer fits.
        """
        answers: list[list[int]] = [[] for _ in prompts]
        order, size = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids)), self.batch_rows
        while order:
            batch = order[:size]
            try:
                written = self._generate([prompts[index] for index in batch])
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise OutOfMemoryError(
                        "One answer does not fit into memory: use a smaller model, another dtype or another device."
                    ) from error
                size = len(batch) // 2
                continue
            for index, ids in zip(batch, written, strict=True):
                answers[index] = ids
            order = order[len(batch) :]
        return answers

    @torch.no_grad()
    def _generate(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each answer, from one left-padded batch."""
        width = max(len(prompt.ids) for prompt in prompts)
        ids = torch.tensor([[self._pad] * (width - len(prompt.ids)) + prompt.ids for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts])
        keys = np.array([prompt.key for prompt in prompts], dtype=np.uint64)
        output = self.model.generate(  # type: ignore[operator]
            ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            generation_config=GenerationConfig(
                **_NEUTRAL,
                max_new_tokens=self.sampling.max_new_tokens,
                eos_token_id=self._ends,
                pad_token_id=self._pad,
            ),
            logits_processor=LogitsProcessorList([_Draw(keys, width, self.sampling)]),
        )
        return [_until(row, self._ends) for row in output[:, width:].tolist()]


class _Draw(LogitsProcessor):
    """Makes the greedy choice of `generate` our draw: only the sampled token keeps a finite score.

    Args:
        keys: (N,) row keys.
        width: tokens of the padded prompt.
        sampling: temperature, top_p and top_k.
    """

    def __init__(self, keys: NDArray[np.uint64], width: int, sampling: ThinkingConfig) -> None:
        self.keys, self.width, self.sampling = keys, width, sampling

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        steps = np.full(len(self.keys), input_ids.shape[1] - self.width)
        drawn = torch.as_tensor(sample(scores, self.keys, steps, self.sampling), device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that ends an answer: the model may name several, and the tokenizer another one."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    named = configured if isinstance(configured, list) else [configured]
    ends = [int(index) for index in [*named, tokenizer.eos_token_id, tokenizer.sep_token_id] if index is not None]
    if not ends:
        raise CheckpointError("The model has no end-of-sequence token: set tokenizer.eos_token and save it again.")
    return list(dict.fromkeys(ends))


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids before the first that ends the answer."""
    return next((ids[:position] for position, index in enumerate(ids) if index in ends), ids)

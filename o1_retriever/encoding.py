"""From token ids to vectors: length-sorted batches under a token budget. Knows nothing of text or templates.

Rows are padded on the right and computed without a padding mask: a causal model's real tokens never see what comes
after them, so the vectors equal those of left-padded, masked rows, and attention takes its fastest path.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from o1_retriever.config import Precision
from o1_retriever.errors import OutOfMemoryError
from o1_retriever.pooling import last_token

logger = logging.getLogger(__name__)

WIDTH_STEP = 8
"""Rows are padded to a multiple of this many tokens: a CPU keeps a compiled kernel for every shape it meets, so a few
shapes that come again keep memory flat, for 3% more tokens."""


def fast_precision_available(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are fast on this device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast for "fast" where the device has it; does nothing otherwise."""
    if precision == "fast" and fast_precision_available(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def context_of(model: PreTrainedModel) -> int:
    """Positions the model has; a very large number for models without a limit."""
    return int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)


def padded_width(longest: int) -> int:
    """Tokens of a padded row: `longest` rounded up to a multiple of `WIDTH_STEP`."""
    return -(-longest // WIDTH_STEP) * WIDTH_STEP


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices of each batch, longest rows first, so that rows x padded width stays within the budget.

    A row longer than the budget is a batch of its own. Longest first: memory is short at the start or never.

    >>> list(batches([5, 20, 9, 12], token_budget=32))
    [[1], [3, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        rows = max(1, token_budget // padded_width(max(1, lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


class PassageEncoder:
    """Encodes token-id rows with one model; holds no state between calls.

    Args:
        model: a causal LM in eval mode.
        pad: padding token id.
        token_budget: tokens of a batch at most, padding included.
        precision: see `EncodingConfig`.
    """

    def __init__(self, model: PreTrainedModel, pad: int, token_budget: int, precision: Precision = "full") -> None:
        self.backbone: torch.nn.Module = model.base_model
        self.device, self.dimension = model.device, int(model.config.hidden_size)
        self.context = context_of(model)
        self.pad, self.token_budget, self.precision = pad, token_budget, precision

    def encode(self, rows: Sequence[Sequence[int]], progress: Callable[[int], object] | None = None) -> Tensor:
        """Vectors of the rows, in their order.

        Args:
            rows: N lists of token ids, each ending with `<emb>`.
            progress: called with the number of rows just done.

        Returns:
            (N, D) float32 unit vectors on the CPU.

        Raises:
            OutOfMemoryError: not even one row fits.
        """
        vectors = torch.empty(len(rows), self.dimension)
        waiting = list(batches([len(row) for row in rows], self.token_budget))[::-1]
        while waiting:
            batch = waiting.pop()
            try:
                vectors[batch] = self._forward([rows[i] for i in batch])
            except torch.OutOfMemoryError as error:
                waiting.extend(self._halves(batch, error))
                continue
            if progress is not None:
                progress(len(batch))
        return vectors

    @staticmethod
    def _halves(batch: list[int], error: torch.OutOfMemoryError) -> list[list[int]]:
        if len(batch) == 1:
            raise OutOfMemoryError(
                "One text alone does not fit into memory: lower max_passage_tokens or use another device."
            ) from error
        logger.warning(
            "out of memory on a batch of %d texts; halving it (lower token_budget to avoid this)", len(batch)
        )
        middle = (len(batch) + 1) // 2
        return [batch[middle:], batch[:middle]]

    @torch.inference_mode()
    def _forward(self, rows: list[Sequence[int]]) -> Tensor:
        longest = max(len(row) for row in rows)
        width = max(longest, min(padded_width(longest), self.context))
        ids = torch.tensor([[*row, *[self.pad] * (width - len(row))] for row in rows])  # (B, T)
        last = torch.tensor([len(row) - 1 for row in rows])
        with autocast(self.precision, self.device):
            hidden = self.backbone(input_ids=ids.to(self.device), use_cache=False).last_hidden_state  # (B, T, D)
        return last_token(hidden, last.to(self.device)).cpu()


def progress_bar(total: int | None, label: str, show: bool | None) -> tqdm[object]:
    """A bar on stderr; `show=None` lets it appear by itself on work longer than a second."""
    return tqdm(total=total, desc=label, unit="text", disable=show is False, delay=1.0 if show is None else 0.0)

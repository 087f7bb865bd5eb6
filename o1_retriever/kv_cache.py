"""A key-value cache of fixed capacity: rows are repeated at birth and dropped later without copying the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from o1_retriever.errors import CheckpointError


class PreallocatedLayer(DynamicLayer):
    """One layer's keys and values in buffers (R, H, capacity, D_head); rows beyond `rows` are free.

    Args:
        keys, values: (B, H, P, D_head) of the prefilled prompts.
        repeats: copies of each prompt, K.
        capacity: positions that will be needed at most.
    """

    def __init__(self, keys: Tensor, values: Tensor, repeats: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key_buffer = self._allocate(keys, repeats, capacity)
        self.value_buffer = self._allocate(values, repeats, capacity)
        self.keys, self.values = self.key_buffer, self.value_buffer
        self.rows, self.length = keys.shape[0] * repeats, keys.shape[2]
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    @staticmethod
    def _allocate(prompt: Tensor, repeats: int, capacity: int) -> Tensor:
        batch, heads, length, width = prompt.shape
        buffer = prompt.new_empty(batch, repeats, heads, capacity, width)
        buffer[:, :, :, :length] = prompt[:, None]
        return buffer.flatten(0, 1)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start, end = self.length, self.length + key_states.shape[-2]
        self.key_buffer[: self.rows, :, start:end] = key_states
        self.value_buffer[: self.rows, :, start:end] = value_states
        self.length = end
        return self.key_buffer[: self.rows, :, :end], self.value_buffer[: self.rows, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def drop(self, targets: Tensor, sources: Tensor, rows: int) -> None:
        """Moves surviving rows `sources` into the holes `targets`, then keeps the first `rows`."""
        for buffer in (self.key_buffer, self.value_buffer):
            buffer[targets, :, : self.length] = buffer[sources, :, : self.length]
        self.rows = rows


class PreallocatedCache(Cache):
    """All layers' buffers, filled from a prefilled DynamicCache.

    Raises:
        CheckpointError: the model keeps a state other than plain keys and values (recurrent or sliding layers).
    """

    def __init__(self, prefilled: DynamicCache, repeats: int, capacity: int) -> None:
        self.buffers = [self._layer(layer, repeats, capacity) for layer in prefilled.layers]
        super().__init__(layers=[*self.buffers])

    @staticmethod
    def _layer(layer: object, repeats: int, capacity: int) -> PreallocatedLayer:
        if not isinstance(layer, DynamicLayer) or layer.keys is None or layer.values is None:
            raise CheckpointError(f"Models with {type(layer).__name__} caches cannot think in batches yet.")
        return PreallocatedLayer(layer.keys, layer.values, repeats, capacity)

    def drop(self, finished: Tensor, rows: int) -> Tensor:
        """Removes rows by moving the last ones into their places.

        Args:
            finished: (rows,) bool.
            rows: how many rows are in use.

        Returns:
            (rows - finished,) where each row that is left was before: the permutation to apply to other row state.
        """
        left = int(rows - finished.sum())
        order = torch.arange(rows)
        targets = torch.nonzero(finished[:left]).flatten()
        sources = left + torch.nonzero(~finished[left:]).flatten()
        order[targets] = sources
        for layer in self.buffers:
            layer.drop(targets.to(layer.device), sources.to(layer.device), left)
        return order[:left]

"""Gradient caching (arXiv 2101.06983) through the joint loss: a contrastive batch bounded by nothing but time.

    peek      every chunk's vectors, without a graph; its random state is kept
    contrast  the loss of all vectors together, and its gradient with respect to each vector
    replay    every chunk again with a graph, under the same random state: <vectors, their gradients> plus the chunk's
              own share of the generation loss is differentiated

The sum over chunks is the gradient of the whole batch; memory is that of one chunk. Knows functions, no trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from o1_retriever.training.batch import JointBatch
from o1_retriever.training.joint import Vectors, vectors_of

Forward = Callable[[JointBatch, bool], dict[str, Tensor]]
"""(batch, with_nll) -> result of `joint_forward`."""


@dataclass(frozen=True)
class RandomState:
    """Of the CPU generator and, on CUDA, the device's."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, device)


class GradientCache:
    """One step over many chunks.

    Args:
        forward: the model's joint forward pass.
        contrast: all vectors of this process -> the weighted embedding loss to differentiate.
        nll: a forward pass's result -> its share of the weighted generation loss; None: it has none.
        backward: differentiates a scalar.
        no_sync: a context in which processes do not exchange gradients; all chunks but the last run in it.
        device: the model's.
    """

    def __init__(
        self,
        forward: Forward,
        contrast: Callable[[Vectors], Tensor | None],
        nll: Callable[[dict[str, Tensor]], Tensor | None],
        backward: Callable[[Tensor], None],
        no_sync: Callable[[], AbstractContextManager[object]],
        device: torch.device,
    ) -> None:
        self.forward, self.contrast, self.nll = forward, contrast, nll
        self.backward, self.no_sync, self.device = backward, no_sync, device

    def step(self, chunks: Sequence[JointBatch]) -> None:
        """Leaves the gradient of the whole batch in the parameters."""
        states: list[RandomState] = []
        peeked: list[Vectors] = []
        for chunk in chunks:
            states.append(RandomState.now(self.device))
            peeked.append(self.peek(chunk))
        after = RandomState.now(self.device)
        gradients = self.vector_gradients(peeked)
        for index, chunk in enumerate(chunks):
            states[index].restore(self.device)
            with self.no_sync() if index < len(chunks) - 1 else nullcontext():
                self.replay(chunk, gradients[index])
        after.restore(self.device)

    @torch.no_grad()
    def peek(self, chunk: JointBatch) -> Vectors:
        """A chunk's vectors without a graph; the language-model head is not computed."""
        return vectors_of(self.forward(chunk, False))

    def vector_gradients(self, peeked: Sequence[Vectors]) -> list[list[Tensor]]:
        """Per chunk the gradients of the loss of all with respect to its vectors, in the order of `Vectors.tensors`."""
        leaves = [[tensor.detach().requires_grad_() for tensor in vectors.tensors()] for vectors in peeked]
        whole = [torch.cat(parts) for parts in zip(*leaves, strict=True)]
        loss = self.contrast(_like(peeked[0], whole))
        if loss is None:
            return [[torch.zeros_like(leaf) for leaf in chunk] for chunk in leaves]
        flat = torch.autograd.grad(loss, [leaf for chunk in leaves for leaf in chunk], allow_unused=True)
        gradients = iter(flat)
        return [[torch.zeros_like(leaf) if (g := next(gradients)) is None else g for leaf in chunk] for chunk in leaves]

    def replay(self, chunk: JointBatch, gradients: Sequence[Tensor]) -> None:
        """The chunk again, with a graph, differentiated."""
        result = self.forward(chunk, True)
        tensors = vectors_of(result).tensors()
        surrogate = torch.stack([(v * g).sum() for v, g in zip(tensors, gradients, strict=True)]).sum()
        own = self.nll(result)
        self.backward(surrogate if own is None else surrogate + own)


def _like(vectors: Vectors, tensors: list[Tensor]) -> Vectors:
    """Vectors with the tensors in the places of those that `vectors` has."""
    rest = iter(tensors)
    return Vectors(*(None if old is None else next(rest) for old in (vectors.queries, vectors.passages, vectors.bare)))  # type: ignore[arg-type]

"""What the processes of a run tell each other: vectors, facts and counts. Does nothing where there is one process."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, distributed

from o1_retriever.training.batch import GroupFacts
from o1_retriever.training.joint import Vectors


def world() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process."""
    return distributed.get_rank() if world() > 1 else 0


def gather(tensor: Tensor) -> Tensor:
    """(W * R, ...) the rows of all processes in order; gradients flow through this process's own rows alone.

    Every process computes the loss of the whole batch and differentiates its own share of it: the sum over processes is
    the gradient of the whole, and no collective runs in the backward pass.
    """
    if world() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    parts[rank()] = tensor
    return torch.cat(parts)


def gather_vectors(vectors: Vectors) -> Vectors:
    """Those of all processes."""
    passages = None if vectors.passages is None else gather(vectors.passages)
    return Vectors(gather(vectors.queries), passages, None if vectors.bare is None else gather(vectors.bare))


def gather_facts(facts: GroupFacts) -> GroupFacts:
    """Those of all processes."""
    found = [getattr(facts, field.name) for field in dataclasses.fields(GroupFacts)]
    return GroupFacts(*(None if tensor is None else gather(tensor) for tensor in found))  # type: ignore[arg-type]


def total(number: int, device: torch.device) -> int:
    """The sum over all processes."""
    if world() == 1:
        return number
    value = torch.tensor(number, device=device)
    distributed.all_reduce(value)
    return int(value)


def wait() -> None:
    """Until every process is here."""
    if world() > 1:
        distributed.barrier()


def leave() -> None:
    """Ends this process's part in the group, when all have come to the end; without it a late process may abort."""
    if world() > 1:
        distributed.barrier()
        distributed.destroy_process_group()

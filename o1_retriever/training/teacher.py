"""A frozen retriever whose vectors are targets: any sentence-transformers model of the same dimension.

It encodes each batch anew: a batch's vectors then depend on nothing that a resumed run would have to remember.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from o1_retriever.encoders import SentenceTransformerEncoder
from o1_retriever.encoding import autocast
from o1_retriever.errors import CheckpointError
from o1_retriever.training.run_settings import TrainingPrecision


class Teacher:
    """Encodes texts without gradients.

    Args:
        name: of the model.
        device: to compute on.
        precision: "bfloat16" computes under autocast where the device has it.
        dimension: of the student's vectors.

    Raises:
        CheckpointError: the teacher's vectors have another dimension.
        ModelNotFoundError: there is no such model.
    """

    def __init__(self, name: str, device: torch.device, precision: TrainingPrecision, dimension: int) -> None:
        self._encoder = SentenceTransformerEncoder(name, str(device))
        self._device, self._fast = device, precision == "bfloat16"
        width = self.queries(["a"]).shape[1]
        if width != dimension:
            raise CheckpointError(
                f"model.teacher {name} has vectors of {width} numbers, the model of {dimension}: take another teacher."
            )

    @torch.no_grad()
    def passages(self, texts: Sequence[str]) -> Tensor:
        """(N, D) unit vectors."""
        with autocast("fast" if self._fast else "full", self._device):
            return torch.from_numpy(self._encoder.encode_passages(texts))

    @torch.no_grad()
    def queries(self, texts: Sequence[str]) -> Tensor:
        """(B, D) unit vectors."""
        with autocast("fast" if self._fast else "full", self._device):
            return torch.from_numpy(self._encoder.encode_queries(texts))

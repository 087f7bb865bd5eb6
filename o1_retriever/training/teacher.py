"""A frozen retriever whose vectors are targets: any sentence-transformers model of the same dimension.

It encodes each batch anew, or looks passages up where they were encoded before: either way a batch's vectors depend on
nothing that a resumed run would have to remember.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from o1_retriever.encoders import SentenceTransformerEncoder
from o1_retriever.errors import CheckpointError
from o1_retriever.training.run_settings import TrainingPrecision
from o1_retriever.training.text_vectors import TextVectors


class Teacher:
    """Encodes texts without gradients.

    Args:
        name: of the model.
        device: to compute on.
        precision: "bfloat16" computes under autocast where the device has it.
        dimension: of the student's vectors.
        vectors: folder of passages' vectors that are read instead of computed; None: all are computed.

    Raises:
        CheckpointError: the teacher's vectors have another dimension, or the folder holds another encoder's.
        ModelNotFoundError: there is no such model.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        precision: TrainingPrecision,
        dimension: int,
        vectors: Path | None = None,
    ) -> None:
        self._encoder = SentenceTransformerEncoder(name, str(device), "fast" if precision == "bfloat16" else "full")
        self.key = self._encoder.passage_key
        self._known = None if vectors is None else TextVectors(vectors, self.key)
        width = self.queries(["a"]).shape[1]
        if width != dimension:
            raise CheckpointError(
                f"model.teacher {name} has vectors of {width} numbers, the model of {dimension}: take another teacher."
            )

    @torch.no_grad()
    def passages(self, texts: Sequence[str]) -> Tensor:
        """(N, D) unit vectors."""
        if self._known is None:
            return self._encode(texts)
        there, found = self._known.find(texts)
        vectors = torch.empty(len(texts), found.shape[1])
        vectors[torch.from_numpy(there)] = torch.from_numpy(np.asarray(found))
        missing = [text for text, known in zip(texts, there, strict=True) if not known]
        if missing:
            vectors[torch.from_numpy(~there)] = self._encode(missing)
        return vectors

    @torch.no_grad()
    def queries(self, texts: Sequence[str]) -> Tensor:
        """(B, D) unit vectors."""
        return torch.from_numpy(self._encoder.encode_queries(texts))

    def thoughts(self, queries: Sequence[str], thoughts: Sequence[str]) -> Tensor:
        """(B, D) means of two unit vectors: of query and thought as one text, and of the thought alone.

        On hotpotqa each of them alone finds less, on nq as much (docs/LOG.md, "Given thoughts, taught").
        """
        both = [f"{query} {thought}" for query, thought in zip(queries, thoughts, strict=True)]
        vectors = self.passages([*both, *thoughts])
        return (vectors[: len(both)] + vectors[len(both) :]) / 2

    def _encode(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self._encoder.encode_passages(texts))

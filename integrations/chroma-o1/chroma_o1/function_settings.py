"""What an `O1EmbeddingFunction` is made of, and its way into a collection's configuration and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.config import ThinkingConfig
from o1_retriever.errors import InvalidInputError, InvalidTypeError

QUERY_SIDE = tuple(field.name for field in dataclasses.fields(ThinkingConfig))


@dataclass(frozen=True)
class FunctionSettings:
    """Settings as Chroma keeps them.

    Attributes:
        model_name: the bundled model, a folder or a hub id; the path of a folder is made absolute.
        revision: of a hub repository.
        device: cpu, cuda or mps; None takes the best one.
        dtype: float32, bfloat16 or float16; None: the engine's choice.
        num_thoughts, temperature, top_p, top_k, max_new_tokens, seed: see `ThinkingConfig`; None: the checkpoint's.
        passage_fingerprint: of the model whose vectors are meant; None: of whatever model is loaded.
    """

    model_name: str = DEFAULT_MODEL
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    num_thoughts: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    passage_fingerprint: str | None = None

    def __post_init__(self) -> None:
        for name in ("model_name", "revision", "device", "dtype", "passage_fingerprint"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "model_name"):
                raise InvalidTypeError(f"{name} must be a text, got {type(value).__name__}: {value!r:.80}.")
        ThinkingConfig(**self.thinking)
        if self.model_name != DEFAULT_MODEL and os.path.isdir(self.model_name):
            # the collection may be opened from another working directory
            object.__setattr__(self, "model_name", os.path.abspath(self.model_name))

    @property
    def thinking(self) -> dict[str, Any]:
        """What was set of the way to think."""
        return {name: value for name in QUERY_SIDE if (value := getattr(self, name)) is not None}

    @property
    def config(self) -> dict[str, Any]:
        """What Chroma keeps: everything that was set, but what suits this machine alone."""
        kept = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("device", "dtype")}
        return {name: value for name, value in kept.items() if value is not None}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FunctionSettings:
        """The settings that a collection's configuration holds.

        Raises:
            InvalidInputError, InvalidTypeError: unknown or invalid settings.
        """
        if not isinstance(config, Mapping):
            raise InvalidTypeError(f"a configuration is a dict, got {type(config).__name__}.")
        unknown = sorted(set(config) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise InvalidInputError(
                f"O1EmbeddingFunction knows no setting {', '.join(map(repr, unknown))}: upgrade chroma-o1, or mend it."
            )
        return cls(**config)

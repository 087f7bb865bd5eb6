"""Settings as frozen dataclasses, each field with its unit. Knows nothing of models.

`O1Config` is what a checkpoint's `o1_config.json` holds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from o1_retriever.errors import CheckpointError, InvalidInputError, InvalidTypeError

CONFIG_NAME = "o1_config.json"
FORMAT_VERSION = 1

Precision = Literal["full", "fast"]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInputError(message)


def require_int(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} must be an int, got {type(value).__name__}: {value!r}.")
    require(value >= minimum, f"{name} must be at least {minimum}, got {value}.")


def require_float(name: str, value: object, minimum: float, maximum: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTypeError(f"{name} must be a number, got {type(value).__name__}: {value!r}.")
    require(minimum <= value <= maximum, f"{name} must lie between {minimum} and {maximum}, got {value}.")


@dataclass(frozen=True)
class ThinkingConfig:
    """How thoughts are sampled. Defaults are the paper's inference settings (arXiv 2502.07555, section 4).

    Attributes:
        num_thoughts: thoughts per query, K; 0 embeds the query without thinking.
        temperature: divides the logits; 0 is greedy.
        top_p: smallest probability mass that the sampled tokens come from, in (0, 1]; 1 switches it off.
        top_k: only the k likeliest tokens are sampled from; 0 switches it off.
        max_new_tokens: tokens per thought at most, EOS not counted; a longer thought ends with a forced EOS.
        seed: with the query, the thought's index and the step it alone decides the random numbers.
    """

    num_thoughts: int = 3
    temperature: float = 0.1
    top_p: float = 0.9
    top_k: int = 0
    max_new_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        require_int("num_thoughts", self.num_thoughts, 0)
        require_float("temperature", self.temperature, 0.0, 100.0)
        require_float("top_p", self.top_p, 0.0, 1.0)
        require(self.top_p > 0, "top_p must be above 0; use temperature=0 for greedy decoding.")
        require_int("top_k", self.top_k, 0)
        require_int("max_new_tokens", self.max_new_tokens, 1)
        require_int("seed", self.seed, 0)


@dataclass(frozen=True)
class EncodingConfig:
    """How texts are batched. Nothing here changes a vector beyond float rounding.

    Attributes:
        token_budget: tokens of one passage batch at most, padding included. 2,048 suits the caches of a CPU; a GPU
            wants more.
        max_rows: thoughts decoded side by side at most.
        window: texts that are sorted by length together; bounds the memory of the iterator form.
        precision: "full" computes in the weights' dtype; "fast" embeds passages and given thoughts in bfloat16
            where the processor has it (autocast around our own forward passes, never a process-wide flag). The
            model's own thoughts are always written, and their vectors read, in the weights' dtype.
    """

    token_budget: int = 2048
    max_rows: int = 128
    window: int = 2048
    precision: Precision = "full"

    def __post_init__(self) -> None:
        require_int("token_budget", self.token_budget, 1)
        require_int("max_rows", self.max_rows, 1)
        require_int("window", self.window, 1)
        require(self.precision in ("full", "fast"), f"precision must be 'full' or 'fast', got {self.precision!r}.")


@dataclass(frozen=True)
class O1Config:
    """What a checkpoint says of its own use: the content of `o1_config.json`.

    A checkpoint without that file (the authors' published one) gets these defaults.

    Attributes:
        max_query_tokens: tokens of a query's text at most; longer ones are cut and counted.
        max_thought_tokens: tokens of a given thought at most; longer ones are cut and counted.
        max_passage_tokens: positions of a passage at most, BOS and `<emb>` included.
        pooling: which hidden state is the vector; "last" reads it at `<emb>`.
        aggregation: how K vectors become one (see `pooling.py`).
        thinking: the checkpoint's default way to think.
        format_version: of this file.
    """

    max_query_tokens: int = 512
    max_thought_tokens: int = 512
    max_passage_tokens: int = 512
    pooling: str = "last"
    aggregation: str = "mean"
    thinking: ThinkingConfig = field(default_factory=ThinkingConfig)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        require_int("max_query_tokens", self.max_query_tokens, 1)
        require_int("max_thought_tokens", self.max_thought_tokens, 1)
        require_int("max_passage_tokens", self.max_passage_tokens, 3)
        require(self.pooling == "last", f"pooling must be 'last', got {self.pooling!r}.")
        require(
            self.format_version == FORMAT_VERSION,
            f"{CONFIG_NAME} has format {self.format_version}, only {FORMAT_VERSION} is known: upgrade o1-retriever.",
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_folder(cls, folder: Path) -> O1Config:
        """Reads `o1_config.json` of a checkpoint folder; the defaults where there is none.

        Raises:
            CheckpointError: the file is not JSON or holds unknown or invalid fields.
        """
        path = folder / CONFIG_NAME
        if not path.is_file():
            return cls()
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            thinking = ThinkingConfig(**raw.pop("thinking", {}))
            return cls(thinking=thinking, **raw)
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError, InvalidInputError) as error:
            raise CheckpointError(
                f"{path} cannot be used: {error}. Mend the file or save the checkpoint again."
            ) from error

"""How long, how large, where: the settings of a training run that say nothing of what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from o1_retriever.config import require, require_float, require_int

TrainingPrecision = Literal["float32", "bfloat16"]
SaveAs = Literal["adapter", "merged"]


def require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    require(value in known, f"{name} must be one of {', '.join(known)}, got {value!r}.")


@dataclass(frozen=True)
class RunSettings:
    """How long, how large, where.

    Attributes:
        steps: optimizer steps; None: `epochs` passes over the rows.
        epochs: passes over the rows, where `steps` is None.
        batch_size: queries per process and micro-batch.
        accumulate: micro-batches per optimizer step; each is contrasted by itself.
        chunk_size: queries computed at once; 0 the whole batch. Below `batch_size` gradients are cached
            (arXiv 2101.06983): equal gradients, memory bounded by the chunk.
        length_groups: parts of similar lengths that a batch is computed in: less padding, more calls. 1 suits a GPU;
            with few processor cores a part should still hold some thousand tokens.
        learning_rate: peak.
        embedding_rate: of the embedding tables, times the learning rate.
        head_rate: of the language-model head where it is no embedding table, times the learning rate.
        warmup: share of the steps.
        scheduler: of transformers: linear, cosine, constant_with_warmup, ...
        weight_decay: AdamW's.
        max_grad_norm: gradients are clipped to this length; 0: not.
        precision: "bfloat16" computes under autocast, weights stay in `model.dtype`.
        activation_checkpointing: computes activations twice to hold fewer.
        seed: of data order, draws and dropout.
        save_every: optimizer steps between checkpoints to go on from.
        keep: checkpoints kept beside the best.
        log_every: optimizer steps.
        save_as: "adapter" (PEFT) or "merged" weights; full tuning always saves weights.
        fsdp: "fsdp" for the settings that ship, or a JSON file of transformers' FSDP settings.
        deepspeed: "zero2" for the settings that ship, or a JSON file of DeepSpeed's.
        tensorboard: write TensorBoard logs beside the checkpoints.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 16
    accumulate: int = 1
    chunk_size: int = 0
    length_groups: int = 1
    learning_rate: float = 1e-4
    embedding_rate: float = 1.0
    head_rate: float = 1.0
    warmup: float = 0.1
    scheduler: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: TrainingPrecision = "float32"
    activation_checkpointing: bool = False
    seed: int = 0
    save_every: int = 200
    keep: int = 1
    log_every: int = 10
    save_as: SaveAs = "adapter"
    fsdp: str | None = None
    deepspeed: str | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None:
            require_int("run.steps", self.steps, 1)
        require_float("run.epochs", self.epochs, 1e-6, 1e6)
        for name in ("batch_size", "accumulate", "save_every", "keep", "log_every", "length_groups"):
            require_int(f"run.{name}", getattr(self, name), 1)
        for name in ("chunk_size", "seed"):
            require_int(f"run.{name}", getattr(self, name), 0)
        require_float("run.learning_rate", self.learning_rate, 0.0, 10.0)
        require_float("run.embedding_rate", self.embedding_rate, 0.0, 1e3)
        require_float("run.head_rate", self.head_rate, 0.0, 1e3)
        require_float("run.warmup", self.warmup, 0.0, 1.0)
        require_float("run.max_grad_norm", self.max_grad_norm, 0.0, 1e9)
        require_one_of("run.precision", self.precision, ("float32", "bfloat16"))
        require_one_of("run.save_as", self.save_as, ("adapter", "merged"))
        require(not (self.fsdp and self.deepspeed), "run.fsdp and run.deepspeed exclude each other.")
        require(
            not (self.deepspeed and self.chunk_size),
            "run.chunk_size does not work with run.deepspeed, which steps after each backward pass: use run.fsdp.",
        )

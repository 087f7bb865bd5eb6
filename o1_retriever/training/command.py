"""`o1 train`: a YAML file, any field overridable as a flag. `run.py` does the work."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.config import ThinkingConfig
from o1_retriever.training.config import (
    DataSettings,
    EvaluationSettings,
    LossSettings,
    ModelSettings,
    OwnThoughtSettings,
    TrainConfig,
)
from o1_retriever.training.run_settings import RunSettings

SECTIONS: dict[str, Any] = {
    "model": ModelSettings,
    "data": DataSettings,
    "loss": LossSettings,
    "own_thoughts": OwnThoughtSettings,
    "evaluation": EvaluationSettings,
    "run": RunSettings,
}


class TrainCommand:
    """Trains a model to think and to embed."""

    help = "train any causal language model to think and to embed"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--config", action="config", help="YAML file with any of these")
        parser.add_argument("--output", type=str, required=True, help="folder of the run and of the finished model")
        for name, section in SECTIONS.items():
            parser.add_class_arguments(section, name)

    def run(self, args: Namespace) -> int:
        from o1_retriever.training import distributed  # imported here, so that help is quick
        from o1_retriever.training.run import train

        folder = train(make_config(args))
        if distributed.rank() == 0:
            print(f"Trained: {folder}. Load it with O1Embedder.from_pretrained({str(folder)!r}).")
        distributed.leave()
        return 0


def make_config(args: Namespace) -> TrainConfig:
    """The settings that the command line and the YAML file describe.

    Raises:
        InvalidInputError: a value is outside what its setting accepts.
    """
    made = {name: section(**_plain(args[name])) for name, section in SECTIONS.items()}
    return TrainConfig(output=args.output, **made)


def _plain(section: Any) -> dict[str, Any]:
    """A section's values; the nested settings of sampling as their own class."""
    values = dict(vars(section))
    if "thinking" in values and not isinstance(values["thinking"], ThinkingConfig):
        values["thinking"] = ThinkingConfig(**vars(values["thinking"]))
    return values

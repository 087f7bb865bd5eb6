"""`o1 train`: YAML, flags over it, and errors as one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from o1_retriever import O1Embedder
from o1_retriever.cli import main
from o1_retriever.errors import InvalidInputError
from o1_retriever.training.command import TrainCommand, make_config
from o1_retriever.training.run import training_arguments
from o1_retriever.training.sharding import FOLDER, sharding_file


def parsed(*arguments: str) -> Any:
    parser = ArgumentParser()
    TrainCommand().add_arguments(parser)
    return make_config(parser.parse_args(arguments))


def test_the_shipped_settings_are_the_defaults_but_where_they_say() -> None:
    config = parsed("--config", str(FOLDER / "train.yaml"))
    assert config.loss.contrastive_weight == 0.8 and config.run.precision == "bfloat16"
    assert config.data.group_size == 16 and config.model.lora_rank == 32


def test_flags_win_over_the_file() -> None:
    flags = ["--loss.temperature", "0.05", "--own_thoughts.thinking.max_new_tokens", "7", "--run.steps", "3"]
    config = parsed("--config", str(FOLDER / "train.yaml"), *flags)
    assert (config.loss.temperature, config.own_thoughts.thinking.max_new_tokens, config.run.steps) == (0.05, 7, 3)
    assert config.own_thoughts.share == 0.2, "what no flag names stays"


def test_a_file_of_shares(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("output: out\ndata:\n  files: [a.jsonl, b.jsonl]\n  shares: {a: 0.75, b: 0.25}\n")
    assert parsed("--config", str(path)).data.shares == {"a": 0.75, "b": 0.25}


def test_the_command(
    tiny_folder: str,
    write_rows: Callable[..., str],
    rows_of: Callable[[int], list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", "--output", str(tmp_path / "out"), "--model.base", tiny_folder, "--run.steps", "2"]
    arguments += ["--data.files", json.dumps([write_rows(rows_of(8))]), "--data.group_size", "2"]
    assert main(arguments) == 0
    assert "O1Embedder.from_pretrained" in capsys.readouterr().out
    O1Embedder.from_pretrained(tmp_path / "out")
    assert main(arguments) == 2
    assert "is finished" in capsys.readouterr().err
    assert main([*arguments, "--loss.contrastive_weight", "3"]) == 2
    assert "contrastive_weight must lie between" in capsys.readouterr().err


def test_sharding_settings(tmp_path: Path) -> None:
    assert sharding_file(None) is None
    for name in ("fsdp", "zero2"):
        found = sharding_file(name)
        assert found is not None and json.loads(Path(found).read_text())
    (tmp_path / "list.json").write_text("[]")
    for bad in ("zero9", str(tmp_path / "list.json"), str(tmp_path / "nothing.json")):
        with pytest.raises(InvalidInputError):
            sharding_file(bad)


def test_deepspeed_settings_reach_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed itself is not installed: what transformers would be given is looked at."""
    from o1_retriever.training import run

    given: dict[str, Any] = {}
    monkeypatch.setattr(run, "TrainingArguments", lambda **kwargs: given.update(kwargs))
    training_arguments(parsed("--output", "out", "--data.files", "[a.jsonl]", "--run.deepspeed", "zero2"))
    assert json.loads(Path(given["deepspeed"]).read_text())["zero_optimization"]["stage"] == 2
    assert given["fsdp"] is None


def test_sharded_weights_are_not_asked_for_thoughts() -> None:
    from o1_retriever.training.run import train

    flags = ["--output", "out", "--data.files", "[a.jsonl]", "--run.fsdp", "fsdp", "--own_thoughts.share", "0.5"]
    with pytest.raises(InvalidInputError, match=r"cannot|not yet be asked"):
        train(parsed(*flags))

"""`o1 export`: an adapter becomes full weights with the same vectors and thoughts; dtypes; nothing half-written."""

from __future__ import annotations

import json
import logging
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from jsonargparse import ArgumentParser
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from o1_retriever import O1Config, O1Embedder, ThinkingConfig
from o1_retriever.errors import CheckpointError, ModelNotFoundError
from o1_retriever.export import ExportCommand, export
from o1_retriever.prompts import SPECIAL_TOKENS

Capture = pytest.CaptureFixture[str]
Log = pytest.LogCaptureFixture
TEXTS = ["a passage", "another, longer passage"]
GREEDY = ThinkingConfig(num_thoughts=1, temperature=0, max_new_tokens=12)


def run(*arguments: object) -> int:
    """Runs the verb through a parser, the way `cli.main` does."""
    parser, verb, command = ArgumentParser(prog="o1"), ArgumentParser(), ExportCommand()
    command.add_arguments(verb)
    parser.add_subcommands(dest="verb").add_subcommand("export", verb, help=command.help)
    return command.run(parser.parse_args(["export", *map(str, arguments)]).export)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def adapter(
    tmp_path: Path,
    model_factory: Callable[..., PreTrainedModel],
    tokenizer_factory: Callable[[str], PreTrainedTokenizerFast],
) -> Path:
    """A LoRA adapter with the four tokens, their embeddings and settings of its own, beside its base."""
    model, tokenizer, folder = model_factory("qwen2"), tokenizer_factory("qwen2"), tmp_path / "adapter"
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model.resize_token_embeddings(263)
        model.config._name_or_path = str(tmp_path / "base")
        settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        peft.get_peft_model(model, settings).save_pretrained(str(folder), save_embedding_layers=True)
    named = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(named | {"base_model_name_or_path": str(tmp_path / "base")}))
    tokenizer.save_pretrained(folder)
    config = O1Config(max_passage_tokens=77, max_query_tokens=99, thinking=ThinkingConfig(num_thoughts=2))
    (folder / "o1_config.json").write_text(config.to_json())
    return folder


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog: Log) -> None:
    caplog.set_level(logging.WARNING, logger="o1_retriever.export")


def test_an_adapter_becomes_full_weights(adapter: Path, tmp_path: Path, capsys: Capture, caplog: Log) -> None:
    output = tmp_path / "full"
    direct = O1Embedder.from_pretrained(adapter)
    assert run(adapter, "--output", output) == 0
    shutil.rmtree(adapter)
    shutil.rmtree(tmp_path / "base")
    exported = O1Embedder.from_pretrained(output)
    assert exported.config == direct.config
    np.testing.assert_allclose(exported.encode_document(TEXTS), direct.encode_document(TEXTS), atol=1e-6)
    assert exported.think(TEXTS, thinking=GREEDY) == direct.think(TEXTS, thinking=GREEDY)
    np.testing.assert_allclose(
        exported.encode_query(TEXTS, thinking=GREEDY), direct.encode_query(TEXTS, thinking=GREEDY), atol=1e-6
    )
    assert not any("lora" in name for name in weights(output))
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    size = sum(path.stat().st_size for path in output.iterdir())
    assert facts == {
        "folder": str(output),
        "dtype": "float32",
        "size": f"{size / 1e6:.1f} MB",
        "passage_fingerprint": exported.passage_fingerprint,
    }
    assert "indexes made with it must be made anew" in caplog.text
    assert direct.passage_fingerprint in caplog.text
    assert "rounded" not in caplog.text


def test_the_same_weights_keep_their_fingerprint(tiny_folder: str, tmp_path: Path, caplog: Log) -> None:
    """Nothing is merged and nothing rounded: an index made with the source fits."""
    exported = export(tiny_folder, tmp_path / "copy")
    assert exported.passage_fingerprint == exported.source_fingerprint
    assert O1Embedder.from_pretrained(tmp_path / "copy").passage_fingerprint == exported.passage_fingerprint
    assert not exported.rounded
    assert caplog.text == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_half_the_size(adapter: Path, tmp_path: Path, dtype: torch.dtype, caplog: Log) -> None:
    name = str(dtype).removeprefix("torch.")
    full, half = export(adapter, tmp_path / "full"), export(adapter, tmp_path / "half", name)
    assert half.rounded and half.dtype == name
    assert f"were rounded to {name}: vectors differ slightly" in caplog.text
    assert len({full.passage_fingerprint, half.passage_fingerprint, half.source_fingerprint}) == 3
    written = weights(half.folder)
    assert weights(full.folder).keys() == written.keys()
    assert all(torch.equal(value.to(dtype), written[key]) for key, value in weights(full.folder).items())
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half.folder, full.folder)]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.02)
    assert json.loads((half.folder / "config.json").read_text())["dtype"] == name
    vectors = [O1Embedder.from_pretrained(folder).encode_document(TEXTS) for folder in (half.folder, full.folder)]
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.99


def test_auto_is_as_stored(tiny_folder: str, tmp_path: Path, caplog: Log) -> None:
    export(tiny_folder, tmp_path / "half", "bfloat16")
    caplog.clear()
    again, wide = export(tmp_path / "half", tmp_path / "again"), export(tmp_path / "half", tmp_path / "wide", "float32")
    assert (again.dtype, wide.dtype) == ("bfloat16", "float32")
    assert again.passage_fingerprint == again.source_fingerprint
    assert "rounded" not in caplog.text, "more bits round nothing"
    for key, value in weights(tmp_path / "half").items():
        assert torch.equal(weights(tmp_path / "again")[key], value)
        assert torch.equal(weights(tmp_path / "wide")[key], value.float())


def test_an_adapter_of_a_half_base(adapter: Path, tmp_path: Path) -> None:
    """In float32 the merge rounds nothing; by default the result is stored as the base was."""
    base = tmp_path / "base"
    halves = {key: value.half() for key, value in weights(base).items()}
    save_file(halves, base / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"dtype": "float16"}))
    assert export(adapter, tmp_path / "stored").dtype == "float16"
    assert export(adapter, tmp_path / "wide", "float32").dtype == "float32"
    direct, wide = O1Embedder.from_pretrained(adapter), O1Embedder.from_pretrained(tmp_path / "wide")
    np.testing.assert_allclose(wide.encode_document(TEXTS), direct.encode_document(TEXTS), atol=1e-6)


@pytest.mark.parametrize("untied", ["gpt2", "bert", "llama"])
def test_other_families(untied: str, make_embedder: Callable[..., O1Embedder], tmp_path: Path) -> None:
    embedder = make_embedder(untied, False)
    embedder.save_pretrained(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "half", "float16")
    loaded = O1Embedder.from_pretrained(tmp_path / "half")
    assert (loaded.encode_document(TEXTS) * embedder.encode_document(TEXTS)).sum(axis=1).min() > 0.99


def test_values_that_a_dtype_cannot_hold(make_embedder: Callable[..., O1Embedder], tmp_path: Path) -> None:
    embedder = make_embedder()
    with torch.no_grad():
        next(embedder.model.parameters())[5, 5] = 1e5
    embedder.save_pretrained(tmp_path / "source")
    with pytest.raises(
        CheckpointError, match=r"embed_tokens\.weight .* holds values that float16 cannot: use bfloat16"
    ):
        export(tmp_path / "source", tmp_path / "half", "float16")
    assert not (tmp_path / "half").exists()
    assert export(tmp_path / "source", tmp_path / "half", "bfloat16").rounded


@pytest.mark.parametrize("dtype", ["float3", "int8", "float64", ""])
def test_unknown_dtypes(tiny_folder: str, tmp_path: Path, dtype: str) -> None:
    with pytest.raises(CheckpointError, match=f"Unknown dtype '{dtype}': use one of float16, bfloat16, float32, auto"):
        run(tiny_folder, "--output", tmp_path / "x", f"--dtype={dtype}")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no-such-folder"):
        run("./no-such-folder", "--output", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_taken(tiny_folder: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    for target in (tmp_path / "full", tmp_path / "full" / "mine.txt", Path(tiny_folder)):
        with pytest.raises(CheckpointError, match="is not an empty folder"):
            run("./not-even-looked-at", "--output", target)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    assert run(tiny_folder, "--output", tmp_path / "empty") == 0
    assert (tmp_path / "empty" / "model.safetensors").is_file()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_leaves_nothing(tiny_folder: str, tmp_path: Path) -> None:
    O1Embedder.from_pretrained(tiny_folder)  # its hashes are remembered before files are limited
    with pytest.raises(CheckpointError, match="Cannot write"), file_size_limit(20_000):
        run(tiny_folder, "--output", tmp_path / "x", "--dtype", "float16")
    assert list(tmp_path.iterdir()) == []


def test_source_and_output_are_required(tiny_folder: str, capsys: Capture) -> None:
    for arguments in ([], [tiny_folder], ["--output", "x"]):
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 2
    assert "usage: o1" in capsys.readouterr().err

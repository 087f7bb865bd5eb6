"""Checkpoints: what is saved comes back, other layouts load, and what is broken says so."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from o1_retriever import O1Config, O1Embedder, ThinkingConfig, load_checkpoint
from o1_retriever.errors import CheckpointError, ModelNotFoundError
from o1_retriever.prompts import SPECIAL_TOKENS

MakeEmbedder = Callable[..., O1Embedder]
Models = Callable[..., PreTrainedModel]
Tokenizers = Callable[[str], PreTrainedTokenizerFast]
TEXTS = ["a passage", "another, longer passage"]
IDS = torch.tensor([[5, 80, 259, 262]])


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=IDS).logits)


def save_base(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **kwargs: Any) -> Path:
    model.save_pretrained(folder, **kwargs)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(tiny_folder: str, tmp_path: Path) -> Path:
    """A checkpoint folder that a test may break."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(family: str, tied: bool, make_embedder: MakeEmbedder, tmp_path: Path) -> None:
    embedder = make_embedder(family, tied)
    head = embedder.model.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(0))
    embedder.save_pretrained(tmp_path / "saved")
    loaded = O1Embedder.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(loaded.model), logits_of(embedder.model))
    assert loaded.config == embedder.config
    assert loaded.think(TEXTS) == embedder.think(TEXTS)
    np.testing.assert_array_equal(loaded.encode_query(TEXTS), embedder.encode_query(TEXTS))
    np.testing.assert_array_equal(loaded.encode_document(TEXTS), embedder.encode_document(TEXTS))
    vocabularies = [e.checkpoint.tokenizer.get_vocab() for e in (loaded, embedder)]
    assert vocabularies[0] == vocabularies[1]
    shared = loaded.model.get_output_embeddings().weight is loaded.model.get_input_embeddings().weight
    assert shared == tied


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16])
def test_dtypes(tiny_folder: str, tiny: O1Embedder, dtype: torch.dtype | str) -> None:
    loaded = O1Embedder.from_pretrained(tiny_folder, dtype=dtype)
    assert loaded.model.dtype == (torch.float16 if dtype == "float16" else torch.bfloat16)
    assert (loaded.encode_document(TEXTS) * tiny.encode_document(TEXTS)).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("sharded", [False, True])
def test_the_authors_layout(
    sharded: bool, model_factory: Models, tokenizer_factory: Tokenizers, tmp_path: Path
) -> None:
    """Merged Qwen2 weights, a tokenizer with the four tokens, no o1_config.json; a vocabulary padded beyond it."""
    model, tokenizer = model_factory("qwen2", tied=False, vocabulary=272), tokenizer_factory("qwen2")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    folder = save_base(tmp_path / "published", model, tokenizer, max_shard_size="50KB" if sharded else "1GB")
    assert (len(list(folder.glob("*.safetensors"))) > 1) == sharded
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = O1Embedder.from_pretrained(folder)
    assert loaded.config == O1Config()
    thinking = loaded.config.thinking
    expected = ThinkingConfig(num_thoughts=3, temperature=0.1, top_p=0.9, top_k=0, max_new_tokens=128)
    assert thinking == expected
    assert torch.equal(logits_of(loaded.model), logits_of(model))
    assert loaded.prompts.queries(["a"], 9).ids == [[259, 67, 260, 261]]


@pytest.mark.parametrize("tied", [True, False])
def test_a_plain_base_model_gets_the_tokens(
    family: str, tied: bool, model_factory: Models, tokenizer_factory: Tokenizers, tmp_path: Path
) -> None:
    model = model_factory(family, tied=tied)
    folder = save_base(tmp_path / "base", model, tokenizer_factory(family))
    states = torch.get_rng_state(), np.asarray(np.random.get_state()[1]).copy()
    with pytest.warns(UserWarning, match="lacks the special tokens"):
        loaded = O1Embedder.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.asarray(np.random.get_state()[1]), states[1])
    weights = loaded.model.get_input_embeddings().weight
    assert weights.shape[0] == 263
    old = model.get_input_embeddings().weight
    assert torch.equal(weights[:259], old)
    torch.testing.assert_close(weights[259:], old.mean(dim=0).expand(4, -1))
    with torch.no_grad():
        plain_ids = torch.tensor([[5, 80, 81]])
        torch.testing.assert_close(loaded.model(plain_ids).logits[..., :259], model(plain_ids).logits)
    loaded.save_pretrained(tmp_path / "mended")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = O1Embedder.from_pretrained(tmp_path / "mended")
    np.testing.assert_array_equal(again.encode_document(TEXTS), loaded.encode_document(TEXTS))


def make_adapter(folder: Path, base: Path, tied: bool, models: Models, tokenizers: Tokenizers) -> torch.nn.Module:
    """A base folder and a LoRA adapter with the four tokens and their embeddings; returns the unmerged model."""
    model, tokenizer = models("qwen2", tied=tied), tokenizers("qwen2")
    save_base(base, model, tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model.resize_token_embeddings(263)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
        model.config._name_or_path = str(base)
        adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(folder, save_embedding_layers=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(base)}))
    tokenizer.save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_equals_its_unmerged_model(
    tied: bool, model_factory: Models, tokenizer_factory: Tokenizers, tmp_path: Path, plain: Any
) -> None:
    adapted = make_adapter(tmp_path / "adapter", tmp_path / "base", tied, model_factory, tokenizer_factory)
    state = torch.get_rng_state()
    loaded = O1Embedder.from_pretrained(tmp_path / "adapter")
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(loaded.model), logits_of(adapted), atol=1e-4, rtol=1e-4)
        with adapted.disable_adapter():
            assert (logits_of(loaded.model) - logits_of(adapted)).abs().max() > 0.1, "the adapter changes nothing"
    rows = loaded.prompts.passages(TEXTS, 99).ids
    loaded_vectors, loaded.model = loaded.encode_document(TEXTS), adapted
    np.testing.assert_allclose(loaded_vectors, plain.vectors(loaded, rows), atol=1e-4)
    assert not any("lora" in name for name, _ in load_checkpoint(tmp_path / "adapter").model.named_parameters())


def test_an_adapter_without_its_base(model_factory: Models, tokenizer_factory: Tokenizers, tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", tmp_path / "base", True, model_factory, tokenizer_factory)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"needs its base model .*base.*, which is missing"):
        O1Embedder.from_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    for broken in ('{"base_model_name_or_path": null}', "{}", "{"):
        config.write_text(broken)
        with pytest.raises(CheckpointError, match="names no base model"):
            O1Embedder.from_pretrained(tmp_path / "adapter")


def test_an_adapter_that_is_damaged(model_factory: Models, tokenizer_factory: Tokenizers, tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", tmp_path / "base", True, model_factory, tokenizer_factory)
    truncate(tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        O1Embedder.from_pretrained(tmp_path / "adapter")


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model", "./missing", "a b", "../../x/y/z"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No folder, bundled model or cached hub repository is called"):
        O1Embedder.from_pretrained(name)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def without_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit(folder: Path, name: str, **values: object) -> None:
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(settings | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda f: (f / "config.json").unlink(), "cannot be loaded as a causal language model"),
        (lambda f: truncate(f / "model.safetensors"), "damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged"),
        (lambda f: truncate(f / "tokenizer.json"), "tokenizer .* cannot be loaded"),
        (lambda f: truncate(f / "tokenizer_config.json"), "tokenizer .* cannot be loaded"),
        (lambda f: truncate(f / "config.json"), "cannot be loaded as a causal language model"),
        (lambda f: truncate(f / "o1_config.json"), r"o1_config\.json cannot be used"),
        (lambda f: (f / "o1_config.json").write_text("[]"), r"o1_config\.json cannot be used"),
        (lambda f: edit(f, "o1_config.json", unknown=1), "unknown"),
        (lambda f: edit(f, "o1_config.json", max_query_tokens="x"), "max_query_tokens must be an int"),
        (lambda f: edit(f, "o1_config.json", format_version=99), "upgrade o1-retriever"),
        (lambda f: edit(f, "o1_config.json", thinking={"top_p": 2}), "top_p must lie between"),
        (lambda f: edit(f, "config.json", model_type="nonsense"), "cannot be loaded as a causal language model"),
        (lambda f: edit(f, "config.json", model_type="vit"), "cannot be loaded as a causal language model"),
        (lambda f: edit(f, "config.json", hidden_size=64), "do not fill the model"),
        (without_layer, r"do not fill the model .* model\.layers\.1\.mlp\.up_proj\.weight \(1 in all\)"),
    ],
)
def test_broken_folders(copy: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copy)
    with pytest.raises(CheckpointError, match=message):
        O1Embedder.from_pretrained(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float3"}, "Unknown dtype 'float3'"),
        ({"dtype": "int8"}, "dtype"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
    ],
)
def test_unknown_dtype_or_device(
    tiny_folder: str, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CheckpointError, match=message):
        O1Embedder.from_pretrained(tiny_folder, **arguments)


def test_save_refuses_what_is_there(tiny: O1Embedder, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep me")
    for target in (full, full / "mine.txt"):
        with pytest.raises(CheckpointError, match="is not an empty folder"):
            tiny.save_pretrained(target)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    tiny.save_pretrained(tmp_path / "empty")
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


@pytest.mark.parametrize("size", [0, 2_000, 20_000])
def test_no_room_for_a_file_leaves_nothing(tiny: O1Embedder, tmp_path: Path, size: int) -> None:
    with pytest.raises(CheckpointError, match="Cannot write"), file_size_limit(size):
        tiny.save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["48k", "96k"])
def test_a_full_disk_leaves_nothing(tiny: O1Embedder, tmp_path: Path, size: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs more rights than this process has")
    try:
        with pytest.raises(CheckpointError, match="Cannot write"):
            tiny.save_pretrained(disk / "saved")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_interrupted_save_leaves_nothing(tiny: O1Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny.checkpoint.tokenizer, "save_pretrained", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny.save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_local_folder_opens_no_socket(tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the hub is allowed: a name that is not local does try, a folder does not."""
    tried: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    O1Embedder.from_pretrained(tiny_folder).encode_query("a", 1)
    assert tried == []
    with pytest.raises(ModelNotFoundError, match="could not be downloaded"):
        O1Embedder.from_pretrained("nobody/no-such-model")
    assert tried, "this test would not notice a connection"


def test_weights_are_as_readable_as_the_rest(tiny_folder: str) -> None:
    modes = {path.name: path.stat().st_mode for path in Path(tiny_folder).iterdir()}
    assert modes["model.safetensors"] == modes["o1_config.json"]

"""Two fingerprints: what changes them, what does not, and the cache of file hashes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from o1_retriever import O1Config, O1Embedder, RecordedThoughts, fingerprints

MakeEmbedder = Callable[..., O1Embedder]


def load(folder: Path | str, **kwargs: str) -> O1Embedder:
    return O1Embedder.from_pretrained(folder, **kwargs)


@pytest.fixture
def copy(tiny_folder: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "moved" / "elsewhere"))


def test_a_copy_elsewhere_has_the_same(tiny_folder: str, copy: Path) -> None:
    one, two = load(tiny_folder), load(copy)
    assert one.passage_fingerprint == two.passage_fingerprint
    assert one.query_fingerprint() == two.query_fingerprint()


def test_device_and_dtype_do_not_count(tiny_folder: str) -> None:
    one, two = load(tiny_folder, device="cpu"), load(tiny_folder, dtype="bfloat16")
    assert one.passage_fingerprint == two.passage_fingerprint
    assert one.query_fingerprint() == two.query_fingerprint()


def test_an_adapter_beside_or_behind_its_base(tmp_path: Path) -> None:
    """Hashes follow names and contents: where the folders of adapter and base stand in the alphabet is no matter."""
    for adapter, base in (("a", "b"), ("z", "y")):
        for folder, name in ((adapter, "adapter_model.safetensors"), (base, "model.safetensors")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).write_text(name)
    hashes = [fingerprints.hash_files(tmp_path.glob(pattern)) for pattern in ("[ab]/*", "[yz]/*")]
    assert hashes[0] == hashes[1]


def change_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_tokenizer(folder: Path) -> None:
    state = json.loads((folder / "tokenizer.json").read_text())
    state["normalizer"] = {"type": "NFKC"}
    (folder / "tokenizer.json").write_text(json.dumps(state))


def change_length(folder: Path) -> None:
    settings = json.loads((folder / "o1_config.json").read_text())
    (folder / "o1_config.json").write_text(json.dumps(settings | {"max_passage_tokens": 100}))


@pytest.mark.parametrize("change", [change_weights, change_tokenizer, change_length])
def test_what_decides_a_passage_vector_counts(copy: Path, change: Callable[[Path], None]) -> None:
    before = load(copy)
    change(copy)
    after = load(copy)
    assert after.passage_fingerprint != before.passage_fingerprint
    assert after.query_fingerprint() != before.query_fingerprint()


def test_query_settings_count_for_queries_alone(tiny: O1Embedder) -> None:
    base = tiny.query_fingerprint()
    thinking = tiny.config.thinking
    assert tiny.query_fingerprint(num_thoughts=thinking.num_thoughts) == base
    others = [
        dataclasses.replace(thinking, **change)  # type: ignore[arg-type]
        for change in (
            {"num_thoughts": 5},
            {"seed": 7},
            {"temperature": 0.3},
            {"top_p": 0.5},
            {"top_k": 4},
            {"max_new_tokens": 3},
            {"num_thoughts": 0},
        )
    ]
    assert len({base, *(tiny.query_fingerprint(thinking=other) for other in others)}) == 8
    for thoughts in ({"a": ["1"]}, {"a": ["2"]}):
        recorded = O1Embedder(tiny.checkpoint, thinker=RecordedThoughts(thoughts))
        assert recorded.passage_fingerprint == tiny.passage_fingerprint
        assert recorded.query_fingerprint() != base
        assert recorded.query_fingerprint(0) == tiny.query_fingerprint(0), "no thinker is asked for no thoughts"


def test_changed_thinking_leaves_the_index_alone(copy: Path) -> None:
    before = load(copy)
    settings = json.loads((copy / "o1_config.json").read_text())
    settings["thinking"] |= {"num_thoughts": 1, "seed": 5}
    settings |= {"max_query_tokens": 9, "max_thought_tokens": 9}
    (copy / "o1_config.json").write_text(json.dumps(settings))
    after = load(copy)
    assert after.passage_fingerprint == before.passage_fingerprint
    assert after.query_fingerprint(3) != before.query_fingerprint(3)


def test_weights_in_memory(make_embedder: MakeEmbedder) -> None:
    one, same, other = make_embedder("qwen2", seed=0), make_embedder("qwen2", seed=0), make_embedder("qwen2", seed=1)
    assert one.passage_fingerprint == same.passage_fingerprint != other.passage_fingerprint


def test_the_dimension_counts() -> None:
    prints = {fingerprints.passage_fingerprint("w", "t", O1Config(), dimension) for dimension in (32, 64)}
    assert len(prints) == 2


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files opened for hashing; the cache is a fresh folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened: list[str] = []
    path_open = Path.open

    def record(path: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if mode == "rb":
            opened.append(path.name)
        return path_open(path, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", record)
    return opened


def test_unchanged_files_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "big.safetensors"
    file.write_text("weights")
    first = fingerprints.hash_files([file])
    assert fingerprints.hash_files([file]) == first
    assert reads == ["big.safetensors"]
    file.write_text("weighty")  # the same size, another time
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns + 1_000))
    assert fingerprints.hash_files([file]) != first
    stamp = file.stat().st_mtime_ns
    file.write_text("weights and more")  # another size, the same time
    os.utime(file, ns=(stamp, stamp))
    assert fingerprints.hash_files([file]) != first
    assert len(reads) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_a_broken_cache_is_rebuilt(tmp_path: Path, reads: list[str], content: str) -> None:
    file = tmp_path / "big.safetensors"
    file.write_text("weights")
    fingerprints.cache_file().parent.mkdir(parents=True)
    fingerprints.cache_file().write_text(content, encoding="latin-1")
    first = fingerprints.hash_files([file])
    assert fingerprints.hash_files([file]) == first
    assert reads == ["big.safetensors"]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "big.safetensors"
    file.write_text("weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = fingerprints.hash_files([file])
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # a file where the folder should be: no rights help here
    assert fingerprints.hash_files([file]) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self")  # a file system that takes nothing
    assert fingerprints.hash_files([file]) == expected

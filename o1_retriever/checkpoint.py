"""Loading and saving: weights, tokenizer, special tokens, `o1_config.json`, hashes for the fingerprints.

A checkpoint is a folder in the layout of transformers: full weights, or a PEFT adapter that names its base.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from o1_retriever import fingerprints
from o1_retriever.config import CONFIG_NAME, O1Config
from o1_retriever.errors import CheckpointError
from o1_retriever.head import speed_up_head
from o1_retriever.loading import load_model, load_tokenizer
from o1_retriever.locating import locate, tokenizer_files, weight_files
from o1_retriever.special_tokens import add_special_tokens


@dataclass
class Checkpoint:
    """A model ready for use, with what its fingerprints need.

    Attributes:
        model: causal LM in eval mode, adapter merged.
        tokenizer: holds the four special tokens.
        config: limits, pooling, default thinking.
        weights_hash: of the weight files, or of the tensors where there are no files.
        tokenizer_hash: of the tokenizer's files, or of its state.
        source: where it came from, for messages.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: O1Config
    weights_hash: str
    tokenizer_hash: str
    source: str

    @classmethod
    def from_objects(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: O1Config | None = None
    ) -> Checkpoint:
        """Wraps a model in memory; adds the special tokens where they are missing.

        Its fingerprints name the tensors, those of a loaded checkpoint the files: save a model and load it before
        you index with it, or the index will refuse the saved one.
        """
        add_special_tokens(model, tokenizer)
        weights = fingerprints.hash_state(model.state_dict())
        state = fingerprints.digest(tokenizer.backend_tokenizer.to_str())
        return cls(model.eval(), tokenizer, config or O1Config(), weights, state, "memory")


def load_checkpoint(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Loads a bundled model, a folder or a hub repository.

    Args:
        name_or_path: the bundled model's name, a folder, or a hub id; a folder of the same name needs `./`.
        device: None takes cuda, then mps, then cpu.
        dtype: of the weights in memory; None means float32, on cuda the dtype they are stored in.
        revision: of a hub repository.

    Raises:
        ModelNotFoundError: nothing goes by this name.
        CheckpointError: it is there but cannot be used.
    """
    folder = locate(name_or_path, revision)
    target = resolve_device(device)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, resolve_dtype(dtype, target), tokenizer)
    if add_special_tokens(model, tokenizer):
        warnings.warn(
            f"{name_or_path} lacks the special tokens of an O1 Embedder; they were added untrained: train it first.",
            stacklevel=3,
        )
    speed_up_head(model)
    return Checkpoint(
        model=model.to(target).eval(),  # type: ignore[arg-type]
        tokenizer=tokenizer,
        config=O1Config.from_folder(folder),
        weights_hash=fingerprints.hash_files(weight_files(folder)),
        tokenizer_hash=fingerprints.hash_files(tokenizer_files(folder)),
        source=str(name_or_path),
    )


def save_checkpoint(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> Path:
    """Writes weights (safetensors), tokenizer and `o1_config.json`; the folder appears whole or not at all.

    Raises:
        CheckpointError: the folder exists and is not empty, or the disk refuses.
    """
    target = Path(folder)
    refuse_taken(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        checkpoint.model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        (partial / CONFIG_NAME).write_text(checkpoint.config.to_json(), encoding="utf-8")
        for weights in partial.glob("*.safetensors"):
            shutil.copymode(partial / CONFIG_NAME, weights)  # safetensors writes files that only their owner may read
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot write {target}: {error}. Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def refuse_taken(target: Path) -> None:
    """CheckpointError where something is already at the place to write to."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is not an empty folder: choose another name or remove it first.")


def default_device() -> torch.device:
    """cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best one; CheckpointError where it is not there."""
    if device is None:
        return default_device()
    kind = str(device).partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        here = ", ".join(name for name, usable in available.items() if usable)
        raise CheckpointError(f"There is no device {device!r} here: use one of {here}, or install torch for it.")
    return torch.device(device)


def resolve_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype | str:
    """The dtype asked for; None means float32, on cuda the stored one ("auto"). CheckpointError for unknown names."""
    if isinstance(dtype, str) and dtype != "auto":
        named = getattr(torch, dtype, None)
        if not isinstance(named, torch.dtype):
            raise CheckpointError(f"Unknown dtype {dtype!r}: use 'float32', 'bfloat16' or 'float16'.")
        return named
    return dtype or ("auto" if device.type == "cuda" else torch.float32)

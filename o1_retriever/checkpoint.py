"""Loading and saving: base model, adapter, special tokens, `o1_config.json`, hashes for the fingerprints.

A checkpoint is a folder in the layout of transformers: full weights, or a PEFT adapter that names its base. Weights
are safetensors only and remote code is never run. `locate` turns names into folders; everything else reads folders.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from o1_retriever import fingerprints
from o1_retriever.bundled import bundled_folder
from o1_retriever.config import CONFIG_NAME, O1Config
from o1_retriever.errors import CheckpointError, ModelNotFoundError
from o1_retriever.prompts import SPECIAL_TOKENS

ADAPTER_CONFIG = "adapter_config.json"
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


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
    target = _resolve_device(device)
    tokenizer = _load_tokenizer(folder)
    model = _load_model(folder, _resolve_dtype(dtype, target), tokenizer)
    if add_special_tokens(model, tokenizer):
        warnings.warn(
            f"{name_or_path} lacks the special tokens of an O1 Embedder; they were added untrained: train it first.",
            stacklevel=3,
        )
    return Checkpoint(
        model=model.to(target).eval(),  # type: ignore[arg-type]
        tokenizer=tokenizer,
        config=O1Config.from_folder(folder),
        weights_hash=fingerprints.hash_files(weight_files(folder)),
        tokenizer_hash=fingerprints.hash_files(_tokenizer_files(folder)),
        source=str(name_or_path),
    )


def save_checkpoint(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> Path:
    """Writes weights (safetensors), tokenizer and `o1_config.json`; the folder appears whole or not at all.

    Raises:
        CheckpointError: the folder exists and is not empty, or the disk refuses.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is not an empty folder: choose another name or remove it first.")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        checkpoint.model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        (partial / CONFIG_NAME).write_text(checkpoint.config.to_json(), encoding="utf-8")
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot write {target}: {error}. Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def locate(name_or_path: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The local folder of a checkpoint: bundled, given, or downloaded from the hub once.

    Raises:
        ModelNotFoundError: nothing goes by this name.
    """
    name = os.fspath(name_or_path)
    bundled = bundled_folder(name)
    if bundled is not None:
        return bundled
    if Path(name).is_dir():
        return Path(name)
    hint = f"No folder, bundled model or cached hub repository is called {name!r}"
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(f"{hint}: check the path.")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except HFValidationError as error:
        raise ModelNotFoundError(f"{hint}: check the name.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(f"{hint}, and it could not be downloaded ({type(error).__name__}): {error}") from error


def default_device() -> torch.device:
    """cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _resolve_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return default_device()
    kind = str(device).partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        here = ", ".join(name for name, usable in available.items() if usable)
        raise CheckpointError(f"There is no device {device!r} here: use one of {here}, or install torch for it.")
    return torch.device(device)


def _resolve_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype | str:
    if isinstance(dtype, str) and dtype != "auto":
        named = getattr(torch, dtype, None)
        if not isinstance(named, torch.dtype):
            raise CheckpointError(f"Unknown dtype {dtype!r}: use 'float32', 'bfloat16' or 'float16'.")
        return named
    return dtype or ("auto" if device.type == "cuda" else torch.float32)


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors; with an adapter, those of its base too."""
    files = sorted(folder.glob("*.safetensors"))
    return files + weight_files(_base_folder(folder)) if (folder / ADAPTER_CONFIG).is_file() else files


def _tokenizer_files(folder: Path) -> list[Path]:
    files = [folder / name for name in fingerprints.TOKENIZER_FILES if (folder / name).is_file()]
    return files if files or not (folder / ADAPTER_CONFIG).is_file() else _tokenizer_files(_base_folder(folder))


def _base_folder(folder: Path) -> Path:
    """The folder of the model that an adapter was trained on."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        name, revision = os.fspath(config["base_model_name_or_path"]), config.get("revision")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} names no base model: save the adapter again.") from error
    try:
        return locate(name, revision)
    except ModelNotFoundError as error:
        raise CheckpointError(
            f"The adapter {folder} needs its base model {name!r}, which is missing: {error} "
            f"Put the base there or change base_model_name_or_path in {ADAPTER_CONFIG}."
        ) from error


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if not _tokenizer_files(folder):
        raise CheckpointError(f"{folder} holds no tokenizer (tokenizer.json): save the tokenizer beside the weights.")
    if not any((folder / name).is_file() for name in fingerprints.TOKENIZER_FILES):
        folder = _base_folder(folder)
    try:
        tokenizer = _tokenizer_class(folder).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"The tokenizer in {folder} cannot be loaded: {error}") from error
    return tokenizer


def _tokenizer_class(folder: Path) -> type[AutoTokenizer] | type[PreTrainedTokenizerFast]:
    """The plain class where the folder declares it: AutoTokenizer may rebuild it as another one by the model's type."""
    path = folder / "tokenizer_config.json"
    declared = json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") if path.is_file() else None
    return PreTrainedTokenizerFast if declared in ("PreTrainedTokenizerFast", "TokenizersBackend") else AutoTokenizer


def _load_model(folder: Path, dtype: torch.dtype | str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    if (folder / ADAPTER_CONFIG).is_file():
        return _load_adapter(folder, dtype, tokenizer)
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} holds no weights (*.safetensors): check that the folder is complete.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if hasattr(config, "is_decoder"):
            config.is_decoder = True  # an encoder's weights (BERT) are read as a causal decoder
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are in the report, and refused below
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise CheckpointError(f"The weights in {folder} are damaged ({error}): copy or download them again.") from error
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise CheckpointError(f"{folder} cannot be loaded as a causal language model: {error}") from error
    model: PreTrainedModel = loaded[0]
    _check_complete(model, loaded[1], folder)
    return model


def _check_complete(model: PreTrainedModel, report: dict[str, Any], folder: Path) -> None:
    """Refuses weights that transformers would have filled with random numbers."""
    missing = set(report["missing_keys"])
    # BERT's output bias has two names; without tied embeddings transformers saves one of them and asks for both
    for name, source in (model._tied_weights_keys or {}).items():
        if name in missing and name.endswith(".bias") and source not in missing:
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, model.get_parameter(source))
            missing.discard(name)
    wrong = sorted(missing | {str(key[0]) for key in report["mismatched_keys"]})
    if wrong:
        raise CheckpointError(
            f"The weights in {folder} do not fill the model that its config.json describes: {', '.join(wrong[:3])} "
            f"({len(wrong)} in all) absent or of another size. Check that all files are there and belong together."
        )


def _load_adapter(folder: Path, dtype: torch.dtype | str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Base weights, room for the adapter's tokens, then the adapter merged into them."""
    from peft import PeftModel

    model = _load_model(_base_folder(folder), dtype, tokenizer)
    _make_room(model, tokenizer)
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws weights before it reads them
            merged = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").merge_and_unload()
    except SafetensorError as error:
        raise CheckpointError(f"The adapter in {folder} is damaged ({error}): copy or download it again.") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The adapter in {folder} does not fit its base model: {error}") from error
    return merged  # type: ignore[no-any-return]


def add_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Adds the four tokens where they are missing, resizing the embeddings once; returns those it added."""
    missing = [token for token in SPECIAL_TOKENS if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
    _make_room(model, tokenizer)
    _fill_with_mean(model, [int(tokenizer.get_vocab()[token]) for token in missing])
    return missing


def _make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Resizes the embeddings if the tokenizer has more tokens than they have rows."""
    rows: int = model.get_input_embeddings().weight.shape[0]  # type: ignore[index, assignment]
    if len(tokenizer) > rows:
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        _fill_with_mean(model, list(range(rows, len(tokenizer))))


def _fill_with_mean(model: PreTrainedModel, new: list[int]) -> None:
    """Sets the rows of new tokens to the mean of those before them, so that nothing depends on a random generator."""
    if not new:
        return
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                weight: torch.Tensor = layer.weight  # type: ignore[assignment]
                weight[new] = weight[: min(new)].mean(dim=0)

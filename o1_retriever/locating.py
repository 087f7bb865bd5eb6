"""Names become folders, folders become lists of files: bundled models, paths, the hub, an adapter and its base.

Knows where things lie; reads no weights.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from o1_retriever import fingerprints
from o1_retriever.bundled import bundled_folder
from o1_retriever.errors import CheckpointError, ModelNotFoundError

ADAPTER_CONFIG = "adapter_config.json"
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


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


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors; with an adapter, those of its base too."""
    files = sorted(folder.glob("*.safetensors"))
    return files + weight_files(base_folder(folder)) if (folder / ADAPTER_CONFIG).is_file() else files


def tokenizer_files(folder: Path) -> list[Path]:
    files = [folder / name for name in fingerprints.TOKENIZER_FILES if (folder / name).is_file()]
    return files if files or not (folder / ADAPTER_CONFIG).is_file() else tokenizer_files(base_folder(folder))


def base_folder(folder: Path) -> Path:
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

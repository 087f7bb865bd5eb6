"""From a folder to a model in memory: full weights or an adapter merged into its base, complete or refused.

Weights are safetensors only and remote code is never run. Reads folders; `locating.py` finds them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
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
from o1_retriever.errors import CheckpointError
from o1_retriever.locating import ADAPTER_CONFIG, base_folder, tokenizer_files
from o1_retriever.special_tokens import make_room


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if not tokenizer_files(folder):
        raise CheckpointError(f"{folder} holds no tokenizer (tokenizer.json): save the tokenizer beside the weights.")
    if not any((folder / name).is_file() for name in fingerprints.TOKENIZER_FILES):
        folder = base_folder(folder)
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


def load_model(folder: Path, dtype: torch.dtype | str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
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

    model = load_model(base_folder(folder), dtype, tokenizer)
    make_room(model, tokenizer)
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws weights before it reads them
            merged = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").merge_and_unload()
    except SafetensorError as error:
        raise CheckpointError(f"The adapter in {folder} is damaged ({error}): copy or download it again.") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The adapter in {folder} does not fit its base model: {error}") from error
    return merged  # type: ignore[no-any-return]

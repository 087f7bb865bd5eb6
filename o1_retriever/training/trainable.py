"""From a base model to what is trained: tokens added, an adapter put in or all weights set free, forward taught.

Knows models and PEFT; nothing of data or losses.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from o1_retriever.checkpoint import Checkpoint, load_checkpoint
from o1_retriever.errors import CheckpointError
from o1_retriever.prompts import SPECIAL_TOKENS
from o1_retriever.training.config import ModelSettings
from o1_retriever.training.joint import check_head, install


def load_base(settings: ModelSettings, device: torch.device) -> Checkpoint:
    """The base model with the four special tokens, untrained where it did not have them.

    Raises:
        CheckpointError: it cannot be used, or computes its logits in an unknown way.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*special tokens of an O1 Embedder")  # they are about to be trained
        checkpoint = load_checkpoint(settings.base, device=device, dtype=settings.dtype, revision=settings.revision)
    check_head(checkpoint.model)
    return checkpoint


def make_trainable(checkpoint: Checkpoint, settings: ModelSettings) -> nn.Module:
    """The model to train: itself, or a PEFT model around it; its forward knows joint batches.

    With an adapter only the low-rank matrices and the four tokens' embedding rows change.

    Raises:
        CheckpointError: the model has no linear layers that an adapter fits.
    """
    model: nn.Module = checkpoint.model
    if settings.tuning == "full":
        model.requires_grad_(True)
    else:
        model = _with_adapter(checkpoint, settings)
    install(model)
    return model


def _with_adapter(checkpoint: Checkpoint, settings: ModelSettings) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    vocabulary = checkpoint.tokenizer.get_vocab()
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        trainable_token_indices=[int(vocabulary[token]) for token in SPECIAL_TOKENS],
        fan_in_fan_out=checkpoint.model.config.model_type == "gpt2",  # its layers are transposed
    )
    try:
        model: Any = get_peft_model(checkpoint.model, adapter)
    except ValueError as error:
        raise CheckpointError(f"No adapter fits {settings.base}: {error}. Use model.tuning=full.") from error
    model.peft_config["default"].base_model_name_or_path = settings.base
    return model  # type: ignore[no-any-return]

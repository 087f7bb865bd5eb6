"""From a base model to what is trained: tokens added, an adapter put in or all weights set free, forward taught.

Knows models and PEFT; nothing of data or losses.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from o1_retriever.checkpoint import Checkpoint, load_checkpoint
from o1_retriever.errors import CheckpointError
from o1_retriever.prompts import SPECIAL_TOKENS
from o1_retriever.training.config import ModelSettings
from o1_retriever.training.joint import check_head, install, vocabulary_logits
from o1_retriever.training.token_rows import train_rows


def load_base(settings: ModelSettings, device: torch.device) -> Checkpoint:
    """The base model with the four special tokens, untrained where it did not have them.

    Raises:
        CheckpointError: it cannot be used, or not in this dtype or with this attention.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*special tokens of an O1 Embedder")  # they are about to be trained
        checkpoint = load_checkpoint(settings.base, device=device, dtype=settings.dtype, revision=settings.revision)
    if settings.tuning == "full" and checkpoint.model.dtype == torch.float16:
        raise CheckpointError(
            "All weights cannot be trained in float16, AdamW underflows: set model.dtype to float32 or bfloat16."
        )
    if settings.attention is not None:
        _set_attention(checkpoint.model, settings.attention)
    return checkpoint


def _set_attention(model: PreTrainedModel, name: str) -> None:
    """Raises CheckpointError where the model or this machine does not have the implementation."""
    try:
        model.set_attn_implementation(name)
    except (ImportError, ValueError) as error:
        raise CheckpointError(f"model.attention={name} cannot be used: {' '.join(str(error).split())}") from error


def make_trainable(checkpoint: Checkpoint, settings: ModelSettings, generates: bool = True) -> nn.Module:
    """The model to train: itself, or a PEFT model around it; its forward knows joint batches.

    With an adapter only the low-rank matrices and the four tokens' embedding rows change.

    Args:
        checkpoint: the base.
        settings: how it is trained.
        generates: some loss needs logits.

    Raises:
        CheckpointError: no adapter fits the model, or it computes its logits in an unknown way.
    """
    if generates:
        check_head(checkpoint.model)
    model: nn.Module = checkpoint.model
    if settings.tuning == "full":
        model.requires_grad_(True)
        if settings.token_rows == "special":
            train_rows(checkpoint.model, _special_ids(checkpoint))
    else:
        model = _with_adapter(checkpoint, settings)
    install(model)
    return model


def _with_adapter(checkpoint: Checkpoint, settings: ModelSettings) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    before = _logits_of_a_state(checkpoint.model)
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        trainable_token_indices=_special_ids(checkpoint),
        fan_in_fan_out=checkpoint.model.config.model_type == "gpt2",  # its layers are transposed
    )
    try:
        model: Any = get_peft_model(checkpoint.model, adapter, revision=settings.revision)
    except ValueError as error:
        raise CheckpointError(f"No adapter fits {settings.base}: {error}. Use model.tuning=full.") from error
    model.peft_config["default"].base_model_name_or_path = settings.base
    _keep_bias(checkpoint.model, before, settings.base)
    return model  # type: ignore[no-any-return]


def _special_ids(checkpoint: Checkpoint) -> list[int]:
    vocabulary = checkpoint.tokenizer.get_vocab()
    return [int(vocabulary[token]) for token in SPECIAL_TOKENS]


@torch.no_grad()
def _logits_of_a_state(model: PreTrainedModel) -> Tensor:
    """(1, V) logits of an arbitrary hidden state."""
    state = torch.linspace(-1, 1, int(model.config.hidden_size), device=model.device, dtype=model.dtype)
    return vocabulary_logits(model, state[None])


def _keep_bias(model: PreTrainedModel, before: Tensor, name: str) -> None:
    """A fresh adapter changes nothing; PEFT's layer for tied token rows leaves out the head's bias, so it is put back.

    Raises:
        CheckpointError: the adapter changes the logits for another reason.
    """
    if torch.allclose(_logits_of_a_state(model), before, atol=1e-3, rtol=1e-3):
        return
    head = model.get_output_embeddings()
    bias = getattr(getattr(head, "original_module", head), "bias", None)
    if head is not None and bias is not None:
        head.register_forward_hook(lambda module, inputs, output: output + bias)
    if not torch.allclose(_logits_of_a_state(model), before, atol=1e-3, rtol=1e-3):
        raise CheckpointError(f"An untrained adapter changes the logits of {name}: use model.tuning=full.")

"""Makes a model and its tokenizer know the four special tokens: rows are added once, and without random numbers."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from o1_retriever.prompts import SPECIAL_TOKENS


def add_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Adds the four tokens where they are missing, resizing the embeddings once; returns those it added."""
    missing = [token for token in SPECIAL_TOKENS if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
    make_room(model, tokenizer)
    _fill_with_mean(model, [int(tokenizer.get_vocab()[token]) for token in missing])
    return missing


def make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
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

"""Which rows of the token tables are trained: with "special" the four tokens' alone, to the bit.

A table has a row for every token of the vocabulary, and the training text holds few of them. What the layers learn,
they learn for the rows that were there; and the next-token loss pushes every row of a head away, whether its token was
seen or not. Rows that stay keep the meaning that the base gave them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel


def train_rows(model: PreTrainedModel, rows: Sequence[int]) -> None:
    """Gradients reach these rows of the token tables alone, before anything clips, exchanges or applies them.

    Args:
        model: the causal LM, all of it set free; the optimizer must spare its tables, see `without_decay`.
        rows: token ids.
    """
    for table in token_tables(model):
        table.register_hook(_only(list(rows)))


def without_decay(optimizer: Optimizer, model: PreTrainedModel) -> None:
    """Takes the token tables out of weight decay, which shrinks rows that have no gradient; before the first step.

    Args:
        optimizer: AdamW over parameters of the model: where gradient and decay are 0 it changes nothing.
        model: the causal LM.
    """
    tables = {id(table) for table in token_tables(model)}
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        for held, decay in ((False, group["weight_decay"]), (True, 0.0)):
            params = [p for p in group["params"] if (id(p) in tables) is held]
            if params:
                optimizer.add_param_group({**group, "params": params, "weight_decay": decay})


def token_tables(model: PreTrainedModel) -> list[nn.Parameter]:
    """The (V, D) weights with a row a token: the embeddings, and the head where it is not tied to them."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(layer.weight): layer.weight for layer in layers if layer is not None}
    return list(found.values())  # type: ignore[arg-type]


def _only(rows: list[int]) -> Callable[[Tensor], Tensor]:
    """A hook that turns a table's gradient (V, D) into one of these rows; a NaN elsewhere goes with its row."""

    def hook(gradient: Tensor) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[rows] = gradient[rows]
        return kept

    return hook

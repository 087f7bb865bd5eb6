"""Learning rates by role: embeddings and language-model head may learn slower or faster than the layers between.

A model that learns to write from nothing needs it: at the layers' rate the next-token loss tears tied embeddings away
from what the layers expect, and a fresh head learns too slowly (docs/LOG.md).
"""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel


def set_rates(optimizer: Optimizer, model: PreTrainedModel, embedding_rate: float, head_rate: float) -> None:
    """Splits the optimizer's groups by role and scales their learning rates; before the first step.

    Args:
        optimizer: over parameters of the model.
        model: the causal LM.
        embedding_rate: of every embedding table (tied ones included), times the learning rate.
        head_rate: of what lies behind the backbone and is no embedding table.
    """
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    backbone = {id(p) for p in model.base_model.parameters()}
    head = {id(p) for p in model.parameters()} - backbone - tables
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        for chosen, rate in ((tables, embedding_rate), (head, head_rate), (None, 1.0)):
            params = [p for p in group["params"] if (id(p) not in tables | head if chosen is None else id(p) in chosen)]
            if params:
                optimizer.add_param_group({**group, "params": params, "lr": group["lr"] * rate})

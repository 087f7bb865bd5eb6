"""Learning rates by role."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from o1_retriever.training.rates import set_rates


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen2", False), ("bert", True), ("gpt2", True)])
def test_every_parameter_has_the_rate_of_its_role(
    family: str, tied: bool, model_factory: Callable[..., PreTrainedModel]
) -> None:
    model = model_factory(family, tied)
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    set_rates(optimizer, model, embedding_rate=0.25, head_rate=10.0)
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert found.keys() == set(names.values()), "each parameter once"
    for name, (rate, decay) in found.items():
        table = "embed_tokens" in name or "_embeddings.weight" in name or name.split(".")[-2] in ("wte", "wpe")
        head = name.startswith(("lm_head", "cls.")) and not table
        assert rate == (0.25 if table else 10.0 if head else 1.0), name
        assert decay == (0.1 if dict(model.named_parameters())[name].ndim > 1 else 0.0), name
    assert any(rate == 0.25 for rate, _ in found.values())
    assert any(rate == 10.0 for rate, _ in found.values()) == (family == "bert" or not tied)

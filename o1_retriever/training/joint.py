"""Both task losses from ONE forward pass: vectors from the hidden states at `<emb>`, logits only where there are labels
(arXiv 2502.07555). GritLM (arXiv 2402.09906) needs two passes, since it embeds with bidirectional attention.

`install` teaches a model's own `forward` the joint batch, so that whatever wraps a model (DDP, FSDP, DeepSpeed,
autocast) finds everything inside one call. Knows no losses beyond the per-token one, and no data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from o1_retriever.errors import CheckpointError
from o1_retriever.pooling import last_token
from o1_retriever.training.batch import JointBatch, Labels, PaddedRows
from o1_retriever.training.losses import thought_nll

LABEL_STEP = 128
"""Logits are computed for a multiple of this many positions: a CPU holds a compiled kernel for every number of them."""


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of a batch: queries (B, D), passages (B * N, D) and bare queries (B, D), where there are any."""

    queries: Tensor
    passages: Tensor | None
    bare: Tensor | None

    def tensors(self) -> list[Tensor]:
        """Those that are there, in a fixed order."""
        return [tensor for tensor in (self.queries, self.passages, self.bare) if tensor is not None]


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The causal LM inside a PEFT model, or the model itself."""
    get = getattr(model, "get_base_model", None)
    return get() if callable(get) else model  # type: ignore[return-value]


def vocabulary_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """(L, V) logits of hidden states (L, D): the part of the model behind its backbone, for chosen positions only.

    Flat rows: a head over a strided slice of (B, T, D) is slower by half.
    """
    if hasattr(model, "cls"):
        return model.cls(hidden)  # type: ignore[no-any-return, operator]
    logits = model.get_output_embeddings()(hidden)
    for name, factor in (("logit_scale", 1.0), ("logits_scaling", -1.0)):
        scale = getattr(model.config, name, None)
        logits = logits if scale is None else logits * scale**factor
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap  # type: ignore[no-any-return]


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Compares `vocabulary_logits` with the model's own on three tokens.

    Raises:
        CheckpointError: they differ: this architecture computes its logits in a way that is not known here.
    """
    training = model.training
    model.eval()
    ids = torch.arange(3, device=model.device)[None]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    expected = model(input_ids=ids, use_cache=False).logits.float()
    model.train(training)
    difference = (vocabulary_logits(model, hidden[0]).float() - expected[0]).abs().max()
    if difference > 1e-2 * expected.abs().max().clamp(min=1.0):
        raise CheckpointError(
            f"{type(model).__name__} computes its logits in a way that joint training does not know: train another "
            "architecture, or with loss.contrastive_weight=1, which writes nothing."
        )


def joint_forward(model: PreTrainedModel, batch: JointBatch, with_nll: bool = True) -> dict[str, Tensor]:
    """One pass over the query side, one over the passages.

    Args:
        model: the causal LM.
        batch: on its device.
        with_nll: False leaves the language-model head out.

    Returns:
        "queries" (B, D), "passages" (B * N, D) and "bare" (B, D) unit vectors, float32, as far as the batch has them;
        "nll" (L,) of each label and "passage_nll" of each passage label, where there are any.
    """
    size = len(batch)
    vectors, nll = _read(model, batch.queries, batch.labels if with_nll else None)
    result = {"queries": vectors[:size]}
    if nll is not None:
        result["nll"] = nll
    if batch.passages is not None:
        result["passages"], nll = _read(model, batch.passages, batch.passage_labels if with_nll else None)
        if nll is not None:
            result["passage_nll"] = nll
    if batch.bare is not None:
        result["bare"], _ = _read(model, batch.bare, None)
    return result


def _read(model: PreTrainedModel, rows: PaddedRows, labels: Labels | None) -> tuple[Tensor, Tensor | None]:
    """(R, D) vectors, and (L,) negative log-likelihoods where there are labels; part by part of similar lengths."""
    vectors, states, taken = [], [], []
    place = torch.empty_like(rows.order)
    for part, width in zip(rows.order.chunk(len(rows.widths)), rows.widths, strict=True):
        hidden = _hidden(model, rows.ids[part, :width])
        vectors.append(last_token(hidden, rows.last[part]))
        if labels is not None:
            mine = torch.isin(labels.rows, part).nonzero()[:, 0]
            place[part] = torch.arange(len(part), device=part.device)
            states.append(hidden[place[labels.rows[mine]], labels.positions[mine]])
            taken.append(mine)
    found = torch.cat(vectors)[rows.order.argsort()]
    if labels is None or not len(labels.tokens):
        return found, None
    return found, _nll(model, torch.cat(states)[torch.cat(taken).argsort()], labels.tokens)


def _nll(model: PreTrainedModel, hidden: Tensor, tokens: Tensor) -> Tensor:
    """(L,) negative log-likelihoods; logits for the labels' states (L, D), and for fillers up to a multiple."""
    filled = pad(hidden, (0, 0, 0, -len(tokens) % LABEL_STEP))
    return thought_nll(vocabulary_logits(model, filled)[: len(tokens)], tokens)


def _hidden(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """(R, T, D) final hidden states; no padding mask, since causal attention never sees what follows."""
    return model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]


def install(model: nn.Module) -> None:
    """Lets `model(joint_batch=...)` run `joint_forward`; every other call stays what it was."""
    original: Callable[..., Any] = model.forward
    causal = causal_model(model)

    def forward(*args: Any, joint_batch: JointBatch | None = None, with_nll: bool = True, **kwargs: Any) -> Any:
        if joint_batch is None:
            return original(*args, **kwargs)
        return joint_forward(causal, joint_batch, with_nll)

    model.forward = forward


def vectors_of(result: dict[str, Tensor]) -> Vectors:
    """The vectors of a forward pass."""
    return Vectors(result["queries"], result.get("passages"), result.get("bare"))

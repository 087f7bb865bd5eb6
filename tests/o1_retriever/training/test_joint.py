"""One forward pass gives the vectors of inference and the likelihoods of the model's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from o1_retriever import O1Embedder
from o1_retriever.errors import CheckpointError
from o1_retriever.training.batch import Assembler, JointBatch
from o1_retriever.training.examples import Example
from o1_retriever.training.joint import check_head, install, joint_forward, vectors_of, vocabulary_logits

MakeEmbedder = Callable[..., O1Embedder]


@pytest.fixture
def made(
    family: str,
    make_embedder: MakeEmbedder,
    examples_of: Callable[..., list[Example]],
    assembler: Callable[..., Assembler],
    rows_of: Callable[[int], list[dict[str, Any]]],
) -> tuple[O1Embedder, list[dict[str, Any]], JointBatch]:
    embedder, rows = make_embedder(family), rows_of(3)
    batch = assembler(embedder, multiple=8, no_thought_weight=1.0)(examples_of(rows, embedder=embedder), {})
    return embedder, rows, batch


@torch.no_grad()
def test_vectors_are_those_of_inference(made: tuple[O1Embedder, list[dict[str, Any]], JointBatch]) -> None:
    embedder, rows, batch = made
    result = joint_forward(embedder.model, batch)
    queries = [row["query"] for row in rows]
    thoughts = [[row["thought"]] for row in rows]
    np.testing.assert_allclose(result["queries"], embedder.encode_query(queries, thoughts=thoughts), atol=1e-5)
    np.testing.assert_allclose(result["bare"], embedder.encode_query(queries, num_thoughts=0), atol=1e-5)
    positives = embedder.encode_document([row["pos"][0] for row in rows])
    np.testing.assert_allclose(result["passages"].reshape(3, 4, -1)[:, 0], positives, atol=1e-5)


@torch.no_grad()
def test_likelihoods_are_the_models_own(made: tuple[O1Embedder, list[dict[str, Any]], JointBatch]) -> None:
    """Against transformers' logits of each row alone, without padding, and torch's cross entropy."""
    embedder, _, batch = made
    nll = joint_forward(embedder.model, batch)["nll"]
    for index in range(len(nll)):
        row, position = int(batch.labels.rows[index]), int(batch.labels.positions[index])
        ids = batch.queries.ids[row : row + 1, : int(batch.queries.last[row]) + 1]
        logits = embedder.model(input_ids=ids, use_cache=False).logits[0, position]
        assert torch.equal(ids[0, position + 1], batch.labels.tokens[index])
        torch.testing.assert_close(nll[index], cross_entropy(logits, batch.labels.tokens[index]), atol=1e-4, rtol=1e-4)


def test_installed_forward_changes_nothing_else(made: tuple[O1Embedder, list[dict[str, Any]], JointBatch]) -> None:
    embedder, _, batch = made
    expected = embedder.encode_query("a question", 2)
    ids = torch.tensor([[5, 6, 7]])
    before = embedder.model(input_ids=ids).logits
    install(embedder.model)
    torch.testing.assert_close(embedder.model(input_ids=ids).logits, before)
    np.testing.assert_array_equal(embedder.encode_query("a question", 2), expected)
    found: Any = embedder.model
    result = found(joint_batch=batch)
    assert set(result) == {"queries", "passages", "bare", "nll"}
    assert "nll" not in found(joint_batch=batch, with_nll=False)
    assert [t.shape[0] for t in vectors_of(result).tensors()] == [3, 12, 3]


def test_head_of_every_family(family: str, make_embedder: MakeEmbedder) -> None:
    check_head(make_embedder(family).model)


def test_scaled_heads_are_known(make_embedder: MakeEmbedder) -> None:
    model = make_embedder().model
    hidden = torch.randn(2, 32)
    plain = vocabulary_logits(model, hidden)
    model.config.final_logit_softcapping = 2.0
    torch.testing.assert_close(vocabulary_logits(model, hidden), torch.tanh(plain / 2) * 2)
    model.config.final_logit_softcapping, model.config.logit_scale = None, 0.5
    torch.testing.assert_close(vocabulary_logits(model, hidden), plain / 2)
    model.config.logit_scale, model.config.logits_scaling = None, 4.0
    torch.testing.assert_close(vocabulary_logits(model, hidden), plain / 4)


def test_unknown_head_is_refused(make_embedder: MakeEmbedder) -> None:
    model = make_embedder().model
    inner = model.get_output_embeddings()

    class Strange(nn.Module):
        """Answers differently the second time: as a head whose input is no hidden state would."""

        calls = 0

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return inner(hidden) * self.calls  # type: ignore[no-any-return, operator]

    model.set_output_embeddings(Strange())
    with pytest.raises(CheckpointError, match="computes its logits in a way"):
        check_head(model)

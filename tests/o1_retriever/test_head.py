"""The sliced head equals `nn.Linear`, and is put only where it belongs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from o1_retriever import O1Embedder
from o1_retriever.head import FEW_ROWS, SLICE, FewRowsLinear, speed_up_head


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 8, FEW_ROWS, FEW_ROWS + 1])
def test_equals_linear(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 2 * SLICE + 7, bias=bias)
    fast = FewRowsLinear(24, 2 * SLICE + 7, bias=bias)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(rows, 1, 24)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), plain(x))


def test_gradients_flow_as_before() -> None:
    head = FewRowsLinear(4, 6)
    head(torch.ones(3, 4)).sum().backward()
    torch.testing.assert_close(head.weight.grad, torch.full((6, 4), 3.0))


def test_a_loaded_checkpoint_has_it_and_keeps_its_ties(
    tiny: O1Embedder, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("o1_retriever.head.SLICE", 100)
    loaded = O1Embedder.from_pretrained(tiny_folder, device="cpu")
    head = loaded.model.get_output_embeddings()
    assert isinstance(head, FewRowsLinear)
    assert set(loaded.model.state_dict()) == set(tiny.model.state_dict())
    assert head.weight is loaded.model.get_input_embeddings().weight
    assert loaded.think("Who wrote it?") == tiny.think("Who wrote it?")


def test_leaves_other_heads_alone(make_embedder: Callable[..., O1Embedder], monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = make_embedder()
    speed_up_head(embedder.model)
    assert type(embedder.model.get_output_embeddings()) is nn.Linear, "one slice: nothing to gain"
    monkeypatch.setattr("o1_retriever.head.SLICE", 100)

    class Quantised(nn.Linear):
        pass

    embedder.model.get_output_embeddings().__class__ = Quantised
    speed_up_head(embedder.model)
    assert type(embedder.model.get_output_embeddings()) is Quantised

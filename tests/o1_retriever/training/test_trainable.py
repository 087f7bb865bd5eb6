"""Loading what is trained: the attention implementation is the one asked for, and only while training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from o1_retriever import O1Embedder
from o1_retriever.errors import CheckpointError
from o1_retriever.training.config import ModelSettings
from o1_retriever.training.trainable import load_base

CPU = torch.device("cpu")


@pytest.fixture
def base(make_embedder: Callable[..., O1Embedder], tmp_path: Path) -> str:
    make_embedder("qwen2").save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_attention_is_chosen_and_computes_the_same(base: str, tmp_path: Path) -> None:
    ids = torch.arange(8)[None]
    default, eager = (load_base(ModelSettings(base=base, attention=name), CPU).model for name in (None, "eager"))

    assert (default.config._attn_implementation, eager.config._attn_implementation) == ("sdpa", "eager")
    assert torch.allclose(default(input_ids=ids).logits, eager(input_ids=ids).logits, atol=1e-5)
    eager.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert not [key for key in saved if "attn" in key], "whoever loads the model gets its own default"


def test_an_unknown_attention_is_refused(base: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.attention=telepathy cannot be used"):
        load_base(ModelSettings(base=base, attention="telepathy"), CPU)

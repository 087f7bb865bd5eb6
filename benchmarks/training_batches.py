"""Models and batches for the training benchmarks: two shapes, random weights and tokens, the training lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BertConfig, PreTrainedConfig, Qwen2Config

from o1_retriever.training.examples import KNOWN, Example
from o1_retriever.training.joint import install

EOS, EMB, PAD = 2, 3, 0
QUERY, THOUGHT, PASSAGE = (8, 32), (32, 128), (40, 192)
"""Tokens, uniform between these: the upper ends are the training limits."""


@dataclass(frozen=True)
class Shape:
    """A model's shape; `adapter` trains LoRA (r 32) on all linear layers, otherwise all weights are trained."""

    name: str
    config: PreTrainedConfig
    dtype: torch.dtype
    adapter: bool


MINI = Shape(
    "mini (6 x 384, vocabulary 30,526, all weights)",
    BertConfig(
        vocab_size=30526,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        is_decoder=True,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
    torch.float32,
    adapter=False,
)
HALF_BILLION = Shape(
    "Qwen2-0.5B shape (24 x 896, vocabulary 151,936, LoRA)",
    Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    torch.bfloat16,
    adapter=True,
)


class Template:
    """What the assembler needs of `PromptBuilder`, without a tokenizer."""

    eos, emb, pad = EOS, EMB, PAD

    def close(self, prompt: list[int], thought: list[int] | None) -> list[int]:
        return [*prompt, EMB] if thought is None else [*prompt, *thought, EOS, EMB]


def model_of(shape: Shape) -> nn.Module:
    """Random weights; its forward knows joint batches."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(shape.config, dtype=shape.dtype)
    if shape.adapter:
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=64, target_modules="all-linear")
        model = get_peft_model(model, lora)
    install(model)
    return model.train()


def examples(queries: int, group: int, vocabulary: int, seed: int = 0) -> list[Example]:
    """Random tokens in the lengths of training; every query has a thought."""
    rng = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randrange(10, vocabulary) for _ in range(rng.randint(low, high))]

    return [
        Example(
            visit=number,
            where=f"row {number}",
            query="",
            prompt=tokens(*QUERY),
            thought=tokens(*THOUGHT),
            cut=False,
            writes=True,
            own=False,
            target=None,
            texts=[""] * group,
            passages=[[*tokens(*PASSAGE), EMB] for _ in range(group)],
            real=[True] * group,
            identities=[number * group + i for i in range(group)],
            known=[number * group] * KNOWN,
            scores=None,
        )
        for number in range(queries)
    ]

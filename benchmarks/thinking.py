"""Fused thinking against the plain path: `generate`, decode, tokenise, encode again; same weights, same lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
)

from benchmarks.timing import Ratio, alternate
from o1_retriever import O1Embedder, ThinkingConfig, pooling
from o1_retriever.decoding import FusedDecoder, StopTokens
from o1_retriever.locating import locate
from o1_retriever.sampling import row_key

SAMPLING = ThinkingConfig()
"""The engine's defaults, which are the paper's: temperature 0.1, top-p 0.9."""


@dataclass(frozen=True)
class Case:
    """How many questions and thoughts, and the length of each thought in tokens."""

    name: str
    queries: int
    thoughts: int
    lengths: list[int]
    target: float


def cases(seed: int = 0) -> list[Case]:
    mixed = np.random.default_rng(seed).integers(8, 129, size=48).tolist()
    return [
        Case("16 x 8 x 32 tokens", 16, 8, [32] * 128, 3.0),
        Case("16 x 3, 8 to 128 tokens", 16, 3, mixed, 4.0),
        Case("1 x 8 x 32 tokens", 1, 8, [32] * 8, 1.6),
    ]


class ForcedLengths(LogitsProcessor):
    """Ends row i after lengths[i] tokens and not before: both sides write the same number of tokens."""

    def __init__(self, prompt: int, lengths: Sequence[int], eos: int, banned: Sequence[int]) -> None:
        self.prompt, self.lengths, self.eos, self.banned = prompt, torch.tensor(lengths), eos, list(banned)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = self.lengths <= input_ids.shape[1] - self.prompt
        scores[:, [*self.banned, self.eos]] = -torch.inf
        scores[over] = -torch.inf
        scores[over, self.eos] = 0.0
        return scores


def untouched(embedder: O1Embedder) -> PreTrainedModel:
    """The same weights as transformers loads them, without anything the engine does to a model."""
    folder = locate(embedder.checkpoint.source)
    config = AutoConfig.from_pretrained(folder, is_decoder=True)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=embedder.model.dtype)
    return model.eval()


@torch.inference_mode()
def plain(model: PreTrainedModel, embedder: O1Embedder, queries: list[str], case: Case, stop: StopTokens) -> Tensor:
    """(B, D): generate k samples each, decode, tokenise again, encode again, mean."""
    tokenizer = embedder.checkpoint.tokenizer
    prompts = embedder.prompts.queries(queries, embedder.max_query_tokens).ids
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    width = batch["input_ids"].shape[1]
    limit = max(case.lengths) + 1
    output = model.generate(
        **batch,
        generation_config=GenerationConfig(
            do_sample=True,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            top_k=0,
            num_return_sequences=case.thoughts,
            max_new_tokens=limit,
            eos_token_id=stop.eos,
            pad_token_id=stop.pad,
        ),
        logits_processor=LogitsProcessorList([ForcedLengths(width, case.lengths, stop.eos, stop.banned)]),
    )
    thoughts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    ids = [row[: case.lengths[i]] for i, row in enumerate(embedder.prompts.text_ids(thoughts, limit).ids)]
    rows = [embedder.prompts.close(prompts[i // case.thoughts], thought) for i, thought in enumerate(ids)]
    padded = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
    positions = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    hidden = model.base_model(**padded, position_ids=positions).last_hidden_state[:, -1]
    return pooling.mean(torch.nn.functional.normalize(hidden, dim=-1).view(case.queries, case.thoughts, -1))


def fused(embedder: O1Embedder, queries: list[str], case: Case, stop: StopTokens) -> Tensor:
    """(B, D) by the engine's decoder."""
    prompts = embedder.prompts.queries(queries, embedder.max_query_tokens).ids
    keys = np.array([[row_key(0, q, i) for i in range(case.thoughts)] for q in queries], dtype=np.uint64)
    decoder = FusedDecoder(embedder.model, prompts, keys, [0] * len(prompts), SAMPLING, stop, case.lengths)
    decoder.run()
    assert [len(thought) for thought in decoder.thoughts] == case.lengths
    _ = [embedder.prompts.thought_text(thought) for thought in decoder.thoughts]
    return pooling.mean(decoder.vectors.view(case.queries, case.thoughts, -1))


def run(embedder: O1Embedder, questions: list[str], rounds: int) -> list[Ratio]:
    """One ratio per case; both sides alternate in the same process."""
    stop = embedder.stop_tokens
    model = untouched(embedder)
    results = []
    for case in cases():
        queries = questions[: case.queries]
        results.append(
            alternate(
                f"thinking, {case.name}",
                lambda c=case, q=queries: plain(model, embedder, q, c, stop),
                lambda c=case, q=queries: fused(embedder, q, c, stop),
                rounds,
                case.target,
            )
        )
    return results

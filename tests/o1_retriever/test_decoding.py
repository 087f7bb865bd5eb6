"""Fused thinking equals the plain way: generate without a cache, then encode the token ids again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.decoding import FusedDecoder
from o1_retriever.sampling import row_key

MakeEmbedder = Callable[..., O1Embedder]
QUERIES = ["hi", "a question of some length, with commas", "what?", "x y z"]  # ragged: 2 to 38 tokens
SETTINGS = ThinkingConfig(num_thoughts=3, temperature=1.0, top_p=0.95, max_new_tokens=5)


def let_thoughts_end(embedder: O1Embedder) -> None:
    """From here on each step ends its thought with probability 1/4, whatever the weights say."""
    eos = embedder.prompts.eos

    def bias(_module: torch.nn.Module, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., eos] = -torch.inf
        logits[..., eos] = logits.logsumexp(dim=-1) - np.log(3.0)
        return logits

    embedder.model.get_output_embeddings().register_forward_hook(bias)


def decode(embedder: O1Embedder, queries: list[str], settings: ThinkingConfig, **kwargs: Any) -> FusedDecoder:
    prompts = embedder.prompts.queries(queries, embedder.max_query_tokens).ids
    keys = [[row_key(settings.seed, query, i) for i in range(settings.num_thoughts)] for query in queries]
    limits = [settings.max_new_tokens] * len(queries)
    stop = embedder._self_thinker.stop
    decoder = FusedDecoder(embedder.model, prompts, np.array(keys, dtype=np.uint64), limits, settings, stop, **kwargs)
    decoder.run()
    return decoder


def check_against_plain(embedder: O1Embedder, plain: Any, settings: ThinkingConfig, queries: list[str]) -> list[int]:
    """Ids equal and vectors to 1e-4, row by row in query-major order; returns the thoughts' lengths."""
    decoder = decode(embedder, queries, settings)
    expected = [plain.thought(embedder, q, i, settings) for q in queries for i in range(settings.num_thoughts)]
    assert decoder.thoughts == expected
    prompts = embedder.prompts.queries(queries, embedder.max_query_tokens).ids
    rows = [
        [*prompts[index // settings.num_thoughts], *thought, embedder.prompts.eos, embedder.prompts.emb]
        for index, thought in enumerate(expected)
    ]
    np.testing.assert_allclose(decoder.vectors.numpy(), plain.vectors(embedder, rows), atol=1e-4)
    return [len(thought) for thought in expected]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_fused_equals_plain(family: str, tied: bool, k: int, make_embedder: MakeEmbedder, plain: Any) -> None:
    embedder = make_embedder(family, tied)
    let_thoughts_end(embedder)
    settings = ThinkingConfig(num_thoughts=k, temperature=1.0, top_p=0.95, max_new_tokens=5, seed=2)
    lengths = check_against_plain(embedder, plain, settings, QUERIES)
    if k == 3:
        assert {0, 5} < set(lengths), "the case must hold EOS as first token, a forced EOS, and something between"


def test_every_thought_cut_at_the_limit(make_embedder: MakeEmbedder, plain: Any) -> None:
    embedder = make_embedder("qwen2")
    settings = ThinkingConfig(num_thoughts=2, temperature=0.01, max_new_tokens=3)
    assert check_against_plain(embedder, plain, settings, QUERIES) == [3] * 8


def test_a_sliding_window_shorter_than_the_prompt(tokenizer_factory: Callable[[str], Any], plain: Any) -> None:
    from o1_retriever import Checkpoint

    config = MistralConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=6,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    embedder = O1Embedder(Checkpoint.from_objects(model, tokenizer_factory("mistral")))
    let_thoughts_end(embedder)
    check_against_plain(embedder, plain, SETTINGS, QUERIES)
    check_against_plain(embedder, plain, SETTINGS, ["no padding at all"])


@pytest.mark.parametrize("tied", [True, False])
def test_greedy_equals_transformers_generate(family: str, tied: bool, make_embedder: MakeEmbedder, plain: Any) -> None:
    embedder = make_embedder(family, tied)
    settings = ThinkingConfig(num_thoughts=1, temperature=0.0, max_new_tokens=8)
    prompts = embedder.prompts.queries(QUERIES, 99).ids
    width = max(len(prompt) for prompt in prompts)
    pad, eos = embedder.prompts.pad, embedder.prompts.eos
    generated = embedder.model.generate(
        input_ids=torch.tensor([[pad] * (width - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        do_sample=False,
        max_new_tokens=8,
        suppress_tokens=plain.banned(embedder),
        eos_token_id=eos,
        pad_token_id=pad,
    )[:, width:].tolist()
    expected = [row[: row.index(eos)] if eos in row else row for row in generated]
    assert decode(embedder, QUERIES, settings).thoughts == expected


def test_forced_lengths(make_embedder: MakeEmbedder, plain: Any) -> None:
    embedder = make_embedder("qwen2")
    let_thoughts_end(embedder)
    lengths = [3, 1, 0, 4, 2, 2]
    settings = ThinkingConfig(num_thoughts=2, temperature=1.0, max_new_tokens=1)
    decoder = decode(embedder, QUERIES[:3], settings, forced_lengths=lengths)
    assert [len(thought) for thought in decoder.thoughts] == lengths
    assert all(embedder.prompts.eos not in thought for thought in decoder.thoughts)
    rows = [
        embedder.prompts.close(embedder.prompts.queries([QUERIES[index // 2]], 99).ids[0], thought)
        for index, thought in enumerate(decoder.thoughts)
    ]
    np.testing.assert_allclose(decoder.vectors.numpy(), plain.vectors(embedder, rows), atol=1e-4)


def test_steps_tell_every_token_once(make_embedder: MakeEmbedder) -> None:
    embedder = make_embedder("llama")
    let_thoughts_end(embedder)
    complete = decode(embedder, QUERIES, SETTINGS)
    prompts = embedder.prompts.queries(QUERIES, 99).ids
    fresh = FusedDecoder(embedder.model, prompts, complete.keys.reshape(4, 3), [5] * 4, SETTINGS, complete.stop)
    written: list[list[int]] = [[] for _ in range(12)]
    for step in fresh.steps():
        for row, token in step:
            written[row].append(token)
    assert written == [[*thought, embedder.prompts.eos] for thought in complete.thoughts]


def test_thoughts_hold_no_special_token(family: str, make_embedder: MakeEmbedder, plain: Any) -> None:
    """Even if the model wants nothing else: here the reserved tokens have the highest logits."""
    embedder = make_embedder(family)
    banned = plain.banned(embedder)

    def tempt(_module: torch.nn.Module, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., banned] += 100.0
        return logits

    embedder.model.get_output_embeddings().register_forward_hook(tempt)
    written = {token for thought in decode(embedder, QUERIES, SETTINGS).thoughts for token in thought}
    assert written
    assert written.isdisjoint(banned)


def test_half_precision_gives_float32_unit_vectors(make_embedder: MakeEmbedder) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        embedder = make_embedder("qwen2")
        embedder.model.to(dtype)
        vectors = embedder.encode_query(QUERIES)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_the_model_keeps_no_state(make_embedder: MakeEmbedder) -> None:
    embedder = make_embedder("qwen2")
    first = decode(embedder, QUERIES, SETTINGS)
    decode(embedder, ["something else"], SETTINGS)
    second = decode(embedder, QUERIES, SETTINGS)
    assert first.thoughts == second.thoughts
    assert torch.equal(first.vectors, second.vectors)

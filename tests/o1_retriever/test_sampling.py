"""The sampler against plain sorted top-p, and its random numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from o1_retriever import ThinkingConfig
from o1_retriever.sampling import PARTIAL, gumbel, row_key, sample

Floats = NDArray[np.float64]
DRAWS = 20_000


def plain_distribution(logits: Floats, temperature: float, top_p: float, top_k: int = 0) -> Floats:
    """Temperature, top-k, then top-p, by sorting everything."""
    probabilities = np.exp(logits / temperature - np.max(logits / temperature))
    order = np.argsort(-probabilities, kind="stable")
    if top_k:
        probabilities[order[top_k:]] = 0.0
    probabilities /= probabilities.sum()
    kept = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1  # the smallest set that reaches top_p
    probabilities[order[kept:]] = 0.0
    return np.asarray(probabilities / probabilities.sum())


def draw(logits: Floats, config: ThinkingConfig, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    keys = np.random.default_rng(seed).integers(0, 2**64, size=draws, dtype=np.uint64)
    rows = torch.tensor(logits, dtype=torch.float32).expand(draws, -1).clone()
    return sample(rows, keys, np.zeros(draws, dtype=np.int64), config)


def check_distribution(tokens: NDArray[np.int64], expected: Floats) -> None:
    """Same support, and chi-square within four standard deviations of its mean."""
    counts = np.bincount(tokens, minlength=len(expected))
    assert not counts[expected == 0].any(), "drew a token outside the nucleus"
    support = expected > 0
    wanted = expected[support] * len(tokens)
    chi_square = float(((counts[support] - wanted) ** 2 / wanted).sum())
    freedom = int(support.sum()) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom) + 1e-9, (chi_square, freedom)


SMALL = np.array([2.0, 1.5, 0.3, 0.0, -0.5, -1.0, -3.0, 1.9])


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 3])
def test_small_vocabulary(top_p: float, temperature: float, top_k: int) -> None:
    config = ThinkingConfig(temperature=temperature, top_p=top_p, top_k=top_k)
    check_distribution(draw(SMALL, config), plain_distribution(SMALL, temperature, top_p, top_k))


def test_a_hand_derived_nucleus() -> None:
    """Probabilities 0.5, 0.3, 0.15, 0.05 at top_p 0.7: two tokens, 5 to 3."""
    logits = np.log([0.15, 0.5, 0.05, 0.3])
    tokens = draw(logits, ThinkingConfig(temperature=1.0, top_p=0.7))
    assert set(tokens.tolist()) == {1, 3}
    assert np.mean(tokens == 1) == pytest.approx(5 / 8, abs=0.015)


@pytest.mark.parametrize("top_p", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("partial", [(4,), (4, 8)])
def test_a_nucleus_beyond_the_partial_top_k(
    top_p: float, partial: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("o1_retriever.sampling.PARTIAL", partial)
    logits = np.random.default_rng(1).normal(scale=0.3, size=24)
    expected = plain_distribution(logits, 1.0, top_p)
    assert np.sum(expected > 0) > partial[0], "this case would not need the fallback"
    check_distribution(draw(logits, ThinkingConfig(temperature=1.0, top_p=top_p)), expected)


def test_a_large_vocabulary_whose_nucleus_is_small() -> None:
    logits = np.random.default_rng(2).normal(scale=3.0, size=5 * PARTIAL[0])
    expected = plain_distribution(logits, 0.5, 0.9)
    assert np.sum(expected > 0) < PARTIAL[0]
    check_distribution(draw(logits, ThinkingConfig(temperature=0.5, top_p=0.9)), expected)


def test_flat_and_peaked_rows_together_are_drawn_as_alone() -> None:
    generator = np.random.default_rng(3)
    logits = torch.tensor(np.stack([generator.normal(scale=s, size=200) for s in (0.1, 9.0, 0.1, 9.0)])).float()
    keys = generator.integers(0, 2**64, size=4, dtype=np.uint64)
    steps = np.array([0, 1, 2, 3])
    config = ThinkingConfig(temperature=1.0, top_p=0.9)
    together = sample(logits, keys, steps, config)
    alone = [int(sample(logits[[i]], keys[[i]], steps[[i]], config)[0]) for i in range(4)]
    assert together.tolist() == alone


def test_a_peaked_vocabulary_is_never_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the sampler sorted")

    sizes: list[int] = []
    topk = torch.topk

    def counting(values: torch.Tensor, k: int, *args: object, **kwargs: object) -> object:
        sizes.append(k)
        return topk(values, k, *args, **kwargs)

    for owner, name in ((torch, "sort"), (torch, "argsort"), (torch.Tensor, "sort"), (torch.Tensor, "argsort")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(torch, "topk", counting)
    vocabulary = np.random.default_rng(4).normal(scale=5.0, size=20_000)
    draw(vocabulary, ThinkingConfig(temperature=0.5, top_p=0.9), draws=3)
    assert max(sizes) == PARTIAL[0]
    draw(np.zeros(1000), ThinkingConfig(temperature=1.0, top_p=0.9), draws=3)
    assert max(sizes) > PARTIAL[0], "a flat row needs more than the partial top-k"


def test_temperature_zero_is_the_argmax() -> None:
    logits = np.random.default_rng(5).normal(size=100)
    assert set(draw(logits, ThinkingConfig(temperature=0.0), draws=50).tolist()) == {int(logits.argmax())}


def test_excluded_tokens_are_never_drawn() -> None:
    logits = SMALL.copy()
    logits[[0, 7]] = -np.inf
    tokens = draw(logits, ThinkingConfig(temperature=1.0, top_p=1.0))
    expected = np.exp(logits) / np.exp(logits).sum()
    check_distribution(tokens, expected)


def test_logits_of_any_float_type() -> None:
    keys, steps = np.arange(6, dtype=np.uint64), np.zeros(6, dtype=np.int64)
    logits = torch.tensor(SMALL).expand(6, -1)
    config = ThinkingConfig(temperature=0.01)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert sample(logits.to(dtype), keys, steps, config).tolist() == [0] * 6


def test_noise_is_a_function_of_key_step_and_token() -> None:
    keys = np.array([1, 2**64 - 1], dtype=np.uint64)
    steps, tokens = np.array([0, 7]), np.array([[0, 5, 9], [5, 0, 149_999]])
    noise = gumbel(keys, steps, tokens)
    for row in range(2):
        for column in range(3):
            one = gumbel(keys[[row]], steps[[row]], tokens[[row]][:, [column]])
            assert one[0, 0] == noise[row, column]
    base = gumbel(np.array([3], dtype=np.uint64), np.array([4]), np.array([[5]]))[0, 0]
    for key, step, token in ((2, 4, 5), (3, 5, 5), (3, 4, 6), (4, 3, 5), (3, 5, 4)):
        assert gumbel(np.array([key], dtype=np.uint64), np.array([step]), np.array([[token]]))[0, 0] != base


def test_noise_is_gumbel_and_uncorrelated() -> None:
    keys = np.array([row_key(0, f"query {i}", 0) for i in range(200)], dtype=np.uint64)
    noise = gumbel(keys, np.arange(200), np.tile(np.arange(500), (200, 1)))
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.05)
    uniform = np.exp(-np.exp(-noise)) - 0.5
    for other in (np.roll(uniform, 1, axis=0), np.roll(uniform, 1, axis=1)):
        assert abs(float(np.mean(uniform * other)) * 12) < 0.015  # 1e5 pairs: standard deviation 0.003


def test_row_keys_differ_in_seed_query_and_index() -> None:
    keys = {row_key(s, q, i) for s in range(3) for q in ("a", "b", "1", "a\x1f") for i in range(3)}
    assert len(keys) == 36
    assert all(0 <= key < 2**64 for key in keys)


def test_global_generators_are_untouched() -> None:
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    draw(SMALL, ThinkingConfig(temperature=1.0), draws=100)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.asarray(np.random.get_state()[1]), np.asarray(numpy_state[1]))
    assert random.getstate() == python_state

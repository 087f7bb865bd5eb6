"""Passages in batches equal passages one by one, in order, whatever happens on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from o1_retriever import EncodingConfig, O1Embedder
from o1_retriever.encoding import WIDTH_STEP, PassageEncoder, batches, fast_precision_available, padded_width
from o1_retriever.errors import InvalidInputError, InvalidTypeError, OutOfMemoryError

MakeEmbedder = Callable[..., O1Embedder]
TEXTS = ["short", "a text of middle length, say", "x", "the longest of the texts " * 4, "short", "é€😀", "two words"]


def test_batches_by_hand() -> None:
    assert list(batches([5, 20, 9, 12], token_budget=32)) == [[1], [3, 2], [0]]
    assert list(batches([9, 9, 9], token_budget=32)) == [[0, 1], [2]]
    assert list(batches([], token_budget=8)) == []


@pytest.mark.parametrize("seed", range(5))
def test_batches_hold_every_row_once_within_the_budget(seed: int) -> None:
    generator = random.Random(seed)
    lengths = [generator.randint(1, 40) for _ in range(200)]
    made = list(batches(lengths, token_budget=32))
    assert sorted(index for batch in made for index in batch) == list(range(200))
    assert all(len(batch) == 1 or len(batch) * padded_width(max(lengths[i] for i in batch)) <= 32 for batch in made)
    sorted_lengths = [lengths[i] for batch in made for i in batch]
    assert sorted_lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_batches_equal_one_by_one(family: str, budget: int, make_embedder: MakeEmbedder, plain: Any) -> None:
    embedder = O1Embedder(make_embedder(family).checkpoint, encoding=EncodingConfig(token_budget=budget))
    rows = embedder.prompts.passages(TEXTS, embedder.max_passage_tokens).ids
    expected = np.concatenate([plain.vectors(embedder, [row], extra=3) for row in rows])
    np.testing.assert_allclose(embedder.encode_document(TEXTS), expected, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.01, "equal vectors would hide a wrong order"


def test_given_thoughts_do_not_depend_on_the_batch(family: str, make_embedder: MakeEmbedder) -> None:
    embedder = make_embedder(family)
    queries, thoughts = TEXTS[:4], [["one", "a longer thought"], ["x" * 50], [], ["a", "b", "c"]]
    together = embedder.encode_query(queries, thoughts=thoughts)
    alone = [embedder.encode_query(query, thoughts=given) for query, given in zip(queries, thoughts, strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-4)


def test_the_iterator_equals_the_list_and_is_lazy(tiny: O1Embedder) -> None:
    embedder = O1Embedder(tiny.checkpoint, encoding=EncodingConfig(window=3))
    taken: list[str] = []

    def stream() -> Iterator[str]:
        for text in TEXTS:
            taken.append(text)
            yield text

    parts = embedder.iter_encode_document(stream())
    assert taken == []
    first = next(parts)
    assert taken == TEXTS[:3]
    rest = list(parts)
    assert [len(first), *map(len, rest)] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate([first, *rest]), tiny.encode_document(TEXTS), atol=1e-5)


def test_the_iterator_refuses_what_the_list_refuses(tiny: O1Embedder) -> None:
    with pytest.raises(InvalidTypeError, match="one str"):
        next(tiny.iter_encode_document("a bare text"))
    with pytest.raises(InvalidInputError, match="passage 1 is empty"):
        next(tiny.iter_encode_document(iter(["a", " "])))


class Shortage:
    """A backbone's forward that fails on batches of more than `limit` rows."""

    def __init__(self, backbone: torch.nn.Module, limit: int, error: Exception) -> None:
        self.forward, self.limit, self.error = backbone.forward, limit, error
        self.rows: list[int] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rows = kwargs["input_ids"].shape[0]
        self.rows.append(rows)
        if rows > self.limit:
            raise self.error
        return self.forward(*args, **kwargs)


@pytest.fixture
def encoder(make_embedder: MakeEmbedder) -> PassageEncoder:
    return PassageEncoder(make_embedder().model, pad=0, token_budget=4096)


def test_shapes_come_again(encoder: PassageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are kept per shape: 100 lengths must not make 100 widths, nor rows longer than the model's context."""
    widths: set[int] = set()
    forward = encoder.backbone.forward

    def watch(*args: Any, **kwargs: Any) -> Any:
        widths.add(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(encoder.backbone, "forward", watch)
    encoder.token_budget, encoder.context = 1, 93  # no multiple of the step
    encoder.encode([[5] * length for length in range(1, 94)])
    assert widths == {*range(WIDTH_STEP, 93, WIDTH_STEP), 93}


ROWS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14], [15]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_memory_shortage_halves_batches(limit: int, encoder: PassageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode(ROWS)
    shortage = Shortage(encoder.backbone, limit, torch.OutOfMemoryError("no room"))
    monkeypatch.setattr(encoder.backbone, "forward", shortage)
    done: list[int] = []
    np.testing.assert_allclose(encoder.encode(ROWS, progress=done.append).numpy(), expected.numpy(), atol=1e-5)
    assert shortage.rows[0] == 5
    assert sum(done) == 5, "progress must count each row once"


def test_a_row_that_does_not_fit_alone(encoder: PassageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    shortage = Shortage(encoder.backbone, 0, torch.OutOfMemoryError("no room"))
    monkeypatch.setattr(encoder.backbone, "forward", shortage)
    with pytest.raises(OutOfMemoryError, match="One text alone does not fit"):
        encoder.encode(ROWS)


def test_other_runtime_errors_pass_through(encoder: PassageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    shortage = Shortage(encoder.backbone, 0, RuntimeError("CUDA error: something else, out of memory or not"))
    monkeypatch.setattr(encoder.backbone, "forward", shortage)
    with pytest.raises(RuntimeError, match="something else"):
        encoder.encode(ROWS)
    assert len(shortage.rows) == 1


def test_fast_precision(tiny: O1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast_precision_available(torch.device("cpu")):
        pytest.skip("this processor has no bfloat16 matrix products")
    full = tiny.encode_document(TEXTS)
    fast = O1Embedder(tiny.checkpoint, encoding=EncodingConfig(precision="fast")).encode_document(TEXTS)
    assert fast.dtype == np.float32
    assert np.abs(fast - full).max() > 0, "nothing was computed in bfloat16"
    assert (fast * full).sum(axis=1).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(fast, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("precision", ["full", "fast"])
def test_no_process_wide_flag_changes(tiny: O1Embedder, precision: Any) -> None:
    def flags() -> tuple[object, ...]:
        return (
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mkldnn.enabled,
        )

    before = flags()
    embedder = O1Embedder(tiny.checkpoint, encoding=EncodingConfig(precision=precision))
    stream = embedder.iter_encode_document(TEXTS)
    next(stream)
    assert flags() == before, "a flag leaks between two windows"
    embedder.encode_query(TEXTS[:2])
    thoughts = embedder.stream_thoughts("q")
    next(thoughts)
    assert flags() == before, "a flag leaks between two steps"

"""Contract 4: random numbers come from seed, query, thought index and step alone. And thoughts as a stream."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from o1_retriever import EncodingConfig, O1Embedder, ThinkingConfig

MakeEmbedder = Callable[..., O1Embedder]
QUERIES = ["one", "two words", "three words here", "a fourth and longer query"]


def think(embedder: O1Embedder, queries: list[str], k: int, seed: int = 0) -> list[list[str]]:
    settings = ThinkingConfig(num_thoughts=k, temperature=1.0, top_p=0.95, max_new_tokens=6, seed=seed)
    thoughts = embedder.think(queries, thinking=settings)
    assert all(isinstance(row, list) and len(row) == k for row in thoughts)
    return [list(row) for row in thoughts]


def test_a_thought_depends_on_its_query_and_index_alone(tiny: O1Embedder) -> None:
    full = think(tiny, QUERIES, k=5)
    assert len({text for row in full for text in row}) == 20, "equal thoughts would hide a mistake"
    assert think(tiny, QUERIES, k=2) == [row[:2] for row in full], "depends on k"
    assert [think(tiny, [query], k=5)[0] for query in QUERIES] == full, "depends on batch mates"
    assert think(tiny, QUERIES[::-1], k=5) == full[::-1], "depends on order"
    assert think(tiny, [QUERIES[0], *QUERIES], k=5) == [full[0], *full], "depends on repetition"


def test_batches_of_rows_do_not_change_thoughts(make_embedder: MakeEmbedder, tiny: O1Embedder) -> None:
    narrow = O1Embedder(tiny.checkpoint, encoding=EncodingConfig(max_rows=4))
    assert think(narrow, QUERIES, k=3) == think(tiny, QUERIES, k=3)


def test_seeds(tiny: O1Embedder) -> None:
    first = think(tiny, QUERIES, k=2, seed=1)
    assert think(tiny, QUERIES, k=2, seed=1) == first
    other = think(tiny, QUERIES, k=2, seed=2)
    assert all(a != b for row, row2 in zip(first, other, strict=True) for a, b in zip(row, row2, strict=True))


def test_global_generators_neither_matter_nor_move(tiny: O1Embedder) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = think(tiny, QUERIES, k=2)
        torch.manual_seed(2)
        states = torch.get_rng_state(), np.asarray(np.random.get_state()[1]).copy(), random.getstate()
        assert think(tiny, QUERIES, k=2) == first
        tiny.encode_document(["a passage"])
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.array_equal(np.asarray(np.random.get_state()[1]), states[1])
        assert random.getstate() == states[2]


def test_memory_shortage_halves_the_batch(make_embedder: MakeEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = make_embedder("qwen2")
    expected = think(embedder, QUERIES, k=2)
    forward = embedder.model.forward
    refused: list[int] = []

    def short(*args: object, **kwargs: object) -> object:
        rows = kwargs["input_ids"].shape[0]  # type: ignore[attr-defined]
        if rows > 2:
            refused.append(rows)
            raise torch.OutOfMemoryError("no room")
        return forward(*args, **kwargs)

    monkeypatch.setattr(embedder.model, "forward", short)
    assert think(embedder, QUERIES, k=2) == expected
    assert refused


def test_streamed_pieces_add_up_to_the_thoughts(family: str, make_embedder: MakeEmbedder) -> None:
    """The tiny models write random bytes: most are pieces of broken multi-byte characters."""
    embedder = make_embedder(family)
    settings = ThinkingConfig(num_thoughts=3, temperature=1.5, top_p=1.0, max_new_tokens=24)
    expected = embedder.think(QUERIES, thinking=settings)
    assert any(ord(char) > 127 for row in expected for text in row for char in text)
    pieces = [[""] * 3 for _ in QUERIES]
    done: list[tuple[int, int]] = []
    for delta in embedder.stream_thoughts(QUERIES, thinking=settings):
        assert (delta.query_index, delta.thought_index) not in done, "wrote on after the end"
        pieces[delta.query_index][delta.thought_index] += delta.text
        if delta.done:
            done.append((delta.query_index, delta.thought_index))
    assert pieces == expected
    assert sorted(done) == [(q, i) for q in range(4) for i in range(3)]


def test_a_character_of_several_tokens_is_streamed_whole(
    make_embedder: MakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is made to write 'é€😀 ' byte by byte."""
    embedder = make_embedder("qwen2")
    ids = embedder.prompts.text_ids(["é€😀 x"], 99).ids[0]
    assert len(ids) == 2 + 3 + 4 + 1 + 1

    def dictate(logits: torch.Tensor, keys: object, steps: np.ndarray, config: object) -> np.ndarray:
        return np.array([[*ids, embedder.prompts.eos][step] for step in steps])

    monkeypatch.setattr("o1_retriever.decoding.sample", dictate)
    settings = ThinkingConfig(num_thoughts=1, max_new_tokens=20)
    texts = [delta.text for delta in embedder.stream_thoughts("q", thinking=settings) if delta.text]
    assert texts == ["é", "€", "😀", " x"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thoughts_alone_and_in_a_batch_of_a_thousand(make_embedder: MakeEmbedder) -> None:
    embedder = make_embedder("qwen2")
    settings = ThinkingConfig(num_thoughts=1, temperature=0.7, top_p=0.9, max_new_tokens=8)
    queries = [f"query number {i}: {'why ' * (i % 7)}" for i in range(1000)]
    together = embedder.think(queries, thinking=settings)
    alone = [embedder.think(query, thinking=settings) for query in queries]
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    assert len({text for row in together for text in row}) > 900
    assert same >= 999, f"{same} of 1000 queries give identical thoughts alone and in a batch"

"""The plain way to think and to embed, as a reference: no cache, no fused reading, left padding with a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.prompts import SPECIAL_TOKENS
from o1_retriever.sampling import row_key, sample


class Plain:
    """What `decoding.py` and `encoding.py` must equal."""

    @staticmethod
    def banned(embedder: O1Embedder) -> list[int]:
        """Special tokens that no thought may hold."""
        tokenizer = embedder.checkpoint.tokenizer
        ours = [tokenizer.get_vocab()[token] for token in SPECIAL_TOKENS]
        return sorted({*tokenizer.all_special_ids, *ours} - {embedder.prompts.eos})

    @torch.no_grad()
    def thought(self, embedder: O1Embedder, query: str, index: int, settings: ThinkingConfig) -> list[int]:
        """Samples one thought alone: a whole forward pass over prompt and tokens for each step."""
        prompt = embedder.prompts.queries([query], embedder.max_query_tokens).ids[0]
        key = np.array([row_key(settings.seed, query, index)], dtype=np.uint64)
        thought: list[int] = []
        while len(thought) < settings.max_new_tokens:
            logits = embedder.model(input_ids=torch.tensor([[*prompt, *thought]])).logits[:, -1]
            logits[:, self.banned(embedder)] = -torch.inf
            token = int(sample(logits, key, np.array([len(thought)]), settings)[0])
            if token == embedder.prompts.eos:
                break
            thought.append(token)
        return thought

    @torch.no_grad()
    def vectors(self, embedder: O1Embedder, rows: Sequence[Sequence[int]], extra: int = 0) -> NDArray[np.float32]:
        """(N, D) unit vectors of token-id rows in one left-padded, masked batch, `extra` columns wider than needed."""
        width = max(len(row) for row in rows) + extra
        ids = torch.tensor([[embedder.prompts.pad] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        output = embedder.model(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
        hidden = output.hidden_states[-1][:, -1].double()
        return np.asarray((hidden / hidden.norm(dim=1, keepdim=True)).float().numpy())


@pytest.fixture(scope="session")
def plain() -> Plain:
    return Plain()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """File hashes are remembered in a folder of the test run, not in the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder

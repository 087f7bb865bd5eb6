"""O1Embedder: thinks, embeds queries with their thoughts, embeds passages. The object that users hold.

Knows how the rooms work together; the work itself is in `thinking.py`, `encoding.py`, `pooling.py` and `prompts.py`.
Safe to call from several threads: between calls nothing changes but counters.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from o1_retriever import fingerprints
from o1_retriever.asking import answers_of
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from o1_retriever.config import EncodingConfig, ThinkingConfig
from o1_retriever.decoding import StopTokens
from o1_retriever.encoding import PassageEncoder, context_of, progress_bar
from o1_retriever.errors import InvalidTypeError, TransientThinkerError
from o1_retriever.prompts import Encoded, PromptBuilder, as_list, check_texts
from o1_retriever.query_encoding import QueryEncoder, QueryEncoding
from o1_retriever.thinkers import Thinker, check_thoughts, per_query, thoughts_of
from o1_retriever.thinking import SelfThinker, ThoughtDelta

logger = logging.getLogger(__name__)
Array = NDArray[np.float32]


class O1Embedder:
    """A causal language model that thinks before it embeds.

    Args:
        checkpoint: model, tokenizer and settings.
        thinker: where thoughts come from; None is the model itself.
        encoding: batching and precision.

    >>> embedder = O1Embedder.from_pretrained()
    >>> passages = embedder.encode_document(["Ada Lovelace wrote the first program.", "Bees dance."])
    >>> query = embedder.encode_query("Who was the first programmer?")
    >>> int(embedder.similarity(query, passages).argmax())
    0
    """

    def __init__(
        self, checkpoint: Checkpoint, *, thinker: Thinker | None = None, encoding: EncodingConfig | None = None
    ) -> None:
        self.checkpoint, self.thinker, self.encoding = checkpoint, thinker, encoding or EncodingConfig()
        self.model, self.config = checkpoint.model, checkpoint.config
        self.prompts = PromptBuilder(checkpoint.tokenizer)
        self.counters: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._self_thinker = SelfThinker(self.model, self.prompts, self.context, self.encoding.max_rows)
        self._encoder = PassageEncoder(
            self.model, self.prompts.pad, self.encoding.token_budget, self.encoding.precision
        )
        self._queries = QueryEncoder(self._self_thinker, self._encoder, self.config, self._count_truncated)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        thinker: Thinker | None = None,
        encoding: EncodingConfig | None = None,
    ) -> O1Embedder:
        """Loads the bundled model (the default), a folder or a hub id: full weights or a PEFT adapter.

        Args:
            name_or_path: see `load_checkpoint`; a folder called like the bundled model needs `./`.
            device: None takes cuda, then mps, then cpu.
            dtype: of the weights in memory; None means float32, on cuda the stored one.
            revision: of a hub repository.
            thinker: where thoughts come from; None is the model itself.
            encoding: batching and precision.

        Raises:
            CheckpointError: the checkpoint is missing (`ModelNotFoundError`), incomplete or damaged.
        """
        checkpoint = load_checkpoint(name_or_path, device=device, dtype=dtype, revision=revision)
        return cls(checkpoint, thinker=thinker, encoding=encoding)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes weights, tokenizer and `o1_config.json`; see `save_checkpoint`."""
        save_checkpoint(self.checkpoint, folder)

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context(self) -> int:
        """Positions the model has."""
        return context_of(self.model)

    @property
    def stop_tokens(self) -> StopTokens:
        """The ids that end a thought and read its vector."""
        return self._self_thinker.stop

    @property
    def max_query_tokens(self) -> int:
        """Tokens of a query that are read: half the context at most, so that thoughts fit behind it."""
        return min(self.config.max_query_tokens, (self.context - self.prompts.overhead) // 2)

    @property
    def max_passage_tokens(self) -> int:
        """Positions of a passage that are read, BOS and `<emb>` included."""
        return min(self.config.max_passage_tokens, self.context)

    @property
    def passage_fingerprint(self) -> str:
        """Names everything that decides a passage's vector; an index stores it (see `fingerprints.py`)."""
        checkpoint = self.checkpoint
        return fingerprints.passage_fingerprint(
            checkpoint.weights_hash, checkpoint.tokenizer_hash, self.config, self.dimension
        )

    def query_fingerprint(self, num_thoughts: int | None = None, thinking: ThinkingConfig | None = None) -> str:
        """Names everything that decides a query's vector; a cache of query vectors needs it in its key."""
        source = "self" if self.thinker is None else self.thinker.fingerprint
        settings = self._thinking(num_thoughts, thinking)
        return fingerprints.query_fingerprint(self.passage_fingerprint, self.config, settings, source)

    def think(
        self,
        queries: str | Sequence[str],
        num_thoughts: int | None = None,
        *,
        thinking: ThinkingConfig | None = None,
        evidence: Sequence[Sequence[str]] | None = None,
    ) -> list[str] | list[list[str]]:
        """K thoughts for one query (a list of K texts) or for each of B queries (B lists).

        Args:
            queries: one text or B texts.
            num_thoughts: K; None takes the checkpoint's default.
            thinking: replaces the checkpoint's settings for this call.
            evidence: for thinkers that read passages: those a first search found for each query.
        """
        texts, single = as_list(queries, "query")
        settings = self._thinking(num_thoughts, thinking)
        if settings.num_thoughts == 0 or not texts:
            thoughts: list[list[str]] = [[] for _ in texts]
        elif self.thinker is not None:
            thoughts = thoughts_of(self.thinker, texts, settings.num_thoughts, evidence)
        else:
            ids, _ = self._self_thinker.think(texts, self._query_prompts(texts).ids, settings)
            thoughts = [[self.prompts.thought_text(thought) for thought in row] for row in ids]
        return thoughts[0] if single else thoughts

    def stream_thoughts(
        self, queries: str | Sequence[str], num_thoughts: int | None = None, *, thinking: ThinkingConfig | None = None
    ) -> Iterator[ThoughtDelta]:
        """The model's own thoughts piece by piece, as they are written; the texts equal those of `think`."""
        texts, _ = as_list(queries, "query")
        settings = self._thinking(num_thoughts, thinking)
        if settings.num_thoughts and texts:
            yield from self._self_thinker.stream(texts, self._query_prompts(texts).ids, settings)

    @overload
    def encode_query(
        self,
        queries: str | Sequence[str],
        num_thoughts: int | None = None,
        thoughts: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        thinking: ThinkingConfig | None = None,
        evidence: Sequence[Sequence[str]] | None = None,
        return_thoughts: Literal[False] = False,
    ) -> Array: ...

    @overload
    def encode_query(
        self,
        queries: str | Sequence[str],
        num_thoughts: int | None = None,
        thoughts: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        thinking: ThinkingConfig | None = None,
        evidence: Sequence[Sequence[str]] | None = None,
        return_thoughts: Literal[True],
    ) -> QueryEncoding: ...

    def encode_query(
        self,
        queries: str | Sequence[str],
        num_thoughts: int | None = None,
        thoughts: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        thinking: ThinkingConfig | None = None,
        evidence: Sequence[Sequence[str]] | None = None,
        return_thoughts: bool = False,
    ) -> Array | QueryEncoding:
        """Vectors of queries: query + thought k times, pooled (paper, section 3.1).

        Args:
            queries: one text or B texts.
            num_thoughts: K; 0 embeds the query alone; None takes the checkpoint's default.
            thoughts: given thoughts instead: K texts for one query, or B lists (an empty list: the query alone).
            thinking: replaces the checkpoint's settings for this call.
            evidence: for thinkers that read passages: those a first search found for each query.
            return_thoughts: return a `QueryEncoding` with the thoughts and the vectors before pooling.

        Returns:
            float32 of unit length: (D,) for one text, (B, D) for a list; or a `QueryEncoding`, always batched.

        Raises:
            InvalidInputError: an empty query, or thoughts that do not match the queries.
            ThinkerError: the thinker failed for good. A passing failure embeds the query alone: it is logged, counted
                in `counters["degraded"]` and flagged in `QueryEncoding.degraded`.
        """
        texts, single = as_list(queries, "query")
        settings = self._thinking(num_thoughts, thinking)
        prompts = self._query_prompts(texts)
        degraded = [False] * len(texts)
        if thoughts is not None:
            given = check_thoughts(per_query(thoughts, single), len(texts))
            encoding = self._queries.given(prompts.ids, given, degraded)
        elif settings.num_thoughts == 0 or not texts:
            encoding = self._queries.given(prompts.ids, [[] for _ in texts], degraded)
        elif self.thinker is None:
            encoding = self._queries.own(texts, prompts.ids, settings)
        else:
            external, degraded = self._ask(self.thinker, texts, settings.num_thoughts, evidence)
            encoding = self._queries.given(prompts.ids, external, degraded)
        if return_thoughts:
            return encoding
        return encoding.vectors[0] if single else encoding.vectors

    def encode_document(self, texts: str | Sequence[str], *, show_progress: bool | None = None) -> Array:
        """Vectors of passages.

        Args:
            texts: one text or N texts.
            show_progress: a bar on stderr; None shows it by itself on work longer than a second.

        Returns:
            float32 of unit length: (D,) for one text, (N, D) for a list, in its order.

        Raises:
            InvalidInputError: a text is empty.
        """
        passages, single = as_list(texts, "passage")
        parts = list(self.iter_encode_document(passages, show_progress=show_progress, total=len(passages)))
        vectors = np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)
        return vectors[0] if single else vectors

    def iter_encode_document(
        self, texts: Iterable[str], *, show_progress: bool | None = None, total: int | None = None
    ) -> Iterator[Array]:
        """Vectors of a stream of passages, a window at a time; never holds more than a window in memory.

        Args:
            texts: any iterable of texts.
            show_progress: see `encode_document`.
            total: how many texts there are, for the bar.

        Yields:
            (W, D) arrays of at most `encoding.window` passages, in order.
        """
        if isinstance(texts, str):
            raise InvalidTypeError("passages: expected an iterable of str, got one str: put it into a list.")
        stream, done = iter(texts), 0
        with progress_bar(total, "encode", show_progress) as bar:
            while window := list(islice(stream, self.encoding.window)):
                encoded = self.prompts.passages(check_texts(window, "passage", done), self.max_passage_tokens)
                self._count_truncated("passage", encoded.truncated, self.max_passage_tokens)
                done += len(window)
                yield self._encoder.encode(encoded.ids, progress=bar.update).numpy()

    @staticmethod
    def similarity(a: Array, b: Array) -> Array:
        """Cosine similarity of unit vectors: (A, D) and (B, D) give (A, B); (D,) counts as one row."""
        return np.asarray(np.atleast_2d(a) @ np.atleast_2d(b).T, dtype=np.float32)

    def _thinking(self, num_thoughts: int | None, thinking: ThinkingConfig | None) -> ThinkingConfig:
        settings = thinking or self.config.thinking
        return settings if num_thoughts is None else dataclasses.replace(settings, num_thoughts=num_thoughts)

    def _query_prompts(self, texts: Sequence[str]) -> Encoded:
        encoded = self.prompts.queries(texts, self.max_query_tokens)
        self._count_truncated("query", encoded.truncated, self.max_query_tokens)
        return encoded

    def _ask(
        self, thinker: Thinker, texts: list[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
    ) -> tuple[list[list[str]], list[bool]]:
        """Thoughts of an external thinker; a query alone, visibly, for which it is unavailable for now."""
        answers = answers_of(thinker, texts, num_thoughts, evidence)
        failures = [answer for answer in answers if isinstance(answer, TransientThinkerError)]
        if failures:
            with self._lock:
                self.counters["degraded"] += len(failures)
            logger.warning("thinker unavailable, %d queries embedded without thoughts: %s", len(failures), failures[0])
        thoughts = [[] if isinstance(answer, TransientThinkerError) else answer for answer in answers]
        return thoughts, [isinstance(answer, TransientThinkerError) for answer in answers]

    def _count_truncated(self, kind: str, count: int, limit: int) -> None:
        """Counts cut texts in `counters["truncated_<kind>"]` and warns the first time."""
        if not count:
            return
        with self._lock:
            first = not self.counters[f"truncated_{kind}"]
            self.counters[f"truncated_{kind}"] += count
        if first:
            logger.warning("%d %s text(s) cut to %d tokens; further ones are only counted", count, kind, limit)

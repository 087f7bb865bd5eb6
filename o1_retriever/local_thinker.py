"""Thoughts from a chat model of transformers on this machine: an expert for synthesis without any server."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from o1_retriever import fingerprints
from o1_retriever.chat_generation import ChatGenerator, Prompt
from o1_retriever.chat_prompts import ChatPrompts
from o1_retriever.checkpoint import resolve_device, resolve_dtype
from o1_retriever.config import ThinkingConfig, require_int
from o1_retriever.errors import InvalidInputError, ThinkerError
from o1_retriever.exploration import Exploration
from o1_retriever.loading import load_model, load_tokenizer
from o1_retriever.locating import locate, tokenizer_files, weight_files
from o1_retriever.prompts import check_encodable, check_texts
from o1_retriever.sampling import row_key
from o1_retriever.tasks import TASKS, Task
from o1_retriever.usage import Usage

logger = logging.getLogger(__name__)
SAMPLING = ThinkingConfig(temperature=1.0, top_p=0.95, max_new_tokens=160)
"""Candidates shall differ: warmer than an embedder's own thinking. Its `num_thoughts` is not used."""


class ChatModelThinker:
    """Asks a local causal language model for thoughts, in batches.

    Random numbers depend on (seed, query, candidate, step) alone, as those of an embedder's own thoughts do; the global
    generators are not touched.

    Args:
        model: in eval mode.
        tokenizer: with or without a chat template.
        task: what is asked; candidate i takes the task's angle i modulo their number.
        sampling: temperature, top_p, top_k, max_new_tokens and seed.
        batch_rows: candidates written side by side at most.
        weights_hash: for the fingerprint; computed from the tensors where it is not given.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        task: Task = TASKS["question-answering"],
        sampling: ThinkingConfig = SAMPLING,
        *,
        batch_rows: int = 16,
        weights_hash: str | None = None,
    ) -> None:
        require_int("batch_rows", batch_rows, 1)
        self.task, self.sampling, self.batch_rows = task, sampling, batch_rows
        self.prompts = ChatPrompts(tokenizer)
        self.generator = ChatGenerator(model.eval(), tokenizer, sampling, batch_rows)
        self.context = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        weights = weights_hash or fingerprints.hash_state(model.state_dict())
        words = (tokenizer.chat_template, tokenizer.backend_tokenizer.to_str())
        settings = {name: value for name, value in asdict(sampling).items() if name != "num_thoughts"}
        self.fingerprint = fingerprints.digest("chat-model", weights, words, task.fingerprint, settings)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        task: Task = TASKS["question-answering"],
        sampling: ThinkingConfig = SAMPLING,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        batch_rows: int = 16,
    ) -> ChatModelThinker:
        """Loads a folder or a hub id: safetensors only, and no code from the repository is run.

        Args:
            name_or_path: a folder or a hub id.
            task, sampling, batch_rows: as for the class.
            device: None takes cuda, then mps, then cpu.
            dtype: of the weights in memory; None means float32, on cuda the stored one.
            revision: of a hub repository.

        Raises:
            ModelNotFoundError: nothing goes by this name.
            CheckpointError: it is there but cannot be used.
        """
        folder, target = locate(name_or_path, revision), resolve_device(device)
        tokenizer = load_tokenizer(folder)
        model = load_model(folder, resolve_dtype(dtype, target), tokenizer)
        return cls(
            model.to(target),  # type: ignore[arg-type]
            tokenizer,
            task,
            sampling,
            batch_rows=batch_rows,
            weights_hash=fingerprints.hash_files([*weight_files(folder), *tokenizer_files(folder)]),
        )

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts for each of B queries.

        Args:
            queries: B texts.
            num_thoughts: K.
            evidence: B lists of passages that a first search found; they go into the prompt.

        Raises:
            ThinkerError: the model wrote nothing, or the prompt is longer than its context.
            OutOfMemoryError: not even one thought fits.
            InvalidInputError: an empty query, or evidence that does not match the queries.
        """
        texts = check_texts(queries, "query")
        if evidence is not None and len(evidence) != len(texts):
            raise InvalidInputError(
                f"evidence must be one list of passages per query: {len(texts)}, got {len(evidence)}."
            )
        found = list(self._explore(zip(texts, evidence or [()] * len(texts), strict=True), num_thoughts))
        for query, exploration in zip(texts, found, strict=True):
            if len(exploration.texts) < num_thoughts:
                raise ThinkerError(
                    f"The model wrote {len(exploration.texts)} of {num_thoughts} thoughts for {query[:80]!r}: the "
                    "others were empty, or the prompt is longer than its context. Use another model or less evidence."
                )
        return [exploration.texts for exploration in found]

    def iter_think(self, queries: Iterable[str], num_thoughts: int) -> Iterator[Exploration]:
        """Each query's thoughts, a batch at a time and in the order of the queries; empty answers are left out.

        Args:
            queries: texts, read as batches are written.
            num_thoughts: K.
        """
        checked = (check_texts([query], "query", index)[0] for index, query in enumerate(queries))
        return self._explore(((query, ()) for query in checked), num_thoughts)

    def _explore(self, asked: Iterable[tuple[str, Sequence[str]]], num_thoughts: int) -> Iterator[Exploration]:
        require_int("num_thoughts", num_thoughts, 0)
        stream, done = iter(asked), 0
        while window := list(islice(stream, max(1, self.batch_rows // max(1, num_thoughts)))):
            rows = [self._rows(query, evidence, num_thoughts) for query, evidence in window]
            answers = iter(self.generator.write([row for query_rows in rows for row in query_rows]))
            for index, query_rows in enumerate(rows, start=done):
                texts = [self.prompts.text(ids) for ids in islice(answers, len(query_rows))]
                written = [text for text in texts if text]
                yield Exploration(index, written, Usage(refused=num_thoughts - len(written)))
            done += len(window)

    def _rows(self, query: str, evidence: Sequence[str], num_thoughts: int) -> list[Prompt]:
        """The candidates to write; none where the prompt leaves no room for an answer."""
        for passage in evidence:
            check_encodable(passage, f"the evidence of {query[:80]!r}")
        rows = [
            Prompt(self.prompts.ids(self.task.messages(query, evidence, i)), row_key(self.sampling.seed, query, i))
            for i in range(num_thoughts)
        ]
        longest = max((len(row.ids) for row in rows), default=0)
        if longest + self.sampling.max_new_tokens <= self.context:
            return rows
        logger.warning(
            "the prompt of %r has %d tokens: with %d for the answer it is longer than the model's %d positions",
            query[:80],
            longest,
            self.sampling.max_new_tokens,
            self.context,
        )
        return []

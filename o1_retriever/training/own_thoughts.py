"""The model's own thoughts for the visits ahead (on-policy rows): sampled at intervals, kept in the checkpoint.

The schedule is known in advance, so exactly the thoughts that will be read are sampled, each once. Knows no trainer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedModel

from o1_retriever.encoding import context_of
from o1_retriever.errors import CheckpointError
from o1_retriever.storage import disk_errors, write_whole
from o1_retriever.thinking import SelfThinker
from o1_retriever.training.config import OwnThoughtSettings
from o1_retriever.training.examples import Examples

MAX_ROWS = 128
"""Thoughts sampled side by side."""


class OwnThoughts:
    """Own thoughts by visit.

    Args:
        model: the causal LM in training.
        examples: of the run.
        settings: share, interval, sampling.

    Attributes:
        thoughts: visit -> token ids without EOS, of the interval that is being trained.
        sampled_at: the optimizer step at which they were sampled; -1 before the first.
    """

    def __init__(self, model: PreTrainedModel, examples: Examples, settings: OwnThoughtSettings) -> None:
        self.model, self.examples, self.settings = model, examples, settings
        self.thoughts: dict[int, list[int]] = {}
        self.sampled_at = -1

    def due(self, step: int) -> bool:
        """Whether thoughts are sampled before this optimizer step."""
        since = step - self.settings.first
        return self.settings.share > 0 and since >= 0 and since % self.settings.every == 0 and step != self.sampled_at

    def refresh(self, step: int, visits: Iterable[int]) -> None:
        """Samples one thought, with the model as it is, for each of the visits that wants an own one."""
        wanted = [(visit, *found) for visit in visits if (found := self.examples.own_prompt(visit)) is not None]
        self.thoughts, self.sampled_at = {}, step
        if not wanted:
            return
        # the step is part of the seed: a query met again gets another thought
        settings = dataclasses.replace(self.settings.thinking, num_thoughts=1, seed=self.settings.thinking.seed + step)
        prompts, training = self.examples.prompts, self.model.training
        self.model.eval()
        thinker = SelfThinker(self.model, prompts, context_of(self.model), MAX_ROWS)
        written, _ = thinker.think([query for _, query, _ in wanted], [prompt for _, _, prompt in wanted], settings)
        self.model.train(training)
        limit = self.examples.settings.max_thought_tokens
        self.thoughts = {visit: ids[0][:limit] for (visit, _, _), ids in zip(wanted, written, strict=True)}

    def save(self, path: Path) -> None:
        """Writes the pool; StorageError where the disk refuses."""
        state = {"sampled_at": self.sampled_at, "thoughts": {str(visit): ids for visit, ids in self.thoughts.items()}}
        write_whole(path, json.dumps(state).encode())

    def load(self, path: Path) -> None:
        """Reads the pool of a checkpoint.

        Raises:
            CheckpointError: it is not there or damaged.
        """
        try:
            with disk_errors(path):
                state = json.loads(path.read_text(encoding="utf-8"))
            self.thoughts = {int(visit): list(ids) for visit, ids in state["thoughts"].items()}
            self.sampled_at = int(state["sampled_at"])
        except (json.JSONDecodeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}): remove this checkpoint, go on from another."
            ) from error

"""From a visited row to token ids: which positive, which negatives, which thought, and whether the thought is left out.

Every draw is a function of (seed, visit), so nothing depends on workers, processes or resuming. Inputs are built by
`prompts.py` as at inference; text of users is never parsed for special tokens. Knows no tensors.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Protocol

from torch.utils.data import Dataset

from o1_retriever.prompts import PromptBuilder
from o1_retriever.training.config import DataSettings, OwnThoughtSettings
from o1_retriever.training.row import TrainingRow
from o1_retriever.training.schedule import Schedule


class Rows(Protocol):
    """Rows by index; they may stay on disk."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> TrainingRow:
        """One of them."""


@dataclass(frozen=True)
class Example:
    """One query with its group of passages, as token ids.

    Attributes:
        visit: which use of which row this is; orders the examples of a run.
        where: file and line, for messages.
        query: its text, for sampling own thoughts.
        prompt: `<query>{q}</query><thought>`.
        thought: token ids without EOS; None: the query alone.
        writes: the thought is learned (behaviour cloning), not only read.
        own: the thought is to be replaced by one that the model samples, once there is one; that one is only read.
        target: of an evidence row: what is written instead of its thought; None elsewhere.
        texts: N passages, the positive first; for a teacher.
        passages: the same as token ids; shorter groups are filled with repetitions of the positive.
        real: N flags; False marks such a filler, which takes no part in any loss.
        identities: N hashes of the texts: copies of a positive are no negatives.
        scores: N teacher scores; None where the row has none.
    """

    visit: int
    where: str
    query: str
    prompt: list[int]
    thought: list[int] | None
    writes: bool
    own: bool
    target: list[int] | None
    texts: list[str]
    passages: list[list[int]]
    real: list[bool]
    identities: list[int]
    scores: list[float] | None


class Examples(Dataset[Example]):
    """All visits of a run, in order: a map-style data set that a sequential sampler reads.

    Args:
        rows: anything with `len` and rows by index.
        schedule: which row each visit takes.
        visits: how many.
        prompts: builds token ids.
        settings: group size, limits, thought dropout.
        own: the share of own thoughts.
        seed: of the draws.
    """

    def __init__(
        self,
        rows: Rows,
        schedule: Schedule,
        visits: int,
        prompts: PromptBuilder,
        settings: DataSettings,
        own: OwnThoughtSettings,
        seed: int,
    ) -> None:
        self.rows, self.schedule, self.visits = rows, schedule, visits
        self.prompts, self.settings, self.own, self.seed = prompts, settings, own, seed

    def __len__(self) -> int:
        return self.visits

    def __getitem__(self, visit: int) -> Example:
        row, rng = self.rows[self.schedule.row(visit)], random.Random(f"{self.seed}:{visit}")
        limits = self.settings
        texts, real, scores = self._group(row, rng)
        thought, writes, own, target = self._thought(row, rng)
        return Example(
            visit=visit,
            where=row.where,
            query=row.query,
            prompt=self.prompts.queries([row.query], limits.max_query_tokens).ids[0],
            thought=None if thought is None else self._ids(thought),
            writes=writes,
            own=own,
            target=None if target is None else self._ids(target),
            texts=texts,
            passages=self.prompts.passages(texts, limits.max_passage_tokens).ids,
            real=real,
            identities=[_identity(text) for text in texts],
            scores=scores,
        )

    def _ids(self, text: str) -> list[int]:
        return self.prompts.text_ids([text], self.settings.max_thought_tokens).ids[0]

    def _group(self, row: TrainingRow, rng: random.Random) -> tuple[list[str], list[bool], list[float] | None]:
        """One positive, then as many different negatives as there are, then fillers."""
        wanted = self.settings.group_size - 1
        positive = rng.randrange(len(row.positives))
        negatives = rng.sample(range(len(row.negatives)), min(wanted, len(row.negatives)))
        missing = wanted - len(negatives)
        texts = [row.positives[positive], *(row.negatives[i] for i in negatives), *[row.positives[positive]] * missing]
        real = [True] * (1 + len(negatives)) + [False] * missing
        if row.positive_scores is None or (negatives and row.negative_scores is None):
            return texts, real, None
        given = row.negative_scores or ()
        return texts, real, [row.positive_scores[positive], *(given[i] for i in negatives), *[0.0] * missing]

    def _thought(self, row: TrainingRow, rng: random.Random) -> tuple[str | None, bool, bool, str | None]:
        """The thought, whether it is written, whether an own one replaces it, and the target of an evidence row."""
        dropped, own = rng.random() < self.settings.thought_dropout, rng.random() < self.own.share
        if not row.thoughts:
            return None, False, False, None
        if row.evidence:
            return row.thoughts[0], False, False, row.target or None
        if dropped:
            return None, False, False, None
        return row.thoughts[0], True, own, None


def _identity(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=7).digest(), "big")

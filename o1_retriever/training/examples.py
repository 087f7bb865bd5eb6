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

KNOWN = 16
"""Positives of a row that are kept out of the negatives."""


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
        thought_text: the same, uncut; for a teacher.
        cut: the thought was longer than the limit: its end is not learned as one.
        writes: the thought is learned (behaviour cloning), not only read.
        own: the thought is to be replaced by one that the model samples, once there is one; that one is only read.
        target: of an evidence row: what is written instead of its thought; None elsewhere.
        texts: N passages, the positive first; for a teacher.
        passages: the same as token ids; shorter groups are filled with repetitions of the positive.
        real: N flags; False marks such a filler, which takes no part in any loss.
        identities: N hashes of the texts.
        known: KNOWN hashes of the row's positives, repeated as needed: none of them is a negative.
        scores: N teacher scores; None where the row has none.
    """

    visit: int
    where: str
    query: str
    prompt: list[int]
    thought: list[int] | None
    thought_text: str | None
    cut: bool
    writes: bool
    own: bool
    target: list[int] | None
    texts: list[str]
    passages: list[list[int]]
    real: list[bool]
    identities: list[int]
    known: list[int]
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
        cut_at, known = limits.max_thought_tokens, [_identity(text) for text in row.positives[:KNOWN]]
        texts, real, scores = self._group(row, rng)
        text, writes, own, aim = self._thought(row, rng)
        thought, target = self._ids(text), self._ids(aim)
        return Example(
            visit=visit,
            where=row.where,
            query=row.query,
            prompt=self._prompt(row),
            thought=None if thought is None else thought[:cut_at],
            thought_text=text,
            cut=thought is not None and len(thought) > cut_at,
            writes=writes,
            own=own,
            target=None if target is None else target[:cut_at],
            texts=texts,
            passages=self.prompts.passages(texts, limits.max_passage_tokens).ids,
            real=real,
            identities=[_identity(text) for text in texts],
            known=(known * KNOWN)[:KNOWN],
            scores=scores,
        )

    def own_prompt(self, visit: int) -> tuple[str, list[int]] | None:
        """The query and its prompt, if this visit wants an own thought; passages are left alone."""
        row, rng = self.rows[self.schedule.row(visit)], random.Random(f"{self.seed}:{visit}")
        self._group(row, rng)  # the draws come in the same order
        return (row.query, self._prompt(row)) if self._thought(row, rng)[2] else None

    def _prompt(self, row: TrainingRow) -> list[int]:
        """An instruction does not count against the query's limit: it would leave nothing of the query."""
        instruction = len(self.prompts.text_ids([row.prompt], 1 << 30).ids[0]) if row.prompt else 0
        return self.prompts.queries([row.query], instruction + self.settings.max_query_tokens).ids[0]

    def _ids(self, text: str | None) -> list[int] | None:
        return None if text is None else self.prompts.text_ids([text], 1 << 30).ids[0]

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

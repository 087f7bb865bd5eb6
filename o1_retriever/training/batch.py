"""From examples to the tensors of one forward pass: padded rows, where the vectors are read, what is learned where.

Rows are padded on the right, as in `encoding.py`. Knows no model.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from o1_retriever.prompts import PromptBuilder
from o1_retriever.training.config import LossSettings
from o1_retriever.training.examples import Example
from o1_retriever.training.teacher import Teacher

Thoughts = Mapping[int, list[int]]
"""Own thoughts: visit -> token ids without EOS."""


class _OnDevice:
    """A dataclass of tensors (and of such dataclasses) that moves as one."""

    def to(self, device: torch.device) -> Self:
        """A copy on the device."""

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, (Tensor, _OnDevice)) else value

        return type(self)(**{f.name: moved(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class PaddedRows(_OnDevice):
    """Rows padded on the right, and in which parts they are computed.

    Attributes:
        ids: (R, T) token ids.
        last: (R,) position of each row's last token.
        order: (R,) the rows from the shortest to the longest; chunks of it are computed together.
        widths: of each chunk, in tokens: what is beyond is padding.
    """

    ids: Tensor
    last: Tensor
    order: Tensor
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Labels(_OnDevice):
    """What is written where: `tokens[l]` follows position `positions[l]` of row `rows[l]`; all (L,)."""

    rows: Tensor
    positions: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class GroupFacts(_OnDevice):
    """What the contrastive loss must know of B groups of N passages; all (B, N).

    Attributes:
        real: False for fillers.
        identities: equal numbers are equal texts.
        known: (B, KNOWN) identities of the query's positives: no negatives of it, wherever they come from.
        scores: of the rows; NaN rows have none.
        own: (B,) whether the query side holds a thought of the model's own.
        teacher_passages: (B * N, D) the teacher's vectors; None where no term needs them.
        teacher_queries: (B, D) the teacher's vectors of the bare queries.
        given: (B,) whether the query side holds a thought of the row that is learned.
        teacher_thoughts: (B, D) what the teacher makes of query and thought; only the given ones count.
    """

    real: Tensor
    identities: Tensor
    known: Tensor
    scores: Tensor
    own: Tensor
    given: Tensor
    teacher_passages: Tensor | None = None
    teacher_queries: Tensor | None = None
    teacher_thoughts: Tensor | None = None


@dataclass(frozen=True)
class JointBatch(_OnDevice):
    """One forward pass of both skills.

    Attributes:
        queries: B query sides, then the rows that are only written (targets of evidence rows).
        labels: thought tokens and EOS.
        passage_labels: passage tokens that are learned too; None where none are.
        passages: B * N passages, query-major, the positive first; None where nothing embeds.
        bare: B queries without a thought; None where no term needs them.
        facts: of the groups.
        where: B files and lines.
    """

    queries: PaddedRows
    labels: Labels
    passage_labels: Labels | None
    passages: PaddedRows | None
    bare: PaddedRows | None
    facts: GroupFacts
    where: list[str]

    def __len__(self) -> int:
        return len(self.where)


class Assembler:
    """Makes batches of examples.

    Args:
        prompts: builds the query side.
        multiple: widths are padded to a multiple of this.
        loss: which parts its terms need.
        teacher: of its terms that need one.
        context: positions the model has.
        length_groups: parts of similar lengths that rows are computed in.
    """

    def __init__(
        self,
        prompts: PromptBuilder,
        multiple: int,
        loss: LossSettings,
        teacher: Teacher | None = None,
        context: int = 1 << 30,
        length_groups: int = 1,
    ) -> None:
        self.prompts, self.multiple, self.loss, self.teacher = prompts, multiple, loss, teacher
        self.context, self.length_groups = context, length_groups

    def __call__(self, examples: Sequence[Example], own: Thoughts) -> JointBatch:
        """The batch of some examples, own thoughts in place of those that wait for one."""
        rows: list[list[int]] = []
        written: list[tuple[int, list[int]]] = []  # each row: prompt length, what is learned
        for example in examples:
            thought, writes = self._thought(example, own)
            rows.append(self.prompts.close(example.prompt, thought))
            written.append((len(example.prompt), self._learned(example, thought) if writes else []))
        if self.loss.generates:
            for example in examples:
                if example.target:
                    rows.append(self.prompts.close(example.prompt, example.target))
                    written.append((len(example.prompt), [*example.target, self.prompts.eos]))
        passages = [row for example in examples for row in example.passages]
        return JointBatch(
            queries=self.pad(rows),
            labels=self._labels(written),
            passage_labels=self._passage_labels(examples) if self.loss.passage_generation_weight > 0 else None,
            passages=self.pad(passages) if self.loss.embeds else None,
            bare=self.pad([self.prompts.close(e.prompt, None) for e in examples])
            if self.loss.needs_bare_queries
            else None,
            facts=self._facts(examples, own),
            where=[example.where for example in examples],
        )

    @staticmethod
    def _thought(example: Example, own: Thoughts) -> tuple[list[int] | None, bool]:
        """What the query side holds, and whether it is learned."""
        if example.own and example.visit in own:
            return own[example.visit], False
        return example.thought, example.writes

    def _learned(self, example: Example, thought: list[int] | None) -> list[int]:
        """The thought and EOS; without EOS where the thought was cut, or the model would learn to stop there."""
        if not thought:
            return []
        return thought if example.cut else [*thought, self.prompts.eos]

    def _labels(self, written: Sequence[tuple[int, list[int]]]) -> Labels:
        """What is learned of each row, each token predicted from the position before it."""
        rows: list[int] = []
        positions: list[int] = []
        tokens: list[int] = []
        for row, (start, learned) in enumerate(written):
            if self.loss.generates:
                rows += [row] * len(learned)
                positions += range(start - 1, start - 1 + len(learned))
                tokens += learned
        return _labels(rows, positions, tokens)

    def _passage_labels(self, examples: Sequence[Example]) -> Labels:
        """A share of the tokens of the real passages, each predicted from the position before it; never `<emb>`."""
        rows: list[int] = []
        positions: list[int] = []
        tokens: list[int] = []
        row = 0
        for example in examples:
            rng = random.Random(f"passage tokens {example.visit}")
            for ids, real in zip(example.passages, example.real, strict=True):
                chosen = [t for t in range(len(ids) - 2) if rng.random() < self.loss.passage_generation_share]
                if real:
                    rows += [row] * len(chosen)
                    positions += chosen
                    tokens += [ids[t + 1] for t in chosen]
                row += 1
        return _labels(rows, positions, tokens)

    def _facts(self, examples: Sequence[Example], own: Thoughts) -> GroupFacts:
        unknown = [float("nan")] * len(examples[0].passages)
        facts = GroupFacts(
            real=torch.tensor([example.real for example in examples]),
            identities=torch.tensor([example.identities for example in examples]),
            known=torch.tensor([example.known for example in examples]),
            scores=torch.tensor([example.scores or unknown for example in examples]),
            own=torch.tensor([example.own and example.visit in own for example in examples]),
            given=torch.tensor([self._thought(example, own)[1] and bool(example.thought) for example in examples]),
        )
        if self.teacher is None:
            return facts
        queries = self.teacher.queries([example.query for example in examples])
        thoughts = None
        if self.loss.teacher_thought_weight > 0:
            thoughts = torch.zeros_like(queries)  # where no thought is given it does not count
            chosen = [e for e, given in zip(examples, facts.given.tolist(), strict=True) if given]
            if chosen:
                texts = [e.thought_text or "" for e in chosen]
                thoughts[facts.given] = self.teacher.thoughts([e.query for e in chosen], texts)
        return dataclasses.replace(
            facts,
            teacher_passages=self.teacher.passages([text for example in examples for text in example.texts]),
            teacher_queries=queries,
            teacher_thoughts=thoughts,
        )

    def pad(self, rows: Sequence[Sequence[int]]) -> PaddedRows:
        """Rows on the right, to a multiple; short rows are computed beside short ones."""
        lengths = torch.tensor([len(row) for row in rows])
        order = lengths.argsort(stable=True)
        widths = tuple(self._width(int(lengths[part[-1]])) for part in order.chunk(self.length_groups))
        ids = torch.tensor([[*row, *[self.prompts.pad] * (widths[-1] - len(row))] for row in rows])
        return PaddedRows(ids, lengths - 1, order, widths)

    def _width(self, longest: int) -> int:
        return max(longest, min(-(-longest // self.multiple) * self.multiple, self.context))


def _labels(rows: Sequence[int], positions: Sequence[int], tokens: Sequence[int]) -> Labels:
    return Labels(*(torch.tensor(values, dtype=torch.long) for values in (rows, positions, tokens)))

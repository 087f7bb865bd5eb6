"""From examples to the tensors of one forward pass: padded rows, where the vectors are read, what is learned where.

Rows are padded on the right, as in `encoding.py`. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from o1_retriever.prompts import PromptBuilder
from o1_retriever.training.examples import Example

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
    """Token ids (R, T), padded on the right, and the position (R,) of each row's last token."""

    ids: Tensor
    last: Tensor


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
        scores: the teacher's; NaN rows have none.
    """

    real: Tensor
    identities: Tensor
    scores: Tensor


@dataclass(frozen=True)
class JointBatch(_OnDevice):
    """One forward pass of both skills.

    Attributes:
        queries: B query sides, then the rows that are only written (targets of evidence rows).
        labels: thought tokens and EOS.
        passages: B * N passages, query-major, the positive first; None where nothing embeds.
        bare: B queries without a thought; None where no term needs them.
        facts: of the groups.
        where: B files and lines.
    """

    queries: PaddedRows
    labels: Labels
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
        embeds: passages are needed.
        generates: labels are needed.
        bare: bare queries are needed.
    """

    def __init__(self, prompts: PromptBuilder, multiple: int, embeds: bool, generates: bool, bare: bool) -> None:
        self.prompts, self.multiple = prompts, multiple
        self.embeds, self.generates, self.bare = embeds, generates, bare

    def __call__(self, examples: Sequence[Example], own: Thoughts) -> JointBatch:
        """The batch of some examples, own thoughts in place of those that wait for one."""
        rows: list[list[int]] = []
        written: list[tuple[int, list[int]]] = []  # each row: prompt length, what is learned
        for example in examples:
            thought, writes = self._thought(example, own)
            rows.append(self.prompts.close(example.prompt, thought))
            written.append((len(example.prompt), thought if writes and thought is not None else []))
        if self.generates:
            for example in examples:
                if example.target:
                    rows.append(self.prompts.close(example.prompt, example.target))
                    written.append((len(example.prompt), example.target))
        passages = [row for example in examples for row in example.passages]
        return JointBatch(
            queries=self.pad(rows),
            labels=self._labels(written),
            passages=self.pad(passages) if self.embeds else None,
            bare=self.pad([self.prompts.close(e.prompt, None) for e in examples]) if self.bare else None,
            facts=_facts(examples),
            where=[example.where for example in examples],
        )

    @staticmethod
    def _thought(example: Example, own: Thoughts) -> tuple[list[int] | None, bool]:
        """What the query side holds, and whether it is learned."""
        if example.own and example.visit in own:
            return own[example.visit], False
        return example.thought, example.writes

    def _labels(self, written: Sequence[tuple[int, list[int]]]) -> Labels:
        """The thought's tokens and EOS, each predicted from the position before it."""
        rows: list[int] = []
        positions: list[int] = []
        tokens: list[int] = []
        for row, (start, thought) in enumerate(written):
            if thought and self.generates:
                rows += [row] * (len(thought) + 1)
                positions += range(start - 1, start + len(thought))
                tokens += [*thought, self.prompts.eos]
        return Labels(*(torch.tensor(values, dtype=torch.long) for values in (rows, positions, tokens)))

    def pad(self, rows: Sequence[Sequence[int]]) -> PaddedRows:
        """Rows on the right, to a multiple."""
        width = -(-max(len(row) for row in rows) // self.multiple) * self.multiple
        ids = torch.tensor([[*row, *[self.prompts.pad] * (width - len(row))] for row in rows])
        return PaddedRows(ids, torch.tensor([len(row) - 1 for row in rows]))


def _facts(examples: Sequence[Example]) -> GroupFacts:
    size = len(examples[0].passages)
    unknown = [float("nan")] * size
    return GroupFacts(
        real=torch.tensor([example.real for example in examples]),
        identities=torch.tensor([example.identities for example in examples]),
        scores=torch.tensor([example.scores or unknown for example in examples]),
    )

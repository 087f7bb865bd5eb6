"""One micro-batch: examples in, gradients in the parameters, the values of the terms out. Plain, or by gradient cache.

Gradients are of the mean over the whole batch of all processes: each differentiates its share, times the number of
processes, since what wraps the model averages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from o1_retriever.errors import O1Error
from o1_retriever.training import distributed
from o1_retriever.training.batch import Assembler, GroupFacts, JointBatch, Thoughts
from o1_retriever.training.config import LossSettings
from o1_retriever.training.examples import Example
from o1_retriever.training.gradient_cache import GradientCache
from o1_retriever.training.joint import Vectors, vectors_of
from o1_retriever.training.objective import embedding_terms, weighted


class NonFiniteLossError(O1Error):
    """The loss became NaN or infinite."""


class JointStep:
    """Differentiates micro-batches.

    Args:
        model: wrapped or not; its forward knows joint batches (`joint.install`).
        settings: weights and temperature.
        assemble: examples to a batch.
        chunk_size: queries computed at once; 0 the whole batch, else gradients are cached.
        backward: differentiates a scalar.
        no_sync: a context without exchange of gradients.
        device: the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: LossSettings,
        assemble: Assembler,
        chunk_size: int,
        backward: Callable[[Tensor], None],
        no_sync: Callable[[], AbstractContextManager[object]],
        device: torch.device,
    ) -> None:
        self.model, self.settings, self.assemble, self.chunk_size = model, settings, assemble, chunk_size
        self.backward, self.no_sync, self.device = backward, no_sync, device
        self.values: dict[str, Tensor] = {}

    def run(self, examples: Sequence[Example], own: Thoughts, scale: float = 1.0) -> dict[str, Tensor]:
        """Leaves gradients times `scale` in the parameters.

        Returns:
            the values of the terms and their weighted sum "loss"; those of generation are this process's share, times
            the number of processes.

        Raises:
            NonFiniteLossError: a term is NaN or infinite; the message names rows.
        """
        size = self.chunk_size or len(examples)
        chunks = [self.assemble(examples[i : i + size], own).to(self.device) for i in range(0, len(examples), size)]
        self.values, self._scale, self._broken = {}, scale, torch.zeros(len(examples), dtype=torch.bool)
        self._facts = joined([chunk.facts for chunk in chunks])
        self._counts = self._count(chunks)
        # also where this process has no labels: the processes exchange the same terms
        self.values |= {name: torch.zeros((), device=self.device) for name, count in self._counts.items() if count}
        if len(chunks) == 1:
            self._plain(chunks[0])
        else:
            GradientCache(
                self._forward, self._contrast, self._generation, self.backward, self.no_sync, self.device
            ).step(chunks)
        self._check([example.where for example in examples])
        self.values["loss"] = self._total()
        return self.values

    def _count(self, chunks: Sequence[JointBatch]) -> dict[str, int]:
        """Labels of each generation term in all processes."""
        thoughts = sum(len(chunk.labels.tokens) for chunk in chunks)
        passages = sum(len(chunk.passage_labels.tokens) for chunk in chunks if chunk.passage_labels is not None)
        counts = {}
        if self.settings.generates:
            counts["generation"] = distributed.total(thoughts, self.device)
        if self.settings.passage_generation_weight > 0:
            counts["passage_generation"] = distributed.total(passages, self.device)
        return counts

    def _plain(self, batch: JointBatch) -> None:
        result = self._forward(batch, True)
        parts = [part for part in (self._contrast(vectors_of(result)), self._generation(result)) if part is not None]
        # nothing to learn in this process's batch: the wrapper still expects a backward pass
        self.backward(torch.stack(parts).sum() if parts else result["queries"].sum() * 0.0)

    def _forward(self, batch: JointBatch, with_nll: bool) -> dict[str, Tensor]:
        return self.model(joint_batch=batch, with_nll=with_nll)  # type: ignore[no-any-return]

    def _contrast(self, vectors: Vectors) -> Tensor | None:
        """The weighted embedding terms of all processes' vectors; only this process's carry gradients."""
        facts, processes = self._facts, 1
        self._broken = _broken(vectors)
        if self.settings.cross_device:
            vectors, facts = distributed.gather_vectors(vectors), distributed.gather_facts(facts)
            processes = distributed.world()
        terms = embedding_terms(vectors, facts, self.settings)
        if not terms:
            return None
        self.values |= {name: term.detach() for name, term in terms.items()}
        return weighted(terms, self.settings) * (self._scale * processes)

    def _generation(self, result: dict[str, Tensor]) -> Tensor | None:
        """This chunk's share of the means over all labels of all processes, weighted."""
        parts: dict[str, Tensor] = {}
        for name, found in (("generation", "nll"), ("passage_generation", "passage_nll")):
            if found in result:
                parts[name] = result[found].sum() * (distributed.world() / self._counts[name])
                self.values[name] = self.values[name] + parts[name].detach()
        return weighted(parts, self.settings) * self._scale if parts else None

    def _total(self) -> Tensor:
        return weighted(self.values, self.settings) if self.values else torch.zeros((), device=self.device)

    def _check(self, where: Sequence[str]) -> None:
        bad = [name for name, value in self.values.items() if not torch.isfinite(value)]
        if bad:
            rows = [name for name, broken in zip(where, self._broken.tolist(), strict=True) if broken] or where
            raise NonFiniteLossError(
                f"The {' and '.join(bad)} loss is not finite; rows concerned: {', '.join(rows)}. Look at these rows; "
                "lower run.learning_rate or set run.max_grad_norm. The last checkpoint is kept."
            )


def joined(facts: Sequence[GroupFacts]) -> GroupFacts:
    """The facts of several chunks as those of one batch."""
    columns = ([getattr(part, field.name) for part in facts] for field in dataclasses.fields(GroupFacts))
    return GroupFacts(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


def _broken(vectors: Vectors) -> Tensor:
    """(B,) the queries whose own vector, or one of whose passages', is not finite."""
    broken = ~vectors.queries.detach().isfinite().all(dim=1)
    if vectors.passages is not None:
        finite = vectors.passages.detach().isfinite().all(dim=1)
        broken = broken | ~finite.reshape(len(broken), -1).all(dim=1)
    return broken.cpu()

"""Which row is trained when: a pure function of the seed and the step. Knows numbers of rows, nothing of their content.

A *visit* is one use of one row; visit v belongs to global batch v // batch. Nothing is remembered between calls, so a
resumed run, another worker or another process sees the same rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import InvalidInputError

Indices = NDArray[np.int64]


class Schedule:
    """The order of rows.

    Args:
        sources: (N,) source number of each row.
        batch: rows of a global batch (all processes of one micro-batch).
        seed: of the order.
        shares: of a batch that comes from each source; empty: all rows alike, each once an epoch.
        same_source: every batch from one source; rows that fill no whole batch wait for another epoch's shuffle.

    Raises:
        InvalidInputError: a source has a share and no rows, or no source fills a batch.
    """

    def __init__(
        self,
        sources: NDArray[np.uint16],
        batch: int,
        seed: int,
        shares: tuple[float, ...] = (),
        same_source: bool = False,
    ) -> None:
        self.batch, self.seed, self._same_source = batch, seed, same_source
        self._rows = [np.flatnonzero(sources == s) for s in range(max(len(shares), int(sources.max()) + 1))]
        self._total = len(sources)
        self._kept: dict[int, tuple[int, Indices]] = {}
        self._counts = _counts(shares, batch)
        for number, (rows, count) in enumerate(zip(self._rows, self._counts, strict=False)):
            if count and not len(rows):
                raise InvalidInputError(f"data.shares gives source {number} a share, but it has no usable rows.")
        self._batches = [len(rows) // batch for rows in self._rows]
        if same_source and not sum(self._batches):
            raise InvalidInputError(f"data.same_source: no source has {batch} rows: lower run.batch_size.")

    def _permutation(self, size: int, stream: int, epoch: int) -> Indices:
        """Of one epoch of one stream; the last of each stream is kept, since visits come in order."""
        if self._kept.get(stream, (-1,))[0] != epoch:
            self._kept[stream] = epoch, np.random.default_rng([self.seed, stream, epoch]).permutation(size)
        return self._kept[stream][1]

    def batches_per_epoch(self) -> float:
        """Global batches in which every row is visited once on the average."""
        return sum(self._batches) if self._same_source else self._total / self.batch

    def row(self, visit: int) -> int:
        """The row that a visit takes."""
        step, slot = divmod(visit, self.batch)
        if self._counts:
            return self._by_shares(step, slot)
        if self._same_source:
            return self._one_source(step, slot)
        epoch, position = divmod(visit, self._total)
        return int(self._permutation(self._total, 0, epoch)[position])

    def _by_shares(self, step: int, slot: int) -> int:
        source = int(np.searchsorted(np.cumsum(self._counts), slot, side="right"))
        rows, count = self._rows[source], self._counts[source]
        epoch, position = divmod(step * count + slot - sum(self._counts[:source]), len(rows))
        return int(rows[self._permutation(len(rows), 1 + source, epoch)[position]])

    def _one_source(self, step: int, slot: int) -> int:
        epoch, position = divmod(step, sum(self._batches))
        number = int(self._permutation(sum(self._batches), 0, epoch)[position])
        source = int(np.searchsorted(np.cumsum(self._batches), number, side="right"))
        start = (number - sum(self._batches[:source])) * self.batch
        rows = self._rows[source]
        return int(rows[self._permutation(len(rows), 1 + source, epoch)[start + slot]])


def _counts(shares: tuple[float, ...], batch: int) -> list[int]:
    """Rows of a batch per source: shares rounded down, the rest to the largest remainders; they add up to `batch`."""
    counts = [int(share * batch + 1e-9) for share in shares]
    order = sorted(range(len(shares)), key=lambda s: counts[s] - shares[s] * batch)
    for source in order[: batch - sum(counts)] if shares else []:
        counts[source] += 1
    return counts

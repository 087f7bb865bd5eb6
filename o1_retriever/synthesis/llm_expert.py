"""A language model as the expert: one request per angle of the task, each finished and paid for by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from o1_retriever.completion_order import in_completion_order
from o1_retriever.errors import ThinkerError
from o1_retriever.llm_thinker import LLMThinker
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.experts import Errand, Explored

PATIENCE = 20
"""Refusals in a row, from the first request on, that can still be about the content."""


class LLMExpert:
    """The requests of an `LLMThinker`, one errand per angle: a kill costs those in flight and no other.

    With more candidates than angles an errand is all candidates of its angle: one request where the server gives
    several answers per request, else several that are kept together.

    Args:
        thinker: client and task.
        number: of candidates per question; candidate i takes angle i modulo their number.
    """

    reads_positives = False

    def __init__(self, thinker: LLMThinker, number: int) -> None:
        self.thinker, self.number = thinker, number
        self.parts = min(number, max(1, len(thinker.task.angles)))
        self.fingerprint = f"llm-{thinker.fingerprint}-{number}"

    def explore(self, errands: Sequence[Errand], corpus: CorpusFile) -> Iterator[Explored]:
        """See `Expert.explore`; never more requests in flight than the client's concurrency."""
        client = self.thinker.client
        works = (self._sample(index, errand) for index, errand in enumerate(errands))
        return _unless_all_refused(in_completion_order(works, client.submit, client.config.concurrency))

    async def _sample(self, index: int, errand: Errand) -> Explored:
        messages = self.thinker.task.messages(errand.question.text, None, errand.part)
        count = len(range(errand.part, self.number, self.parts))
        found = await self.thinker.client.sample(messages, count, first=errand.part)
        return index, found.texts, found.usage


def _unless_all_refused(found: Iterator[Explored]) -> Iterator[Explored]:
    """Holds refusals back until something is answered: a server that refuses everything is misconfigured.

    Raises:
        ThinkerError: the first PATIENCE errands were all refused; none of them is handed out, so that they are asked
            again once the server is put right.
    """
    held: list[Explored] = []
    answered = False
    for explored in found:
        answered = answered or any(text is not None for text in explored[1])
        held.append(explored)
        if answered:
            yield from held
            held = []
        elif len(held) == PATIENCE:
            raise ThinkerError(
                f"The endpoint refused the first {PATIENCE} requests, all of them: check --llm.model, --llm.max_tokens "
                "and the key; the log says what the first refusal was. Nothing was kept of these."
            )
    yield from held

"""The three stages, each from a batch of questions to finished rows of its journal: explore, refine, negatives.

A batch is a fixed piece of the shard's questions: after a kill a half-written batch is computed again as a whole and
only its missing rows are added, so that rounding, which depends on what is computed together, does not depend on kills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from o1_retriever.encoding import progress_bar
from o1_retriever.errors import StorageError
from o1_retriever.synthesis.committee import Member
from o1_retriever.synthesis.config import NegativesConfig, RefineConfig
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.experts import Errand, Expert
from o1_retriever.synthesis.journal import Journal, Row
from o1_retriever.synthesis.negatives import choose_negatives
from o1_retriever.synthesis.questions import Question
from o1_retriever.synthesis.refine import refine, to_json
from o1_retriever.synthesis.screening import screen
from o1_retriever.usage import Usage


@dataclass(frozen=True)
class Bench:
    """The committee at work on one corpus.

    Attributes:
        corpus: the passages.
        members: retrievers that judge; prepared at the first use.
        batch: questions worked on together.
    """

    corpus: CorpusFile
    members: Sequence[Member]
    batch: int = 64

    def prepare(self) -> None:
        """Makes the corpus searchable for every member."""
        for member in self.members:
            member.prepare(self.corpus)


def explore_stage(journal: Journal, questions: Sequence[Question], expert: Expert, corpus: CorpusFile) -> None:
    """Sends the expert on every errand that has no row yet; each answer is kept as soon as it comes.

    Raises:
        ThinkerError: the expert failed for good or for too long; what it answered before is kept.
    """
    errands = [Errand(question, part) for question in questions for part in range(expert.parts)]
    missing = [errand for errand in errands if _key(errand) not in journal]
    spent = Usage()
    for errand in errands:
        if _key(errand) in journal:
            spent = spent + Usage(**_explored_row(journal, errand, corpus, expert.reads_positives)["usage"])
    with progress_bar(len(errands), "explore", show=bool(missing) or None) as bar:
        bar.update(len(errands) - len(missing))
        for index, texts, usage in expert.explore(missing, corpus):
            errand = missing[index]
            row = {"candidates": list(texts), "usage": asdict(usage)}
            head = _head(errand.question, corpus) if expert.reads_positives else {"query": errand.question.text}
            journal.append(_key(errand), {**head, **row})
            spent = spent + usage
            _tell(bar, spent)
            bar.update(1)
    journal.sync()


@dataclass(frozen=True)
class Explorations:
    """The candidates of a finished exploration.

    Attributes:
        journal: of the explore stage.
        expert: whose they are.
        corpus: the passages.
    """

    journal: Journal
    expert: Expert
    corpus: CorpusFile

    def complete(self, question: Question) -> bool:
        """Whether all of its errands are done."""
        return all(_key(Errand(question, part)) in self.journal for part in range(self.expert.parts))

    def candidates(self, question: Question) -> list[str]:
        """The texts of all errands in the candidates' order; refused ones are left out."""
        found = [row["candidates"] for row in self._rows(question)]
        longest = max(map(len, found))
        return [row[i] for i in range(longest) for row in found if i < len(row) and row[i] is not None]

    def usage(self, question: Question) -> Usage:
        """What they cost."""
        return sum((Usage(**row["usage"]) for row in self._rows(question)), Usage())

    def _rows(self, question: Question) -> list[Row]:
        errands = [Errand(question, part) for part in range(self.expert.parts)]
        return [_explored_row(self.journal, errand, self.corpus, self.expert.reads_positives) for errand in errands]


def _key(errand: Errand) -> str:
    return f"{errand.question.id}#{errand.part}"


def refine_stage(
    journal: Journal, explored: Explorations, questions: Sequence[Question], bench: Bench, config: RefineConfig
) -> None:
    """Screens and judges the candidates of every question that has no row yet."""

    def work(batch: Sequence[Question]) -> Iterator[Row]:
        screened = [screen(explored.candidates(q), q.text, [bench.corpus[row] for row in q.positives]) for q in batch]
        verdicts = refine(batch, [found.texts for found in screened], bench.members, config)
        for found, verdict in zip(screened, verdicts, strict=True):
            yield {"candidates": found.texts, "dropped": dict(found.dropped), **to_json(verdict)}

    _in_batches(journal, questions, bench, "refine", work)


def negatives_stage(journal: Journal, questions: Sequence[Question], bench: Bench, config: NegativesConfig) -> None:
    """Mines hard negatives for every question that has no row yet, from each member's search with the query alone."""

    def work(batch: Sequence[Question]) -> Iterator[Row]:
        queries, positives = [question.text for question in batch], [question.positives for question in batch]
        rankings = [member.rank(queries, [None] * len(batch), positives, config.last) for member in bench.members]
        for question, found in zip(batch, zip(*rankings, strict=True), strict=True):
            chosen = choose_negatives(found, question.positives, bench.corpus.__getitem__, config)
            yield {"negatives": [bench.corpus.ids[row] for row in chosen.rows], "excluded": dict(chosen.excluded)}

    _in_batches(journal, questions, bench, "negatives", work)


def _in_batches(
    journal: Journal,
    questions: Sequence[Question],
    bench: Bench,
    label: str,
    work: Callable[[Sequence[Question]], Iterator[Row]],
) -> None:
    batches = [questions[start : start + bench.batch] for start in range(0, len(questions), bench.batch)]
    waiting = [batch for batch in batches if any(question.id not in journal for question in batch)]
    if waiting:
        bench.prepare()
    with progress_bar(len(questions), label, show=bool(waiting) or None) as bar:
        bar.update(len(questions) - sum(map(len, waiting)))
        for batch in waiting:
            for question, row in zip(batch, work(batch), strict=True):
                if question.id not in journal:
                    journal.append(question.id, {**_head(question, bench.corpus), **row})
            bar.update(len(batch))
    journal.sync()


def _head(question: Question, corpus: CorpusFile) -> Row:
    return {"query": question.text, "positives": [corpus.ids[row] for row in question.positives]}


def row_of(journal: Journal, question: Question, corpus: CorpusFile) -> Row:
    """The question's row, checked to be about this very query and these positives.

    Raises:
        StorageError: it is about others: the data changed under the journal.
    """
    return _checked(journal, question.id, question, _head(question, corpus))


def _explored_row(journal: Journal, errand: Errand, corpus: CorpusFile, positives: bool) -> Row:
    """An errand's row; its positives matter only to an expert that reads them: other judgements cost no new answers."""
    question = errand.question
    return _checked(journal, _key(errand), question, _head(question, corpus) if positives else {"query": question.text})


def _checked(journal: Journal, key: str, question: Question, head: Row) -> Row:
    row = journal[key]
    for name, value in head.items():
        if row.get(name) != value:
            raise StorageError(
                f"Query {question.id!r} has other {name} than when {journal.path} was made ({row.get(name)!r:.60}): "
                f"put the data back, or remove {journal.stage}.*.jsonl there to do this stage anew."
            )
    return row


def _tell(bar: tqdm[object], spent: Usage) -> None:
    """Tokens and cost beside the rate, where an expert counts them."""
    if spent.prompt_tokens or spent.completion_tokens:
        tokens = spent.prompt_tokens + spent.completion_tokens
        bar.set_postfix_str(f"{tokens:,} tokens" + (f", ${spent.cost:.2f}" if spent.cost else ""), refresh=False)

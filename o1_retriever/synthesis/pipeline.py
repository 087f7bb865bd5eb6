"""The synthesis from its stages: explore, refine, negatives, then one file of training rows and a report.

Everything that was paid for lies in `<output>.stages/`, one append-only journal per collection, stage and shard; the
training file and its report are written whole once every question of every shard is done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from o1_retriever.storage import write_whole, writing
from o1_retriever.synthesis import refine, report
from o1_retriever.synthesis.config import NegativesConfig, RefineConfig
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.experts import Expert
from o1_retriever.synthesis.journal import Journal, Row
from o1_retriever.synthesis.questions import Question, Questions, Shard
from o1_retriever.synthesis.stages import Bench, Explorations, explore_stage, negatives_stage, refine_stage, row_of
from o1_retriever.usage import Usage
from o1_retriever.vectors import hash_texts


@dataclass(frozen=True)
class Job:
    """One collection to work on.

    Attributes:
        stages: folder of its journals.
        questions: all of them, of every shard.
        bench: corpus and committee.
        expert: writes the candidates.
        refine: how the committee decides.
        negatives: how hard negatives are chosen.
    """

    stages: Path
    questions: Questions
    bench: Bench
    expert: Expert
    refine: RefineConfig
    negatives: NegativesConfig


@dataclass(frozen=True)
class Synthesis:
    """One training file from one or several collections, each searched by itself.

    Attributes:
        output: the training file.
        jobs: the collections, in the order of their rows.
        shard: the part of the questions that this process works on.
        facts: how it was made, for the report.
    """

    output: Path
    jobs: Sequence[Job]
    shard: Shard
    facts: Mapping[str, object]


def stages_folder(output: Path) -> Path:
    """Where the journals of a training file lie."""
    return output.with_name(f"{output.name}.stages")


@dataclass(frozen=True)
class Journals:
    """The three stages' files, in order."""

    explore: Journal
    refine: Journal
    negatives: Journal

    @classmethod
    def of(cls, job: Job, shard: Shard) -> Journals:
        """Journals whose settings name all that their rows depend on."""
        corpus = {"corpus": hash_texts(job.bench.corpus), "members": [m.fingerprint for m in job.bench.members]}
        expert = {"expert": job.expert.fingerprint}
        refining = {**expert, **corpus, **asdict(job.refine), "batch": job.bench.batch}
        name = shard.name
        return cls(
            Journal(job.stages, "explore", expert, name),
            Journal(job.stages, "refine", refining, name),
            Journal(job.stages, "negatives", {**corpus, **asdict(job.negatives)}, name),
        )


def run(synthesis: Synthesis) -> dict[str, Any] | None:
    """Runs what is left of this shard, then writes the training file if all shards are done.

    Returns:
        The report, or None while other shards have work left.

    Raises:
        O1Error: a stage fails; everything finished is kept and another run goes on from there.
    """
    with ExitStack() as stack:
        parts = [_work(job, synthesis.shard, stack) for job in synthesis.jobs]
        # looked at only now: of several processes the last one to come here sees the work of all
        if not all(part.complete() for part in parts):
            return None
        # several may come here at once, and write the same
        with FileLock(stages_folder(synthesis.output) / "assemble.lock"):
            return _assemble(synthesis, parts)


@dataclass(frozen=True)
class Part:
    """A collection whose questions of this shard have their rows."""

    job: Job
    explored: Explorations
    journals: Journals

    def complete(self) -> bool:
        """Whether the questions of all shards have them."""
        for journal in (self.journals.explore, self.journals.refine, self.journals.negatives):
            journal.refresh()
        return all(
            self.explored.complete(question)
            and question.id in self.journals.refine
            and question.id in self.journals.negatives
            for question in self.job.questions.rows
        )


def _work(job: Job, shard: Shard, stack: ExitStack) -> Part:
    """The three stages of one collection; its journals stay open in the stack."""
    mine = shard.of(job.questions.rows)
    journals = Journals.of(job, shard)
    for journal in (journals.explore, journals.refine, journals.negatives):
        stack.enter_context(journal)
    explored = Explorations(journals.explore, job.expert, job.bench.corpus)
    explore_stage(journals.explore, mine, job.expert, job.bench.corpus)
    refine_stage(journals.refine, explored, mine, job.bench, job.refine)
    negatives_stage(journals.negatives, mine, job.bench, job.negatives)
    return Part(job, explored, journals)


def _assemble(synthesis: Synthesis, parts: Sequence[Part]) -> dict[str, Any]:
    """Writes the training rows in the order of the questions, and the report."""
    tally, usage = report.Tally(), Usage()
    with writing(synthesis.output) as file:
        for part in parts:
            corpus = part.job.bench.corpus
            for question in part.job.questions.rows:
                refined = row_of(part.journals.refine, question, corpus)
                mined = row_of(part.journals.negatives, question, corpus)
                verdict = refine.from_json(refined)
                row = _row(corpus, question, refined, verdict, mined)
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                tally.add(question.text, refined, verdict, mined, part.job.refine.vote_on)
                usage = usage + part.explored.usage(question)
    skipped = sum((part.job.questions.skipped for part in parts), Counter())
    text = report.to_json(tally, skipped, usage, synthesis.facts)
    content: dict[str, Any] = json.loads(text)
    write_whole(synthesis.output.with_suffix(".report.json"), text.encode())
    write_whole(synthesis.output.with_suffix(".report.md"), report.to_markdown(content).encode())
    return content


def _row(corpus: CorpusFile, question: Question, refined: Row, verdict: refine.Verdict, mined: Row) -> Row:
    """One training row; `thought` is empty where the query does better alone."""
    thoughts = [refined["candidates"][index] for index in verdict.order]
    return {
        "id": question.id,
        "query": question.text,
        "pos": [corpus[row] for row in question.positives],
        "neg": [corpus[corpus.row_of[identity]] for identity in mined["negatives"]],
        "thought": thoughts[0] if thoughts else "",
        "thoughts": thoughts,
        "scores": [round(merit, 6) for merit in verdict.merits],
    }

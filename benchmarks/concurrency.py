"""`python -m benchmarks.concurrency`: callers that each ask one query at a time, micro-batched against one by one.

All sides answer the same questions in the same process, taking turns: one by one in a loop, by as many threads as there
are callers, and by as many tasks of one event loop; each caller asks its next question when it has its answer. First
each side answers once, untimed, and the thoughts are compared. Exits 1 if a target is missed or a caller gets other
thoughts than alone.

By default it takes 2 to 3 minutes on 2 CPU cores; `--questions` and `--rounds` make it longer and steadier.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.__main__ import QUERIES
from benchmarks.timing import Ratio, take_turns
from o1_retriever import O1Embedder, QueryEncoding, ThinkingConfig
from o1_retriever.micro_batching import MicroBatcher

TARGETS = {1: 0.9, 4: 1.0, 16: 3.0}
"""Callers, and how many times the queries per second of one by one they get at least."""

FEWER = 4
"""Fewer callers than the most answer this part of the questions in a turn, for they take longer over each."""


@dataclass(frozen=True)
class Case:
    """The questions and how to think about each."""

    embedder: O1Embedder
    batcher: MicroBatcher
    questions: list[str]
    thinking: ThinkingConfig

    def one_by_one(self) -> list[QueryEncoding]:
        return [
            self.embedder.encode_query([question], thinking=self.thinking, return_thoughts=True)
            for question in self.questions
        ]

    def threads(self, callers: int) -> list[QueryEncoding]:
        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(lambda q: self.batcher.encode_query(q, thinking=self.thinking), self.questions))

    def tasks(self, callers: int) -> list[QueryEncoding]:
        return asyncio.run(self._tasks(callers))

    async def _tasks(self, callers: int) -> list[QueryEncoding]:
        answers: dict[int, QueryEncoding] = {}
        waiting = iter(enumerate(self.questions))

        async def call() -> None:
            for number, question in waiting:
                answers[number] = await self.batcher.aencode_query(question, thinking=self.thinking)

        await asyncio.gather(*(call() for _ in range(callers)))
        return [answers[number] for number in range(len(self.questions))]


def run(case: Case, rounds: int) -> list[Ratio]:
    """One ratio per number of callers and kind of caller, its seconds those of one question."""
    fewer = replace(case, questions=case.questions[: max(1, len(case.questions) // FEWER)])
    return [
        ratio
        for callers, target in TARGETS.items()
        for ratio in compare(case if callers == max(TARGETS) else fewer, callers, target, rounds)
    ]


def compare(case: Case, callers: int, target: float, rounds: int) -> list[Ratio]:
    """Threads and tasks against one by one, all three taking turns."""
    works = {"threads": partial(case.threads, callers), "tasks": partial(case.tasks, callers)}
    medians = take_turns({"alone": case.one_by_one, **works}, rounds)
    each = {name: taken / len(case.questions) for name, taken in medians.items()}
    return [Ratio(f"{callers} {kind}", each["alone"], each[kind], target) for kind in works]


def differing(case: Case) -> int:
    """How many questions get other thoughts among the most callers than alone."""
    most = max(TARGETS)
    answers = zip(case.one_by_one(), case.threads(most), case.tasks(most), strict=True)
    return sum(not alone.thoughts == thread.thoughts == task.thoughts for alone, thread, task in answers)


def show(ratios: list[Ratio]) -> bool:
    """Prints queries per second; returns whether every target is met."""
    print(f"\n{'callers':<16}{'one by one':>12}{'micro-batched':>15}{'ratio':>8}{'target':>8}")
    for r in ratios:
        print(f"{r.name:<16}{1 / r.reference_s:>10.1f}/s{1 / r.ours_s:>13.1f}/s{r.ratio:>8.2f}{r.target:>8.1f}")
    return all(r.ratio >= r.target for r in ratios)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concurrency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side per number of callers")
    parser.add_argument(
        "--questions",
        type=int,
        default=32,
        help=f"that each side answers in a turn with {max(TARGETS)} callers; with fewer callers, 1/{FEWER} of them",
    )
    parser.add_argument("--num-thoughts", type=int, default=3, help="thoughts per query; the rest is the model's own")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    transformers_logging.disable_progress_bar()
    embedder = O1Embedder.from_pretrained(device="cpu", dtype=torch.float32)
    known = [json.loads(line)["text"] for line in QUERIES.read_text(encoding="utf-8").split("\n") if line]
    questions = [known[number % len(known)] for number in range(args.questions)]
    thinking = replace(embedder.config.thinking, num_thoughts=args.num_thoughts)
    case = Case(embedder, MicroBatcher(embedder), questions, thinking)
    print(
        f"float32 ({torch.get_float32_matmul_precision()} matmul), {torch.get_num_threads()} threads of torch "
        f"{torch.__version__}; {len(questions)} questions, {args.num_thoughts} thoughts each"
    )
    others = differing(case)
    print(f"questions with other thoughts than alone: {others} of {len(questions)}", flush=True)
    met = show(run(case, args.rounds))
    return 0 if met and not others else 1


if __name__ == "__main__":
    sys.exit(main())

"""Queries per second of callers on one event loop, through LlamaIndex's and LangChain's async retrieval over Chroma."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from langchain_o1 import O1Retriever as LangChainRetriever
from llama_index.retrievers.o1 import O1Retriever as LlamaIndexRetriever

from benchmarks.frameworks.material import Material
from benchmarks.frameworks.stores import langchain_store, llama_index_store
from benchmarks.timing import take_turns

CALLERS = (1, 4, 16)
K = 10

Ask = Callable[[str], Awaitable[Sequence[object]]]
Table = dict[str, dict[int, float]]
"""Framework -> callers -> median seconds for all questions."""


@contextmanager
def frameworks(material: Material) -> Iterator[dict[str, Ask]]:
    """How each framework is asked; the model thinks by itself."""
    with llama_index_store(material) as index, langchain_store(material) as store:
        yield {
            "LlamaIndex aretrieve": LlamaIndexRetriever(index, similarity_top_k=K).aretrieve,
            "LangChain ainvoke": LangChainRetriever(vectorstore=store, k=K).ainvoke,
        }


def measure(asks: dict[str, Ask], questions: Sequence[str], rounds: int) -> Table:
    """Medians; in each round every framework and number of callers has its turn, the order swapped every round.

    Args:
        asks: name -> how to ask one question.
        questions: that are asked in each turn.
        rounds: turns of each.
    """
    for name in asks:
        _turn(asks[name], questions, max(CALLERS))  # warm-up
    turns = {(name, callers): partial(_turn, asks[name], questions, callers) for callers in CALLERS for name in asks}
    medians = take_turns(turns, rounds)
    return {name: {callers: medians[name, callers] for callers in CALLERS} for name in asks}


async def ask_all(ask: Ask, questions: Sequence[str], callers: int) -> list[Sequence[object]]:
    """What each question finds; each caller asks its next question when it has its answer."""
    found: dict[int, Sequence[object]] = {}
    waiting = iter(enumerate(questions))

    async def call() -> None:
        for number, question in waiting:
            found[number] = await ask(question)

    await asyncio.gather(*(call() for _ in range(callers)))
    return [found[number] for number in range(len(questions))]


def show(table: Table, questions: int) -> None:
    """Prints queries per second, and how many times as many as with one caller."""
    print(f"\n{'queries per second':<24}" + "".join(f"{f'{callers} callers':>20}" for callers in CALLERS))
    for name, times in table.items():
        cells = [f"{questions / times[c]:.1f}/s (x {times[CALLERS[0]] / times[c]:.2f})" for c in CALLERS]
        print(f"{name:<24}" + "".join(f"{cell:>20}" for cell in cells))


def _turn(ask: Ask, questions: Sequence[str], callers: int) -> None:
    asyncio.run(ask_all(ask, questions, callers))

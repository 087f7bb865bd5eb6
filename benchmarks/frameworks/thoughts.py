"""Recorded thoughts as the thinker against HyDE with the same texts and the same embedder, through each framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.frameworks.material import Material
from benchmarks.frameworks.stores import langchain_store, llama_index_store
from benchmarks.frameworks.systems import OURS, System, langchain_systems, llama_index_systems
from o1_eval.collection import Collection
from o1_eval.measures import NDCG, score
from o1_eval.significance import bootstrap_interval
from o1_retriever import RecordedThoughts

Values = NDArray[np.float64]
HARDEST = "hotpotqa"
"""Questions that need two passages: there ours has to be above HyDE, elsewhere not below it."""


@dataclass(frozen=True)
class Difference:
    """Ours minus another system: the mean over the questions and its paired 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "above" or "below" where the whole interval is, else "not told apart"."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "not told apart"


@dataclass(frozen=True)
class Comparison:
    """All systems of one framework on one data set.

    Attributes:
        data: name of the data set.
        framework: through which everything was asked.
        values: system -> (B,) nDCG@10, ours among them.
        hyde: names of the systems that are HyDE.
    """

    data: str
    framework: str
    values: dict[str, Values]
    hyde: list[str]

    @property
    def better_hyde(self) -> str:
        """The variant of the highest mean."""
        return max(self.hyde, key=lambda name: float(self.values[name].mean()))

    @property
    def required(self) -> str:
        """What ours has to be against the better HyDE."""
        return "above" if self.data == HARDEST else "not below"

    @property
    def met(self) -> bool:
        verdict = self.difference(self.better_hyde).verdict
        return verdict == "above" if self.required == "above" else verdict != "below"

    def difference(self, name: str) -> Difference:
        """Ours minus that system."""
        paired = self.values[OURS] - self.values[name]
        return Difference(float(paired.mean()), *bootstrap_interval(paired))


def run(material: Material, recorded: RecordedThoughts, callers: int) -> list[Comparison]:
    """Every system of both frameworks.

    Args:
        material: questions with recorded thoughts, passages and their vectors.
        recorded: three texts for each question.
        callers: threads that ask side by side.
    """
    comparisons = []
    with llama_index_store(material) as index:
        systems = llama_index_systems(index, recorded)
        comparisons.append(compare(material.collection, "LlamaIndex + Chroma", systems, callers))
    with langchain_store(material) as store:
        systems = langchain_systems(store, recorded)
        comparisons.append(compare(material.collection, "LangChain + Chroma", systems, callers))
    return comparisons


def compare(collection: Collection, framework: str, systems: Iterable[System], callers: int) -> Comparison:
    """Asks every system all questions, one system after the other."""
    values, hyde = {}, []
    with ThreadPoolExecutor(callers) as pool:
        for system in systems:
            found = pool.map(system.find, collection.queries)
            values[system.name] = ndcg(collection, found)
            hyde += [system.name] if system.is_hyde else []
    return Comparison(collection.name, framework, values, hyde)


def ndcg(collection: Collection, found: Iterable[Sequence[str]]) -> Values:
    """(B,) nDCG@10 of rankings, one for each question in order."""
    ranked = zip(collection.query_ids, found, strict=True)
    run = {query: {passage: 1.0 / rank for rank, passage in enumerate(ids, start=1)} for query, ids in ranked}
    return score(run, collection.qrels, collection.query_ids)[NDCG]


def show(comparison: Comparison, out: Callable[[str], None] = print) -> None:
    """Prints a table of means and differences, and a line that concludes."""
    questions = len(comparison.values[OURS])
    out(f"\n{comparison.data}, {comparison.framework}, {questions} questions")
    out(f"{'system':<48}{NDCG:>9}  ours minus it, 95% interval")
    for name, values in comparison.values.items():
        line = f"{name:<48}{values.mean():>9.4f}"
        out(line if name == OURS else f"{line}  {_interval(comparison.difference(name))}")
    better = comparison.better_hyde
    difference, met = comparison.difference(better), "met" if comparison.met else "MISSED"
    out(f"ours minus the better HyDE ({better}): {_interval(difference)}: {difference.verdict}")
    out(f"required: {comparison.required}: {met}")


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"

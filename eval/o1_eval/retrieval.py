"""The retrieval experiment: which systems run on which queries, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from o1_eval.collection import Collection
from o1_eval.measures import DEPTH
from o1_eval.systems import Bm25, Dense, System
from o1_retriever import O1Embedder, RecordedThoughts
from o1_retriever.encoders import O1Encoder, SentenceTransformerEncoder
from o1_retriever.errors import InvalidInputError
from o1_retriever.search import Run
from o1_retriever.vectors import VectorCache

QUERY_CHUNK = 256
"""Queries per file of the cache: thinking is slow, so less is at stake than with passages."""


@dataclass(frozen=True)
class RetrievalConfig:
    """What is compared.

    Attributes:
        data: a folder in BEIR form.
        split: of its judgements.
        thoughts: numbers of thoughts; 0 embeds queries without thinking.
        recorded: JSONL file of thoughts written down before; they are used with each number above 0.
        baseline: a sentence-transformers model; None is all-MiniLM-L6-v2.
        model: name of the O1 model, for the report.
        k: passages per query in the runs.
        cache: folder for vectors.
        chunk: passages per file of the cache.
    """

    data: Path
    split: str
    cache: Path
    thoughts: tuple[int, ...] = (0, 3)
    recorded: Path | None = None
    baseline: str | None = None
    model: str = "o1"
    k: int = 100
    chunk: int = 1024

    def __post_init__(self) -> None:
        if not self.thoughts or min(self.thoughts) < 0:
            raise InvalidInputError(f"--thoughts needs numbers of 0 or more, got {list(self.thoughts)}.")
        if self.k < DEPTH:
            raise InvalidInputError(f"--k must be at least {DEPTH}, which the measures look at, got {self.k}.")
        if self.recorded is not None and not any(self.thoughts):
            raise InvalidInputError("--recorded needs a number above 0 in --thoughts: how many thoughts to use.")
        if self.chunk < 1:
            raise InvalidInputError(f"chunk must be at least 1, got {self.chunk}.")

    @property
    def numbers(self) -> list[int]:
        """The numbers of thoughts, each once."""
        return list(dict.fromkeys(self.thoughts))


@dataclass(frozen=True)
class Material:
    """What is read before any model is loaded.

    Attributes:
        collection: all queries of the split.
        recorded: thoughts from the file, None without one.
        covered: the collection with only the queries that the file has thoughts for, None without a file.
    """

    collection: Collection
    recorded: RecordedThoughts | None
    covered: Collection | None

    @classmethod
    def read(cls, config: RetrievalConfig) -> Material:
        """Reads and checks data and recorded thoughts.

        Raises:
            DatasetError: the data or the file cannot be used, or the file has thoughts for none of the queries.
            ThinkerError: a query in the file has fewer thoughts than asked for.
        """
        collection = Collection.read(config.data, config.split)
        if config.recorded is None:
            return cls(collection, None, None)
        recorded = RecordedThoughts.from_file(config.recorded)
        covered = collection.covered(recorded, config.recorded)
        recorded.think(covered.queries, max(config.thoughts))  # a missing thought stops us now, not in an hour
        return cls(collection, recorded, covered)


@dataclass(frozen=True)
class Outcome:
    """What one system found.

    Attributes:
        label: of the system, for people.
        run: its results.
        partial: it ran only on the queries with recorded thoughts.
        queries_per_second: thinking, embedding and search; not indexing.
        index: name of its index.
        index_seconds: time to make that index.
    """

    label: str
    run: Run
    partial: bool
    queries_per_second: float
    index: str
    index_seconds: float


@dataclass(frozen=True)
class Labels:
    """How the systems are called in the report."""

    model: str
    baseline: str

    @property
    def plain(self) -> str:
        """The model without thinking."""
        return f"{self.model}, no thoughts"

    def own(self, number: int) -> str:
        """The model with its own thoughts."""
        return f"{self.model}, {_thoughts(number, 'own')}" if number else self.plain

    def recorded(self, number: int) -> str:
        """The model with recorded thoughts."""
        return f"{self.model}, {_thoughts(number, 'recorded')}"


def compare(
    config: RetrievalConfig,
    material: Material,
    embedder: O1Embedder,
    labels: Labels,
) -> list[Outcome]:
    """Runs every system, one after the other.

    Args:
        config: what is compared.
        material: data and recorded thoughts.
        embedder: the model, with its own thoughts.
        labels: of the systems.

    Raises:
        O1Error: a model, the disk or a thinker fails; finished chunks of vectors are kept.
    """
    outcomes = []
    for label, make, collection in _plan(config, material, embedder, labels):
        system = make()
        index_seconds = system.index(collection)
        run, seconds = system.search(collection, config.k)
        speed = len(collection.queries) / seconds
        partial = len(collection.queries) < len(material.collection.queries)
        outcomes.append(Outcome(label, run, partial, speed, system.index_name, index_seconds))
    return outcomes


_Planned = tuple[str, Callable[[], System], Collection]


def _plan(config: RetrievalConfig, material: Material, embedder: O1Embedder, labels: Labels) -> Iterator[_Planned]:
    """Label, constructor and queries of each system; nothing heavy is made before its turn."""
    passages, queries = (
        VectorCache(config.cache / "passages", config.chunk),
        VectorCache(config.cache / "queries", QUERY_CHUNK),
    )

    def o1(model: O1Embedder, number: int) -> Callable[[], System]:
        return lambda: Dense(O1Encoder(model, labels.model, number), passages, queries)

    def baseline() -> System:
        precision = embedder.encoding.precision
        return Dense(SentenceTransformerEncoder(config.baseline, str(embedder.device), precision), passages, queries)

    yield "BM25", Bm25, material.collection
    yield labels.baseline, baseline, material.collection
    for number in config.numbers:
        yield labels.own(number), o1(embedder, number), material.collection
    if material.recorded is not None and material.covered is not None:
        reader = O1Embedder(embedder.checkpoint, thinker=material.recorded, encoding=embedder.encoding)
        for number in filter(None, config.numbers):
            yield labels.recorded(number), o1(reader, number), material.covered


def _thoughts(number: int, kind: str) -> str:
    return f"{number} {kind} thought" + ("" if number == 1 else "s")


def covered_ids(material: Material) -> Sequence[str]:
    """Ids of the queries with recorded thoughts; empty where these are all queries or there is no file."""
    covered = material.covered
    if covered is None or len(covered.query_ids) == len(material.collection.query_ids):
        return ()
    return covered.query_ids

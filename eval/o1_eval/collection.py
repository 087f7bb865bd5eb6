"""A judged collection in memory, checked before any long work begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from o1_retriever.beir import Qrels, read_corpus, read_qrels, read_queries
from o1_retriever.errors import DatasetError
from o1_retriever.thinkers import RecordedThoughts


@dataclass(frozen=True)
class Collection:
    """One split of a data set in BEIR form.

    Attributes:
        name: of the data's folder.
        split: of the judgements.
        passage_ids: N ids.
        passages: their N texts, title and text as every system sees them.
        query_ids: the B judged queries' ids.
        queries: their B texts.
        qrels: judgements of these queries.
    """

    name: str
    split: str
    passage_ids: list[str]
    passages: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: Qrels

    @classmethod
    def read(cls, folder: Path, split: str) -> Collection:
        """Reads a split.

        Raises:
            DatasetError: something is missing, malformed, empty or there twice; the message names it.
        """
        qrels = read_qrels(folder, split)
        queries = read_queries(folder, qrels)
        _check("query", ((query.id, query.text) for query in queries), folder / "queries.jsonl")
        lacking = qrels.keys() - {query.id for query in queries}
        if lacking:
            raise DatasetError(
                f"{folder / 'queries.jsonl'} lacks {len(lacking)} judged queries, like {min(lacking)!r}."
            )
        if not queries:
            raise DatasetError(f"{folder}: no query is judged in split {split!r}.")
        passages = list(read_corpus(folder))
        texts = [passage.full_text for passage in passages]
        ids = [passage.id for passage in passages]
        _check("passage", zip(ids, texts, strict=True), folder / "corpus.jsonl")
        if not passages:
            raise DatasetError(f"{folder / 'corpus.jsonl'} holds no passage.")
        query_ids = [query.id for query in queries]
        return cls(folder.resolve().name, split, ids, texts, query_ids, [query.text for query in queries], qrels)

    def covered(self, recorded: RecordedThoughts, source: object) -> Collection:
        """The same passages with the queries that have recorded thoughts.

        Args:
            recorded: thoughts by the query's exact text.
            source: where they come from, for the message.

        Raises:
            DatasetError: no query has any.
        """
        pairs = zip(self.query_ids, self.queries, strict=True)
        found = self.only([query for query, text in pairs if text in recorded])
        if not found.queries:
            raise DatasetError(
                f"{source} has thoughts for none of the {len(self.queries)} queries of {self.name} {self.split}; "
                "they are matched by the query's exact text."
            )
        return found

    def only(self, query_ids: Sequence[str]) -> Collection:
        """The same passages with some of the queries."""
        texts = dict(zip(self.query_ids, self.queries, strict=True))
        return Collection(
            self.name,
            self.split,
            self.passage_ids,
            self.passages,
            list(query_ids),
            [texts[query] for query in query_ids],
            {query: self.qrels[query] for query in query_ids},
        )


def _check(kind: str, rows: Iterable[tuple[str, str]], path: Path) -> None:
    """Ids fit into a run file (one word each, all different), and there is text to embed."""
    counts: Counter[str] = Counter()
    for identifier, text in rows:
        counts[identifier] += 1
        if len(identifier.split()) != 1 or identifier != identifier.strip():
            raise DatasetError(
                f"{path}: the id {identifier!r} is empty or holds white space: run files cannot hold it."
            )
        if not text.strip():
            raise DatasetError(f"{path}: the {kind} {identifier!r} has no text: leave it out.")
    twice = [identifier for identifier, count in counts.items() if count > 1]
    if twice:
        raise DatasetError(f"{path}: {len(twice)} ids are there more than once, like {twice[0]!r}.")

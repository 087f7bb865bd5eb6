"""What comes of a query: its vector with all that is known about how it was made."""

from __future__ import annotations

from dataclasses import dataclass, field

from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.usage import Usage


class DegradedVector(list[float]):
    """The vector of a query that was embedded alone, because the thinker was away; otherwise a list like any other.

    A cache must not keep it: the next call may find the thinker there.
    """


@dataclass(frozen=True)
class QueryEmbedding:
    """A query's vector and the thoughts behind it.

    Attributes:
        query: the query's text.
        embedding: its vector, of unit length; a `DegradedVector` where `degraded` is set.
        thoughts: the thoughts that went into it; empty for a query embedded alone.
        thought_embeddings: the vectors of query + thought before they were pooled; of a query alone, its vector.
        degraded: the thinker was unavailable, and the query was embedded alone.
        usage: what chat models cost in the call; zeros where none was asked.
        cached: it comes from a cache of queries.
    """

    query: str
    embedding: list[float]
    thoughts: list[str]
    thought_embeddings: list[list[float]]
    degraded: bool = False
    usage: Usage = field(default_factory=Usage)
    cached: bool = field(default=False, compare=False)

    @classmethod
    def of_row(cls, query: str, encoding: QueryEncoding, row: int, usage: Usage) -> QueryEmbedding:
        """One query of a batch.

        Args:
            query: its text.
            encoding: of the batch.
            row: which of its queries, counting from 0.
            usage: what it cost.
        """
        degraded = encoding.degraded[row]
        vector: list[float] = encoding.vectors[row].tolist()
        return cls(
            query,
            DegradedVector(vector) if degraded else vector,
            encoding.thoughts[row],
            encoding.thought_vectors[row].tolist(),
            degraded,
            usage,
        )

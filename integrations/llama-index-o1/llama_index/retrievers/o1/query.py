"""A question with wishes of its own: how much to think about it, how many nodes to find, and among which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llama_index.core.schema import QueryBundle, QueryType
from llama_index.core.vector_stores.types import MetadataFilters

from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError, InvalidTypeError


@dataclass
class O1QueryBundle(QueryBundle):
    """A `QueryBundle` that overrides the settings of an `O1Retriever`; passes through engines like any other.

    Attributes:
        num_thoughts: for this query; 0 embeds it alone; None takes the retriever's.
        similarity_top_k: nodes to find; None takes the retriever's.
        filters: on metadata, instead of the retriever's; None takes those.
        doc_ids: only nodes of these documents, instead of the retriever's; None takes those.
    """

    num_thoughts: int | None = None
    similarity_top_k: int | None = None
    filters: MetadataFilters | None = None
    doc_ids: list[str] | None = None

    def __post_init__(self) -> None:
        if self.num_thoughts is not None:
            require_int("num_thoughts", self.num_thoughts, 0)
        if self.similarity_top_k is not None:
            require_int("similarity_top_k", self.similarity_top_k, 1)
        check_filters(self.filters)
        check_doc_ids(self.doc_ids)


def check_doc_ids(doc_ids: object) -> None:
    """Raises InvalidTypeError for what is neither a list of texts nor None: a single text would be its characters."""
    texts = isinstance(doc_ids, Sequence) and not isinstance(doc_ids, str) and all(isinstance(i, str) for i in doc_ids)
    if doc_ids is not None and not texts:
        raise InvalidTypeError(f"doc_ids must be a list of texts, got {type(doc_ids).__name__}: {doc_ids!r:.80}.")


def check_filters(filters: object) -> None:
    """Raises InvalidTypeError for what is neither `MetadataFilters` nor None."""
    if filters is not None and not isinstance(filters, MetadataFilters):
        raise InvalidTypeError(f"filters must be MetadataFilters, got {type(filters).__name__}: {filters!r:.80}.")


def wishes(
    num_thoughts: int | None,
    similarity_top_k: int | None,
    filters: MetadataFilters | None,
    doc_ids: list[str] | None,
) -> dict[str, Any]:
    """What one query wishes, by the names that `O1QueryBundle` has for it."""
    return {
        "num_thoughts": num_thoughts,
        "similarity_top_k": similarity_top_k,
        "filters": filters,
        "doc_ids": doc_ids,
    }


def checked(query: object, **wishes: Any) -> QueryType:
    """The query, ready to be searched for: a text, or a bundle that is not the caller's own.

    Args:
        query: what the caller gave.
        wishes: see `wishes`; None is no wish.

    Raises:
        InvalidTypeError: the query is neither a text nor a `QueryBundle`.
        InvalidInputError: there is nothing to search for.
    """
    if not isinstance(query, (str, QueryBundle)):
        raise InvalidTypeError(f"A query must be a str or a QueryBundle, got {type(query).__name__}: {query!r:.80}.")
    bundle = QueryBundle(query) if isinstance(query, str) else query
    if bundle.embedding is None and not any(_has_text(text) for text in bundle.embedding_strs):
        raise InvalidInputError("The query is empty: there is nothing to think about or to search for.")
    given = {name: wish for name, wish in wishes.items() if wish is not None}
    if not given:
        return query if isinstance(query, str) else replace(query)
    kept = {name: getattr(bundle, name) for name in ("query_str", "image_path", "custom_embedding_strs", "embedding")}
    earlier = {name: getattr(bundle, name, None) for name in wishes}
    return O1QueryBundle(**{**kept, **earlier, **given})


def _has_text(text: object) -> bool:
    return not isinstance(text, str) or bool(text.strip())  # what is no text is refused where it is embedded

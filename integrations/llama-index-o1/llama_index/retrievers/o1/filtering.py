"""Filters on metadata and documents: which nodes they let through, and what a store must know to heed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from o1_retriever.errors import InvalidInputError


def allowed(
    found: Sequence[NodeWithScore], filters: MetadataFilters | None, doc_ids: Sequence[str] | None = None
) -> list[NodeWithScore]:
    """The nodes that a vector store would find with these filters, of these documents.

    Raises:
        InvalidInputError: a filter does not fit the metadata that it meets, as `>` between a text and a number.
    """
    return [
        result
        for result in found
        if (doc_ids is None or result.node.ref_doc_id in doc_ids)
        and (filters is None or not filters.filters or passes(filters, result.metadata))
    ]


def passes(filters: MetadataFilters, metadata: Mapping[str, Any]) -> bool:
    """Whether a node of this metadata gets through; filters inside of filters count as one, as in Chroma.

    >>> from llama_index.core.vector_stores import MetadataFilter
    >>> one, two = (MetadataFilter(key="a", value=value) for value in (1, 2))
    >>> inner = MetadataFilters(filters=[one, two], condition="or")
    >>> passes(MetadataFilters(filters=[inner, MetadataFilter(key="b", value=3)]), {"a": 2, "b": 3})
    True
    """
    results = (
        passes(part, metadata) if isinstance(part, MetadataFilters) else _matches(part, metadata)
        for part in filters.filters
    )
    if filters.condition == FilterCondition.OR:
        return any(results)
    if filters.condition == FilterCondition.NOT:
        return not any(results)
    return all(results)


def shape_of(filters: MetadataFilters) -> object:
    """Equal for filters that differ in nothing but values of the same types: a store knows both or neither."""
    parts = (
        shape_of(part)
        if isinstance(part, MetadataFilters)
        else (part.key, part.operator, type(part.value), _types(part.value))
        for part in filters.filters
    )
    return filters.condition, tuple(parts)


def _types(value: object) -> frozenset[type]:
    return frozenset(type(each) for each in value) if isinstance(value, list) else frozenset()


def of_documents(filters: MetadataFilters | None, doc_ids: Sequence[str]) -> MetadataFilters:
    """Filters that let only nodes of these documents through, for stores that know the metadata of a node alone."""
    among = MetadataFilter(key="document_id", value=list(doc_ids), operator=FilterOperator.IN)
    return MetadataFilters(filters=[among] if filters is None or not filters.filters else [filters, among])


def is_chroma(store: object) -> bool:
    """Whether this is LlamaIndex's store over a Chroma collection, whose package may not be installed."""
    return any(kind.__name__ == "ChromaVectorStore" for kind in type(store).__mro__)


def _matches(part: Any, metadata: Mapping[str, Any]) -> bool:
    """LlamaIndex's own rule for one filter."""
    try:
        return build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[part]))("")
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The filter {part.key!r} {part.operator.value} {part.value!r:.80} does not fit the metadata "
            f"{metadata.get(part.key)!r:.80} of a node: {error}. Compare values of one type."
        ) from error

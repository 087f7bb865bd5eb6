"""Filters by metadata and by text, in Chroma's own language, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from o1_retriever.errors import InvalidInputError

_ADVICE = (
    'A filter looks like where={"source": "notes.md"}, {"year": {"$gte": 1990}} or {"$and": [{...}, {...}]}, and '
    'where_document={"$contains": "bees"}.'
)


@dataclass(frozen=True)
class Filter:
    """Which passages count; both parts must hold.

    Attributes:
        where: on metadata, the title being under "title"; None: all.
        where_document: on the text; None: all.
    """

    where: Mapping[str, Any] | None = None
    where_document: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return self.where is not None or self.where_document is not None

    @property
    def arguments(self) -> dict[str, Any]:
        """For Chroma's methods."""
        return {"where": self.where, "where_document": self.where_document}


def check_filter(where: Mapping[str, Any] | None = None, where_document: Mapping[str, Any] | None = None) -> Filter:
    """Returns the filter, or says what is wrong with it.

    Raises:
        InvalidInputError: it is not in Chroma's language.
    """
    from chromadb.api.types import validate_where, validate_where_document

    try:
        if where is not None:
            validate_where(where)  # type: ignore[arg-type]
        if where_document is not None:
            validate_where_document(where_document)  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidInputError(f"{error}. {_ADVICE}") from error
    return Filter(where, where_document)

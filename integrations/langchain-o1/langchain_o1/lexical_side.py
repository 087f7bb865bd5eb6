"""The ranking by words beside those by vectors: as deep as they are, where the retriever can be told."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig

from langchain_o1.lexical_retriever import LexicalRetriever
from langchain_o1.searching import Found


def find(lexical: BaseRetriever, query: str, config: RunnableConfig, depth: int) -> list[Found]:
    """Documents by their words, best first.

    Args:
        lexical: a `LexicalRetriever`, which is asked for `depth` documents, or any other retriever, which knows no
            common name for their number and finds as many as it was made for.
        query: what is asked.
        config: of the run that it becomes a part of.
        depth: documents at most.
    """
    return _cut(lexical.invoke(query, config, **_wishes(lexical, depth)), depth)


async def afind(lexical: BaseRetriever, query: str, config: RunnableConfig, depth: int) -> list[Found]:
    """As `find`, and leaves the event loop free."""
    return _cut(await lexical.ainvoke(query, config, **_wishes(lexical, depth)), depth)


def _wishes(lexical: BaseRetriever, depth: int) -> dict[str, Any]:
    return {"k": depth} if isinstance(lexical, LexicalRetriever) else {}


def _cut(documents: list[Document], depth: int) -> list[Found]:
    return [Found(document, None) for document in documents[:depth]]

"""Several rankings of documents become one. Knows positions; how they count is the engine's `rank_fusion`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_core.documents import Document

from langchain_o1.searching import Found
from o1_retriever.rank_fusion import reciprocal_rank_fusion


def fuse(rankings: Sequence[Sequence[Found]], weights: Sequence[float]) -> list[Found]:
    """Reciprocal rank fusion.

    Args:
        rankings: best first. Documents are the same where their ids are; where one of them has none, all are told
            apart by their texts.
        weights: one for each ranking.

    Returns:
        Each document once, best first, with its fused score.
    """
    key = _key([found.document for ranking in rankings for found in ranking])
    documents: dict[str, Document] = {}
    for ranking in rankings:
        for found in ranking:
            documents.setdefault(key(found.document), found.document)
    keyed = [list(dict.fromkeys(key(found.document) for found in ranking)) for ranking in rankings]
    return [Found(documents[name], score) for name, score in reciprocal_rank_fusion(keyed, weights).items()]


def _key(documents: Sequence[Document]) -> Callable[[Document], str]:
    if all(document.id for document in documents):
        return lambda document: str(document.id)
    return lambda document: document.page_content

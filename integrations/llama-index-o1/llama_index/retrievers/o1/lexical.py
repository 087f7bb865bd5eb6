"""`LexicalRetriever`: finds nodes by their words. The other half of a hybrid search, over any nodes in memory."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters
from llama_index.retrievers.o1.filtering import allowed

from o1_retriever.config import require_int
from o1_retriever.errors import InvalidTypeError
from o1_retriever.lexical import LexicalIndex
from o1_retriever.prompts import check_texts


class LexicalRetriever(BaseRetriever):
    """BM25 over the words of nodes and of their metadata, as an embedding would read them.

    The nodes are indexed at the first question. Needs bm25s: `o1-retriever[synthesis]`.

    Args:
        nodes: what is searched, like `list(index.docstore.docs.values())`.
        similarity_top_k: nodes to find; those that share no word with the query are not found. This, filters and
            doc_ids may also stand in an `O1QueryBundle`; those are heeded before the best are taken.
        callback_manager: as for every retriever.

    >>> from llama_index.core.schema import TextNode
    >>> retriever = LexicalRetriever([TextNode(text="Bees dance."), TextNode(text="Tea is traded.")])
    >>> [found.text for found in retriever.retrieve("What do bees do?")]
    ['Bees dance.']
    """

    def __init__(
        self,
        nodes: Sequence[BaseNode],
        *,
        similarity_top_k: int = 50,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        require_int("similarity_top_k", similarity_top_k, 1)
        self.nodes, self.similarity_top_k = list(nodes), similarity_top_k
        for node in self.nodes:
            if not isinstance(node, BaseNode):
                raise InvalidTypeError(f"nodes must be nodes of LlamaIndex, got {type(node).__name__}: {node!r:.80}.")
        self._index: LexicalIndex | None = None
        self._lock = threading.Lock()
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        check_texts([query_bundle.query_str], "query")
        if not self.nodes:
            return []
        with self._lock:
            if self._index is None:
                self._index = LexicalIndex([node.get_content(MetadataMode.EMBED) for node in self.nodes])
        top_k = getattr(query_bundle, "similarity_top_k", None) or self.similarity_top_k
        filters: MetadataFilters | None = getattr(query_bundle, "filters", None)
        doc_ids: list[str] | None = getattr(query_bundle, "doc_ids", None)
        whole = filters is not None or doc_ids is not None  # what is left out must not take the place of what is found
        scores, rows = self._index.search([query_bundle.query_str], len(self.nodes) if whole else top_k)
        best = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        found = [NodeWithScore(node=self.nodes[row], score=score) for score, row in best if score > 0]
        return allowed(found, filters, doc_ids)[:top_k]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


async def aretrieve_from(retriever: BaseRetriever, query: QueryBundle) -> list[NodeWithScore]:
    """Asks any retriever and leaves the event loop free, also where its async method only calls the blocking one."""
    own, inherited = (inspect.getattr_static(kind, "_aretrieve") for kind in (type(retriever), BaseRetriever))
    if own is inherited:
        return await asyncio.to_thread(retriever.retrieve, query)
    return await retriever.aretrieve(query)


def check_lexical(retriever: object) -> None:
    """Raises InvalidTypeError for what is neither a retriever nor None."""
    if retriever is not None and not isinstance(retriever, BaseRetriever):
        raise InvalidTypeError(
            f"lexical must be a retriever of LlamaIndex, like LexicalRetriever(nodes), got {type(retriever).__name__}: "
            f"{retriever!r:.80}."
        )

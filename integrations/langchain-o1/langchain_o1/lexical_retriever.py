"""`LexicalRetriever`: finds documents by their words. The other half of a hybrid search, for any vector store."""

from __future__ import annotations

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_o1.slot import Slot
from o1_retriever.config import require_int
from o1_retriever.lexical import LexicalIndex
from o1_retriever.prompts import check_texts


class LexicalRetriever(BaseRetriever):
    """BM25 over documents in memory, indexed at the first question. Needs bm25s: `o1-retriever[synthesis]`.

    >>> documents = [Document("Ada Lovelace wrote the first program."), Document("Bees dance.")]
    >>> [found.page_content for found in LexicalRetriever(documents=documents).invoke("What do bees do?")]
    ['Bees dance.']
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    documents: list[Document] = Field(description="What is searched. Ids tell them apart where rankings are fused.")
    k: int = Field(default=50, gt=0, description="Documents to find at most.")

    _slot: Slot[LexicalIndex] = PrivateAttr(default_factory=Slot)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        """The documents of highest BM25 score, best first; those that share no word are not found."""
        return self._find(query, self.k if k is None else k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        """As `_get_relevant_documents`, in a thread."""
        return await run_in_executor(None, self._find, query, self.k if k is None else k)

    def _key(self) -> tuple[int, int]:
        """Another list, or one that has grown, is indexed anew."""
        return id(self.documents), len(self.documents)

    def _find(self, query: str, wanted: int) -> list[Document]:
        require_int("k", wanted, 1)
        check_texts([query], "query")
        if not self.documents:
            return []
        index = self._slot.get(self._key(), lambda: LexicalIndex([d.page_content for d in self.documents]))
        scores, rows = index.search([query], wanted)
        best = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        return [self.documents[row] for score, row in best if score > 0]

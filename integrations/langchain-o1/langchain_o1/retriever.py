"""`O1Retriever`: thinks about a question and searches a vector store by what it thought. Sync and async alike."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.callbacks.manager import AsyncCallbackManager, CallbackManager
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, patch_config, run_in_executor, set_config_context
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from langchain_o1.embeddings import O1Embeddings, as_thinker
from langchain_o1.lexical_side import afind, find
from langchain_o1.origins import check_origin
from langchain_o1.query_embedding import QueryEmbedding
from langchain_o1.rankings import fuse
from langchain_o1.recalling import aembed, cache_of, embed
from langchain_o1.searching import Found, asearch, search
from langchain_o1.slot import Slot
from langchain_o1.vector_cache import VectorCache
from o1_retriever import O1Embedder
from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError
from o1_retriever.llm import together
from o1_retriever.thinkers import Thinker

THOUGHTS, SCORE, DEGRADED = "o1_thoughts", "o1_score", "o1_degraded"
"""Keys in the metadata of documents; the first one is the event's name as well."""


class O1Retriever(BaseRetriever):
    """Searches any LangChain vector store by queries that are thought about.

    `invoke` and `ainvoke` take `k`, `num_thoughts`, `filter` and `search_kwargs`, which replace those given here for
    one call; an unknown argument is an error. Documents are copies; their metadata tell the thoughts (`o1_thoughts`),
    the relevance where the store tells it (`o1_score`), and `o1_degraded` where the thinker was away and the query was
    embedded alone. The custom event `o1_thoughts` tells thoughts, seconds and usage before the search begins.

    >>> from langchain_core.vectorstores import InMemoryVectorStore
    >>> store = InMemoryVectorStore(O1Embeddings())
    >>> _ = store.add_texts(["Ada Lovelace wrote the first program.", "Bees dance."])
    >>> O1Retriever(vectorstore=store, k=1).invoke("Who was the first programmer?")[0].page_content
    'Ada Lovelace wrote the first program.'
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    vectorstore: VectorStore = Field(description="Holds vectors of texts made by the same model.")
    embeddings: O1Embeddings | None = Field(default=None, description="None takes those of the vector store.")
    thinker: Any = Field(default=None, description="A Thinker or a chat model; wins over that of the embeddings.")
    k: int = Field(default=4, gt=0, description="Documents to find at most.")
    num_thoughts: int | None = Field(default=None, ge=0, description="Thoughts per query; None: as the embeddings say.")
    filter: Any = Field(default=None, description="Given to the vector store, in the form that it knows.")
    search_kwargs: dict[str, Any] = Field(default_factory=dict, description="Further arguments for the vector store.")
    fusion: Literal["reciprocal_rank"] | None = Field(
        default=None, description="None searches by the pooled vector; otherwise each thought's ranking counts too."
    )
    lexical: BaseRetriever | None = Field(
        default=None,
        description="Finds by words, as `LexicalRetriever` does; its ranking is fused with the others.",
    )
    lexical_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Of that ranking; others have 1.")
    fetch_k: int = Field(default=50, gt=0, description="Documents of each ranking that is fused; at least k.")
    annotate: bool = Field(default=True, description="Puts thoughts and score into the documents' metadata.")

    _slot: Slot[O1Embedder] = PrivateAttr(default_factory=Slot)

    @field_validator("thinker")
    @classmethod
    def _wrap_chat_model(cls, value: Any) -> Thinker | None:
        return as_thinker(value)

    @model_validator(mode="after")
    def _check_embeddings(self) -> Self:
        self._embeddings()
        return self

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        num_thoughts: int | None = None,
        filter: Any = None,
        search_kwargs: dict[str, Any] | None = None,
    ) -> list[Document]:
        """Thinks, then searches; see the class for the arguments.

        Raises:
            InvalidInputError: an empty query, or k below 1.
            ThinkerError: the thinker failed for good.
            FingerprintMismatchError: a Chroma collection holds another model's vectors, or does not say whose.
            VectorStoreError: the store did not answer.
        """
        wanted, arguments = self._wanted(k), self._arguments(filter, search_kwargs)
        embeddings, child = self._embeddings(), run_manager.get_child()
        check_origin(self.vectorstore, embeddings.embedder)
        started = time.perf_counter()
        with set_config_context(_inside(child)) as context:  # a chat model's run becomes a child of this one
            thought = context.run(embed, embeddings, query, self._number(num_thoughts), self._cache())
        dispatch_custom_event(THOUGHTS, _event(thought, time.perf_counter() - started), config=_inside(child))
        plan = self._plan(thought, wanted)
        rankings = [search(self.vectorstore, vector, plan.depth, arguments) for vector in plan.vectors]
        if self.lexical is not None:
            rankings.append(find(self.lexical, query, _inside(child), plan.depth))
        return self._documents(thought, rankings, plan.weights, wanted)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        num_thoughts: int | None = None,
        filter: Any = None,
        search_kwargs: dict[str, Any] | None = None,
    ) -> list[Document]:
        """As `_get_relevant_documents`, and leaves the event loop free."""
        wanted, arguments = self._wanted(k), self._arguments(filter, search_kwargs)
        embeddings, child = self._embeddings(), run_manager.get_child()
        await run_in_executor(None, check_origin, self.vectorstore, await embeddings.aembedder())
        started = time.perf_counter()
        with set_config_context(_inside(child)) as context:
            work = aembed(embeddings, query, self._number(num_thoughts), self._cache())
            thought = await asyncio.create_task(work, context=context)
        await adispatch_custom_event(THOUGHTS, _event(thought, time.perf_counter() - started), config=_inside(child))
        plan = self._plan(thought, wanted)
        searches = [asearch(self.vectorstore, vector, plan.depth, arguments) for vector in plan.vectors]
        if self.lexical is not None:
            searches.append(afind(self.lexical, query, _inside(child), plan.depth))
        return self._documents(thought, await together(searches), plan.weights, wanted)

    def _number(self, num_thoughts: int | None) -> int | None:
        return self.num_thoughts if num_thoughts is None else num_thoughts

    def _cache(self) -> VectorCache | None:
        """Embeddings that were named here know no cache."""
        return cache_of(self.vectorstore) if self.embeddings is None else None

    def _embeddings(self) -> O1Embeddings:
        """The embeddings to think with: those given here or the store's, with this retriever's thinker if it has one.

        Raises:
            InvalidInputError: neither are O1Embeddings.
        """
        found = self.vectorstore.embeddings if self.embeddings is None else self.embeddings
        if not isinstance(found, O1Embeddings):  # CacheBackedEmbeddings keep theirs inside
            found = getattr(found, "underlying_embeddings", None)
        if not isinstance(found, O1Embeddings):
            raise InvalidInputError(
                f"The {type(self.vectorstore).__name__} was not made with O1Embeddings: pass "
                "embeddings=O1Embeddings(...) of the model that made its vectors."
            )
        if self.thinker is None:
            return found
        own = found.model_copy(update={"thinker": self.thinker})
        own._slot = self._slot
        return own

    def _wanted(self, k: int | None) -> int:
        wanted = self.k if k is None else k
        require_int("k", wanted, 1)
        return wanted

    def _arguments(self, filter: Any, search_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """What the vector store gets beside vector and k."""
        chosen = self.filter if filter is None else filter
        if chosen is not None and self.lexical is not None:
            raise InvalidInputError(
                "filter reaches the vector store alone, and the lexical retriever would find what it leaves out: use a "
                "lexical retriever that holds or filters the same documents, and pass search_kwargs={'filter': ...}."
            )
        return {
            **({} if chosen is None else {"filter": chosen}),
            **(self.search_kwargs if search_kwargs is None else search_kwargs),
        }

    def _plan(self, thought: QueryEmbedding, wanted: int) -> _Plan:
        """By the pooled vector, and by each thought's where rankings are fused and differ."""
        by_thought = self.fusion is not None and len(thought.thought_embeddings) > 1
        vectors = [thought.embedding, *(thought.thought_embeddings if by_thought else ())]
        weights = [1.0] * len(vectors) + ([] if self.lexical is None else [self.lexical_weight])
        return _Plan(vectors, weights, max(wanted, self.fetch_k) if len(weights) > 1 else wanted)

    def _documents(
        self, thought: QueryEmbedding, rankings: Sequence[list[Found]], weights: list[float], wanted: int
    ) -> list[Document]:
        """The best documents of the rankings, as copies that tell how they were found."""
        best = (fuse(rankings, weights) if len(rankings) > 1 else rankings[0])[:wanted]
        return [_copy(found, thought if self.annotate else None) for found in best]


@dataclass(frozen=True)
class _Plan:
    """What is searched by, how much each ranking counts (the lexical one last), and how deep."""

    vectors: list[list[float]]
    weights: list[float]
    depth: int


def _inside(child: CallbackManager | AsyncCallbackManager) -> RunnableConfig:
    """The config of what runs inside of the retriever's own run."""
    return patch_config(ensure_config(), callbacks=child)


def _event(thought: QueryEmbedding, seconds: float) -> dict[str, Any]:
    """What the custom event tells; goes into JSON as it is."""
    return {
        "query": thought.query,
        "thoughts": list(thought.thoughts),
        "degraded": thought.degraded,
        "seconds": seconds,
        "usage": dataclasses.asdict(thought.usage),
        "cached": thought.cached,
    }


def _copy(found: Found, thought: QueryEmbedding | None) -> Document:
    """A document that others may change; with a thought, one that tells how it was found."""
    told: dict[str, Any] = {}
    if thought is not None:
        told[THOUGHTS] = list(thought.thoughts)
        if found.score is not None:
            told[SCORE] = found.score
        if thought.degraded:
            told[DEGRADED] = True
    return found.document.model_copy(update={"metadata": {**found.document.metadata, **told}})

"""`O1Embeddings`: what LangChain needs to know of an O1 Embedder. The work is done by the engine, `o1_retriever`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable
from langchain_core.stores import BaseStore
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator

from langchain_o1.chat_model_thinker import ChatModelThinker
from langchain_o1.query_embedding import QueryEmbedding
from langchain_o1.slot import Slot
from langchain_o1.vector_cache import VectorCache
from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.config import require_int
from o1_retriever.errors import InvalidTypeError
from o1_retriever.metering import metered
from o1_retriever.prompts import as_list, check_texts
from o1_retriever.serving import aencode, encode
from o1_retriever.shared_models import shared_embedder
from o1_retriever.thinkers import Thinker
from o1_retriever.thought_cache import CachedThinker, OwnThinker, ThoughtCache
from o1_retriever.worker_threads import QUERIES, TEXTS

QUERY_SIDE = tuple(field.name for field in dataclasses.fields(ThinkingConfig))


class O1Embeddings(BaseModel, Embeddings):
    """An O1 Embedder: thinks about a query before it embeds it, and embeds texts as they are.

    The model is loaded on first use, once per process for equal `model_name`, `revision`, `device` and `dtype`,
    however many objects there are. Sampling settings left at None are the checkpoint's.

    >>> embeddings = O1Embeddings()
    >>> len(embeddings.embed_documents(["Ada Lovelace wrote the first program."])[0])
    384
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    model_name: str = Field(default=DEFAULT_MODEL, description="The bundled model, a folder or a hub id.")
    revision: str | None = Field(default=None, description="Revision of a hub repository.")
    device: str | None = Field(default=None, description="cpu, cuda or mps; None takes the best one.")
    dtype: str | None = Field(default=None, description="float32, bfloat16 or float16; None: the engine's choice.")
    num_thoughts: int | None = Field(default=None, description="Thoughts per query; 0 embeds the query alone.")
    temperature: float | None = Field(default=None, description="Divides the logits; 0 is greedy.")
    top_p: float | None = Field(default=None, description="Probability mass that tokens are sampled from.")
    top_k: int | None = Field(default=None, description="Number of tokens that are sampled from; 0: all.")
    max_new_tokens: int | None = Field(default=None, description="Tokens per thought at most.")
    seed: int | None = Field(default=None, description="Another seed gives other thoughts, reproducibly.")
    thinker: Any = Field(default=None, description="Who thinks: None (the model), a Thinker or a chat model.")
    thought_cache: str | None = Field(default=None, description="Path of an SQLite file that keeps thoughts.")

    _slot: Slot[O1Embedder] = PrivateAttr(default_factory=Slot)

    @field_validator(*QUERY_SIDE)
    @classmethod
    def _check_thinking(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The engine knows the ranges; its error becomes pydantic's."""
        if value is not None:
            ThinkingConfig(**{str(info.field_name): value})  # type: ignore[arg-type]
        return value

    @field_validator("thinker")
    @classmethod
    def _wrap_chat_model(cls, value: Any) -> Thinker | None:
        return as_thinker(value)

    def __copy__(self) -> Self:
        """A copy loads for itself: its settings may become others."""
        copied = super().__copy__()
        copied._slot = Slot()
        return copied

    @property
    def embedder(self) -> O1Embedder:
        """The engine; weights are shared by all objects of equal settings. Loads the model on first use."""
        return self._slot.get(self._key(), self._load)

    async def aembedder(self) -> O1Embedder:
        """As `embedder`; loads the model in a thread."""
        loaded = self._slot.peek(self._key())
        return await QUERIES.run(lambda: self.embedder) if loaded is None else loaded

    @property
    def passage_namespace(self) -> str:
        """For keys of caches of texts' vectors: other weights have another one. Loads the model."""
        return f"o1-passage-{self.embedder.passage_fingerprint}"

    @property
    def query_namespace(self) -> str:
        """For keys of caches of queries' vectors: other weights, thinkers or settings have another one."""
        return self.query_namespace_of()

    def query_namespace_of(self, num_thoughts: int | None = None) -> str:
        """The `query_namespace` of queries with this number of thoughts; None takes the object's own setting."""
        embedder = self.embedder
        return f"o1-query-{embedder.query_fingerprint(thinking=self._thinking(embedder, num_thoughts))}"

    def passage_cache(self, store: BaseStore[str, bytes]) -> VectorCache:
        """A cache of texts' vectors in a byte store, for `CacheBackedEmbeddings(embeddings, passage_cache)`."""
        return VectorCache(store, lambda: self.passage_namespace)

    def query_cache(self, store: BaseStore[str, bytes]) -> VectorCache:
        """A cache of queries' vectors, for `query_embedding_store=`; may share the texts' byte store.

        An `O1Retriever` over a store with such embeddings keeps thoughts there as well, and asks it first.
        """
        return VectorCache(store, lambda: self.query_namespace)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of texts, as they are.

        Raises:
            InvalidInputError: a text is empty; the message says which.
        """
        if isinstance(texts, str):
            raise InvalidTypeError("embed_documents expects a list of str, got one str: put it into a list.")
        vectors: list[list[float]] = self.embedder.encode_document(as_list(texts, "text")[0]).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, which is thought about first.

        Returns:
            A list of floats; a `DegradedVector` where the thinker was away and the query was embedded alone.

        Raises:
            InvalidInputError: the query is empty.
            ThinkerError: the thinker failed for good.
        """
        return self.embed_query_with_thoughts(text).embedding

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, and leaves the event loop free, and the threads of queries too."""
        return await TEXTS.run(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, and leaves the event loop free."""
        return (await self.aembed_query_with_thoughts(text)).embedding

    def think(self, query: str) -> list[str]:
        """The thoughts that this query's vector is made with."""
        embedder = self.embedder
        return list(embedder.think(_checked(query), thinking=self._thinking(embedder))[0])

    def embed_query_with_thoughts(self, text: str, *, num_thoughts: int | None = None) -> QueryEmbedding:
        """The vector that `embed_query` gives, with its thoughts.

        Args:
            text: the query.
            num_thoughts: replaces the object's own setting for this call.
        """
        embedder, (query,) = self.embedder, _checked(text)
        with metered() as meter:
            encoding = encode(embedder, [query], self._thinking(embedder, num_thoughts))
        return QueryEmbedding.of_row(query, encoding, 0, meter.usage)

    async def aembed_query_with_thoughts(self, text: str, *, num_thoughts: int | None = None) -> QueryEmbedding:
        """As `embed_query_with_thoughts`, and leaves the event loop free."""
        (query,) = _checked(text)
        embedder = await self.aembedder()
        with metered() as meter:
            encoding = await aencode(embedder, query, self._thinking(embedder, num_thoughts))
        return QueryEmbedding.of_row(query, encoding, 0, meter.usage)

    def embed_queries_with_thoughts(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Several queries at once: the same thoughts as one by one, in less time. Each tells the whole call's usage."""
        embedder, queries = self.embedder, _checked_list(texts)
        with metered() as meter:
            encoding = encode(embedder, queries, self._thinking(embedder))
        return [QueryEmbedding.of_row(query, encoding, row, meter.usage) for row, query in enumerate(queries)]

    def _thinking(self, embedder: O1Embedder, num_thoughts: int | None = None) -> ThinkingConfig:
        """The checkpoint's way to think, with what was set here."""
        given = {name: value for name in QUERY_SIDE if (value := getattr(self, name)) is not None}
        if num_thoughts is not None:
            require_int("num_thoughts", num_thoughts, 0)
            given["num_thoughts"] = num_thoughts
        return dataclasses.replace(embedder.config.thinking, **given)

    def _key(self) -> tuple[object, ...]:
        """Everything that decides the engine; the thinker is kept alive by the engine, so its id is its own."""
        keeps_own = self.thought_cache is not None and self.thinker is None
        own = tuple(getattr(self, name) for name in QUERY_SIDE) if keeps_own else ()
        return self.model_name, self.revision, self.device, self.dtype, id(self.thinker), self.thought_cache, own

    def _load(self) -> O1Embedder:
        """The process's embedder of these settings; with a thinker of its own, another one of the same weights."""
        shared = shared_embedder((self.model_name, self.revision, self.device, self.dtype))
        thinker: Thinker | None = self.thinker
        if self.thought_cache is not None:
            thinker = OwnThinker(shared, self._thinking(shared)) if thinker is None else thinker
            thinker = CachedThinker(thinker, ThoughtCache(self.thought_cache))
        return shared if thinker is None else O1Embedder(shared.checkpoint, thinker=thinker, encoding=shared.encoding)


def as_thinker(value: Any) -> Thinker | None:
    """A thinker as it is, a chat model wrapped into one.

    Raises:
        InvalidTypeError: it is neither.
    """
    if value is None or (isinstance(value, Thinker) and not isinstance(value, type)):
        return value
    if isinstance(value, Runnable):
        return ChatModelThinker(value)
    raise InvalidTypeError(
        f"thinker must be None (the model itself), a Thinker or a LangChain chat model, got {type(value).__name__}."
    )


def _checked(query: str) -> list[str]:
    if not isinstance(query, str):
        raise InvalidTypeError(f"a query must be a str, got {type(query).__name__}.")
    return check_texts([query], "query")


def _checked_list(queries: Sequence[str]) -> list[str]:
    if isinstance(queries, str):
        raise InvalidTypeError("expected a list of queries, got one str: put it into a list.")
    return as_list(queries, "query")[0]

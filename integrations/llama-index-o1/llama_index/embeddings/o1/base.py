"""`O1Embedding`: what LlamaIndex needs to know of an O1 Embedder. The work is done by the engine, `o1_retriever`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator
from llama_index.embeddings.o1.engines import EngineSettings, EngineSlot
from llama_index.embeddings.o1.events import reported
from llama_index.embeddings.o1.query_side import QueryEmbedding, QuerySide
from llama_index.embeddings.o1.serialization import FINGERPRINT, SAMPLING, THINKER, SerializedO1Embedding
from llama_index.embeddings.o1.text_side import TextSide
from llama_index.embeddings.o1.texts import check_list, unit_mean
from llama_index.embeddings.o1.thinker_field import AbsentThinker, as_thinker
from llama_index.embeddings.o1.vector_cache import VectorCache

from o1_retriever import O1Embedder, ThinkingConfig, pooling
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.shared_models import shared_embedder
from o1_retriever.thinkers import Thinker
from o1_retriever.worker_threads import QUERIES, TEXTS


class O1Embedding(BaseEmbedding):
    """An O1 Embedder: thinks about a query before it embeds it, and embeds texts as they are.

    The model is loaded on first use, once per process for equal `model_name`, `revision`, `device` and `dtype`,
    however many objects there are. Sampling settings left at None are the checkpoint's.

    >>> embedding = O1Embedding()
    >>> len(embedding.get_text_embedding("Ada Lovelace wrote the first program."))
    384
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

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
    aggregation: str | None = Field(default=None, description="How the thoughts' vectors become one.")
    thinker: Any = Field(
        default=None,
        exclude=True,
        description="A LlamaIndex LLM or an o1_retriever Thinker that thinks instead of the model itself.",
    )
    thought_cache: str | None = Field(default=None, description="SQLite file in which thoughts are remembered.")
    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts given to the model at once.")
    embeddings_cache: Any = Field(
        default=None, exclude=True, description="Key-value store for vectors of queries and texts."
    )

    _slot: EngineSlot = PrivateAttr(default_factory=EngineSlot)

    @field_validator(*SAMPLING)
    @classmethod
    def _check_thinking(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The engine knows the ranges; its error becomes pydantic's."""
        if value is not None:
            ThinkingConfig(**{str(info.field_name): value})  # type: ignore[arg-type]
        return value

    @field_validator("aggregation")
    @classmethod
    def _check_aggregation(cls, value: str | None) -> str | None:
        if value is not None:
            pooling.aggregation(value)
        return value

    @field_validator("thinker")
    @classmethod
    def _wrap_thinker(cls, value: Any) -> Thinker | None:
        return as_thinker(value)

    @field_validator("thought_cache", mode="before")
    @classmethod
    def _as_path(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("embeddings_cache")
    @classmethod
    def _guard_cache(cls, value: Any) -> VectorCache | None:
        return VectorCache.around(value)

    @classmethod
    def class_name(cls) -> str:
        return "O1Embedding"

    @property
    def embedder(self) -> O1Embedder:
        """The engine; loads the model on first use.

        All objects of equal settings share it. With a thinker, an aggregation or a cache of thoughts of its own an
        object has an engine of its own, around the shared weights.
        """
        settings = EngineSettings(self.thinker, self.aggregation, self.thought_cache, self._thinking())
        return self._slot.embedder(self._shared(), settings)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The settings and the passage fingerprint, for which it loads the model; see `SerializedO1Embedding`.

        A thinker is left out but for its fingerprint, a cache altogether: neither is a setting.
        """
        data = super().to_dict(**kwargs) | {FINGERPRINT: self._shared().passage_fingerprint}
        if self.thinker is not None:
            data[THINKER] = self.thinker.fingerprint
        return SerializedO1Embedding(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> O1Embedding:
        """An embedding of these settings. The fingerprint is left to whoever holds vectors to compare with.

        Where there was a thinker it has to be given again, `from_dict(data, thinker=llm)`, or set later; to think
        without it is an error.
        """
        settings = {key: value for key, value in data.items() if key not in (FINGERPRINT, THINKER)}
        if THINKER in data:
            kwargs.setdefault("thinker", AbsentThinker(data[THINKER]))
        return super().from_dict(settings, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: no thinker, no cache; from a copy, because LlamaIndex deletes what cannot be pickled."""
        twin = self.model_copy()
        twin.__dict__["embeddings_cache"] = None
        twin.__dict__["thinker"] = None if self.thinker is None else AbsentThinker(self.thinker.fingerprint)
        state: dict[str, Any] = super(O1Embedding, twin).__getstate__()
        return state

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> O1Embedding:
        """Thinker, callbacks and caches are shared: they are no settings."""
        return self.with_changes()

    def with_changes(self, **settings: Any) -> O1Embedding:
        """Another embedding with these settings changed; callbacks and caches are shared with this one."""
        return type(self)(**{**self.__dict__, **settings})

    def think(self, query: str) -> list[str]:
        """The thoughts that this query's vector is made with."""
        return list(self.embedder.think([query], thinking=self._thinking())[0])

    def get_query_embedding_with_thoughts(self, query: str, num_thoughts: int | None = None) -> QueryEmbedding:
        """The vector that `get_query_embedding` gives, and its thoughts.

        Args:
            query: one text.
            num_thoughts: for this query; None takes the setting.

        Raises:
            InvalidInputError: the query is empty.
            ThinkerError: the thinker failed for good. A passing failure embeds the query alone: see `degraded`.
        """
        with reported(self, [query]) as vectors:
            found = self._query_side(num_thoughts).embed(query)
            vectors.append(found.embedding)
        return found

    async def aget_query_embedding_with_thoughts(self, query: str, num_thoughts: int | None = None) -> QueryEmbedding:
        """As `get_query_embedding_with_thoughts`; tasks that wait at the same time think together."""
        with reported(self, [query]) as vectors:
            found = await self._aembed(query, num_thoughts)
            vectors.append(found.embedding)
        return found

    def get_query_embeddings_with_thoughts(
        self, queries: Sequence[str], num_thoughts: int | None = None
    ) -> list[QueryEmbedding]:
        """Several queries at once: the same thoughts as one by one, in less time. `embeddings_cache` is not asked."""
        check_list(queries, "queries")
        with reported(self, list(queries)) as vectors:
            found = self._query_side(num_thoughts).embed_all(queries)
            vectors.extend(row.embedding for row in found)
        return found

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """One vector for several queries: their mean, of unit length like every other vector, or what `agg_fn` says."""
        check_list(queries, "queries")
        return super().get_agg_embedding_from_queries(queries, agg_fn or unit_mean)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """As `get_agg_embedding_from_queries`; the event loop stays free."""
        check_list(queries, "queries")
        return await super().aget_agg_embedding_from_queries(queries, agg_fn or unit_mean)

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: Any) -> list[Embedding]:
        """Vectors of texts, `embed_batch_size` at a time."""
        check_list(texts, "texts")
        return super().get_text_embedding_batch(texts, show_progress, **kwargs)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """As `get_text_embedding_batch`; the event loop stays free."""
        check_list(texts, "texts")
        return await super().aget_text_embedding_batch(texts, show_progress, **kwargs)

    def _shared(self) -> O1Embedder:
        return shared_embedder((self.model_name, self.revision, self.device, self.dtype))

    def _thinking(self, num_thoughts: int | None = None) -> ThinkingConfig:
        """The checkpoint's way to think, with what was set here."""
        given = {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
        if num_thoughts is not None:
            given["num_thoughts"] = num_thoughts
        return dataclasses.replace(self._shared().config.thinking, **given)

    def _query_side(self, num_thoughts: int | None = None) -> QuerySide:
        return QuerySide(self.embedder, self._thinking(num_thoughts), self.embeddings_cache)

    async def _aembed(self, query: str, num_thoughts: int | None = None) -> QueryEmbedding:
        side = await QUERIES.run(self._query_side, num_thoughts)  # the first time, this loads a model
        return await side.aembed(query)

    def _text_side(self) -> TextSide:
        return TextSide(self._shared(), self.embeddings_cache)

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._query_side().embed(query).embedding

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._text_side().embed(texts)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._aembed(query)).embedding

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        side = await TEXTS.run(self._text_side)
        return await side.aembed(texts)

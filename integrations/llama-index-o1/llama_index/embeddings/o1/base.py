"""`O1Embedding`: what LlamaIndex needs to know of an O1 Embedder. The work is done by the engine, `o1_retriever`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, ValidationInfo, field_validator

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.errors import InvalidInputError
from o1_retriever.shared_models import shared_embedder

FINGERPRINT = "passage_fingerprint"
QUERY_SIDE = tuple(field.name for field in dataclasses.fields(ThinkingConfig))
_IRRELEVANT = (*QUERY_SIDE, "model_name", "revision", "device", "dtype", "embed_batch_size", "num_workers")


@dataclass(frozen=True)
class QueryEmbedding:
    """A query's vector and the thoughts behind it.

    Attributes:
        query: the query's text.
        embedding: its vector, of unit length.
        thoughts: the thoughts that went into it; empty for a query embedded alone.
    """

    query: str
    embedding: Embedding
    thoughts: list[str]


class SerializedO1Embedding(dict[str, Any]):
    """What `O1Embedding.to_dict` returns: a dict whose `str` names only what decides the vector of a text.

    LlamaIndex's ingestion cache hashes `str(to_dict())`. Settings of the query side, the device and the batch size do
    not change a text's vector, so changing them must not embed a corpus again; other weights must, and the passage
    fingerprint sees to that. `repr` and the items are complete.
    """

    def __str__(self) -> str:
        return str({key: value for key, value in self.items() if key not in _IRRELEVANT})


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
    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts given to the model at once.")

    @field_validator(*QUERY_SIDE)
    @classmethod
    def _check_thinking(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The engine knows the ranges; its error becomes pydantic's."""
        if value is not None:
            ThinkingConfig(**{str(info.field_name): value})  # type: ignore[arg-type]
        return value

    @field_validator("embeddings_cache")
    @classmethod
    def _refuse_cache(cls, value: Any) -> None:
        """LlamaIndex uses the bare text as the key for query and text alike, and for every model."""
        if value is not None:
            raise InvalidInputError(
                "embeddings_cache is not supported: it would hand a text's vector to a query of the same words, and "
                "vectors of one model to another. Cache texts by the cache of an IngestionPipeline instead."
            )

    @classmethod
    def class_name(cls) -> str:
        return "O1Embedding"

    @property
    def embedder(self) -> O1Embedder:
        """The engine, shared by all objects of equal settings; loads the model on first use."""
        return shared_embedder((self.model_name, self.revision, self.device, self.dtype))

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The settings and the passage fingerprint, for which it loads the model; see `SerializedO1Embedding`."""
        data = super().to_dict(**kwargs)
        return SerializedO1Embedding(data | {FINGERPRINT: self.embedder.passage_fingerprint})

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> O1Embedding:
        """An embedding of these settings. The fingerprint is left to whoever holds vectors to compare with."""
        return super().from_dict({key: value for key, value in data.items() if key != FINGERPRINT}, **kwargs)

    def think(self, query: str) -> list[str]:
        """The thoughts that this query's vector is made with."""
        return list(self.embedder.think([query], thinking=self._thinking())[0])

    def get_query_embedding_with_thoughts(self, query: str) -> QueryEmbedding:
        """The vector that `get_query_embedding` gives, and its thoughts."""
        return self.get_query_embeddings_with_thoughts([query])[0]

    async def aget_query_embedding_with_thoughts(self, query: str) -> QueryEmbedding:
        """As `get_query_embedding_with_thoughts`, in a thread."""
        return await asyncio.to_thread(self.get_query_embedding_with_thoughts, query)

    def get_query_embeddings_with_thoughts(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """Several queries at once: the same thoughts as one by one, in less time."""
        encoding = self.embedder.encode_query(list(queries), thinking=self._thinking(), return_thoughts=True)
        rows = zip(queries, encoding.vectors, encoding.thoughts, strict=True)
        return [QueryEmbedding(query, vector.tolist(), thoughts) for query, vector, thoughts in rows]

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """One vector for several queries: their mean, of unit length like every other vector, or what `agg_fn` says."""
        return super().get_agg_embedding_from_queries(queries, agg_fn or unit_mean)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """As `get_agg_embedding_from_queries`, in a thread."""
        return await super().aget_agg_embedding_from_queries(queries, agg_fn or unit_mean)

    def _thinking(self) -> ThinkingConfig:
        """The checkpoint's way to think, with what was set here."""
        given = {name: value for name in QUERY_SIDE if (value := getattr(self, name)) is not None}
        return dataclasses.replace(self.embedder.config.thinking, **given)

    def _get_query_embedding(self, query: str) -> Embedding:
        return self.get_query_embedding_with_thoughts(query).embedding

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        check_not_empty(texts)
        vectors: list[Embedding] = self.embedder.encode_document(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def unit_mean(embeddings: Sequence[Embedding]) -> Embedding:
    """The mean of vectors, of unit length; vectors that cancel out are an error.

    >>> unit_mean([[1.0, 0.0], [0.0, 1.0]]) == [0.5**0.5, 0.5**0.5]
    True
    """
    if not embeddings:
        raise InvalidInputError("There is no query to embed: pass at least one.")
    mean = np.asarray(embeddings, dtype=np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm == 0.0:
        raise InvalidInputError("The queries' vectors cancel out: embed them one by one.")
    unit: Embedding = (mean / norm).tolist()
    return unit


def check_not_empty(texts: Sequence[str]) -> None:
    """Names the first text that holds nothing, in words that help to find its node.

    Raises:
        InvalidInputError: a text is empty or only white space.
    """
    for position, text in enumerate(texts):
        if isinstance(text, str) and not text.strip():
            before = f", right after {texts[position - 1][:60]!r}," if position else ""
            raise InvalidInputError(
                f"Text {position + 1} of {len(texts)} in this batch{before} is empty: there is nothing to embed. "
                "Leave such nodes out: [d for d in documents if d.text.strip()]."
            )

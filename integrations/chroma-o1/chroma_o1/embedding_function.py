"""O1EmbeddingFunction: what Chroma needs to know of an O1 Embedder. Importing this module registers it as "o1".

Chroma keeps the function's configuration with the collection and rebuilds it from there, several times, so nothing here
loads a model before it embeds. The configuration holds the passage fingerprint; a function that was rebuilt refuses to
embed with another model. Of a function that is PASSED to `get_collection`, Chroma compares the name only, then hands it
texts and never says of which collection, so it cannot refuse: pass none, or open the collection by `open_collection`,
which compares the fingerprints.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from chromadb import Collection
from chromadb.api import ClientAPI
from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from chroma_o1 import backend
from chroma_o1.errors import StoreError, store_errors
from chroma_o1.function_settings import FunctionSettings
from chroma_o1.stamping import CONFIG_KEY, FUNCTION_NAME
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import FingerprintMismatchError, InvalidInputError, InvalidTypeError, O1Error
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.shared_models import shared_embedder


class O1EmbeddingFunction(EmbeddingFunction[Documents]):
    """Embeds documents as they are, and thinks about queries before it embeds them.

    The model is loaded on first use, once per process for equal `model_name`, `revision`, `device` and `dtype`.

    Args:
        model_name: the bundled model, a folder or a hub id.
        revision: of a hub repository.
        device: cpu, cuda or mps; None takes the best one.
        dtype: float32, bfloat16 or float16; None: the engine's choice.
        num_thoughts: thoughts per query; 0 embeds the query alone. This and the next five: None is the checkpoint's.
        temperature: divides the logits; 0 is greedy.
        top_p: probability mass that tokens are sampled from.
        top_k: number of tokens that are sampled from; 0: all.
        max_new_tokens: tokens per thought at most.
        seed: another seed gives other thoughts, reproducibly.
        passage_fingerprint: refuse every other model; a collection's configuration says it.

    Raises:
        InvalidInputError, InvalidTypeError: a setting that cannot be.
    """

    def __init__(
        self,
        model_name: str = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        num_thoughts: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        passage_fingerprint: str | None = None,
    ) -> None:
        self._settings = FunctionSettings(
            model_name=model_name,
            revision=revision,
            device=device,
            dtype=dtype,
            num_thoughts=num_thoughts,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            seed=seed,
            passage_fingerprint=passage_fingerprint,
        )

    @property
    def embedder(self) -> O1Embedder:
        """The engine, loaded on first use.

        Raises:
            CheckpointError: the model is not there or cannot be read.
            FingerprintMismatchError: it is not the model that the collection was made with.
        """
        settings = self._settings
        embedder = shared_embedder((settings.model_name, settings.revision, settings.device, settings.dtype))
        expected, found = settings.passage_fingerprint, embedder.passage_fingerprint
        if expected is not None and expected != found:
            raise FingerprintMismatchError(
                f"The collection holds vectors of another model: {settings.model_name!r} now has passage fingerprint "
                f"{found}, and the collection was made with {expected}. Put the old model back, or embed the "
                "documents again into another collection."
            )
        return embedder

    @property
    def passage_fingerprint(self) -> str:
        """Names the model whose vectors this makes; loads it if nobody has said so yet."""
        return self._settings.passage_fingerprint or self.embedder.passage_fingerprint

    @property
    def dimension(self) -> int:
        """D, the length of every vector; loads the model."""
        return self.embedder.dimension

    def __call__(self, input: Documents) -> Embeddings:
        """Vectors of documents, without thoughts."""
        return list(self.embedder.encode_document(_texts(input), show_progress=False))

    def embed_query(self, input: Documents) -> Embeddings:
        """Vectors of queries, each with its thoughts."""
        return list(self.embed_query_with_thoughts(input).vectors)

    def embed_query_with_thoughts(self, input: Documents) -> QueryEncoding:
        """The vectors that `embed_query` gives, and the thoughts behind them."""
        texts, embedder = _texts(input), self.embedder
        thinking = dataclasses.replace(embedder.config.thinking, **self._settings.thinking)
        if len(texts) == 1:  # threads that ask at the same time share the model's forward passes
            return shared_batcher(embedder).encode_query(texts[0], thinking=thinking)
        return embedder.encode_query(texts, thinking=thinking, return_thoughts=True)

    @staticmethod
    def name() -> str:
        """What Chroma knows it by."""
        return FUNCTION_NAME

    def default_space(self) -> Space:
        """Vectors have unit length; scores are cosine similarities."""
        return "cosine"

    def supported_spaces(self) -> list[Space]:
        """All give the same order for vectors of unit length."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """The settings and the passage fingerprint, for which it loads the model the first time."""
        return {**self._settings.config, CONFIG_KEY: self.passage_fingerprint}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> O1EmbeddingFunction:
        """The function that a collection's configuration describes; loads nothing."""
        return O1EmbeddingFunction(**dataclasses.asdict(FunctionSettings.from_config(config)))

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raises an `InvalidInputError` or `InvalidTypeError` for unknown or invalid settings."""
        FunctionSettings.from_config(config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Lets every setting change that leaves the documents' vectors as they are.

        Raises:
            FingerprintMismatchError: the new configuration is another model's.
        """
        self.validate_config(new_config)
        old, new = old_config.get(CONFIG_KEY), new_config.get(CONFIG_KEY)
        if old is not None and old != new:
            raise FingerprintMismatchError(
                f"The collection holds vectors of the model with passage fingerprint {old}, and the new configuration "
                f"names {new}: embed the documents again into another collection. Chroma writes a configuration before "
                "it asks for this check: modify it back."
            )


register_embedding_function(O1EmbeddingFunction)  # type: ignore[no-untyped-call]


def open_collection(client: ClientAPI, name: str, embedding_function: O1EmbeddingFunction) -> Collection:
    """A collection that embeds by this function; a new one, with our index settings, where there is none.

    Unlike Chroma's `get_or_create_collection` it refuses a collection of another model, and loads the model first, so
    that a model which cannot be loaded is an error here.

    Args:
        client: any Chroma client.
        name: of the collection.
        embedding_function: its settings of the query side hold for the object returned, whatever the collection was
            made with.

    Raises:
        CheckpointError: the model cannot be loaded.
        FingerprintMismatchError: the collection holds vectors of another model, or nobody says whose.
        StoreError: Chroma refuses, or the collection does not measure cosine distance.
    """
    if not isinstance(embedding_function, O1EmbeddingFunction):
        raise InvalidTypeError(f"expected an O1EmbeddingFunction, got {type(embedding_function).__name__}.")
    embedder = embedding_function.embedder
    try:
        with store_errors(f"collection {name!r}"):
            return backend.open_collection(client, name, embedder, embedding_function=embedding_function)
    except O1Error:
        raise
    except ValueError as error:  # Chroma compares the functions' names
        raise StoreError(f"Collection {name!r} embeds by another function: {error} Choose another name.") from error


def _texts(given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, (list, tuple)):
        raise InvalidTypeError(f"expected a list of texts, got {type(given).__name__}: put one text into a list.")
    if not given:
        raise InvalidInputError("there is no text to embed: pass at least one.")
    return list(given)

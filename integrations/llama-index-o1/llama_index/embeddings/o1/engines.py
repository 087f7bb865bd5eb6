"""Embedders for the settings of one `O1Embedding`: the process's shared one, or one around the same weights."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.thinkers import Thinker
from o1_retriever.thought_cache import CachedThinker, OwnThinker, ThoughtCache


@dataclass(frozen=True)
class EngineSettings:
    """What asks for an embedder of one's own.

    Attributes:
        thinker: where thoughts come from; None is the model itself.
        aggregation: how K vectors become one; None takes the checkpoint's way.
        thought_cache: file of a cache of thoughts.
        thinking: how the model itself samples; matters where its own thoughts are cached.
    """

    thinker: Thinker | None
    aggregation: str | None
    thought_cache: str | None
    thinking: ThinkingConfig


class EngineSlot:
    """Keeps the embedder of one `O1Embedding` until its settings change. Copies and pickles start empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._embedder: O1Embedder | None = None

    def __reduce__(self) -> tuple[type[EngineSlot], tuple[()]]:
        return EngineSlot, ()

    def embedder(self, shared: O1Embedder, settings: EngineSettings) -> O1Embedder:
        """The shared embedder where nothing asks for another; weights are never loaded twice."""
        if settings.aggregation == shared.config.aggregation:
            settings = dataclasses.replace(settings, aggregation=None)
        if (settings.thinker, settings.aggregation, settings.thought_cache) == (None, None, None):
            return shared
        key = (id(shared), id(settings.thinker), settings.aggregation, settings.thought_cache, _sampling(settings))
        with self._lock:
            if self._embedder is None or self._key != key:
                self._key, self._embedder = key, _build(shared, settings)
            return self._embedder


def _sampling(settings: EngineSettings) -> ThinkingConfig | None:
    """Sampling settings where an embedder is made for them; elsewhere each call brings its own."""
    own = settings.thinker is None and settings.thought_cache is not None
    return dataclasses.replace(settings.thinking, num_thoughts=1) if own else None


def _build(shared: O1Embedder, settings: EngineSettings) -> O1Embedder:
    thinker, checkpoint = settings.thinker, shared.checkpoint
    if settings.aggregation is not None:
        config = dataclasses.replace(checkpoint.config, aggregation=settings.aggregation)
        checkpoint = dataclasses.replace(checkpoint, config=config)
    if settings.thought_cache is not None:
        asked = thinker or OwnThinker(shared, settings.thinking)
        thinker = CachedThinker(asked, ThoughtCache(settings.thought_cache))
    return O1Embedder(checkpoint, thinker=thinker, encoding=shared.encoding)

"""One loaded model per process, shared by every object of equal settings in any framework."""

from __future__ import annotations

import os
import threading

from o1_retriever.embedder import O1Embedder

Settings = tuple[str, str | None, str | None, str | None]
"""Model name, revision, device, dtype."""

_models: dict[tuple[Settings, str], O1Embedder] = {}
_locks: dict[tuple[Settings, str], threading.Lock] = {}
_guard = threading.Lock()


def shared_embedder(settings: Settings) -> O1Embedder:
    """The process's embedder for these settings, loaded on the first call; safe to call from several threads.

    Raises:
        CheckpointError: the checkpoint is missing, incomplete or damaged. The next call tries again.
    """
    name, revision, device, dtype = settings
    key = (settings, os.path.realpath(name) if os.path.isdir(name) else "")  # relative folders move with the process
    with _guard:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:  # one model loads at a time only where it is the same model
        if key not in _models:
            _models[key] = O1Embedder.from_pretrained(name, revision=revision, device=device, dtype=dtype)
        return _models[key]

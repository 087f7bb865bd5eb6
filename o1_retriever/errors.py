"""Every error of ours. All derive from `O1Error`; each message says what was wrong and what to do."""

from __future__ import annotations


class O1Error(Exception):
    """Base class: `except O1Error` catches everything this library raises on purpose."""


class InvalidInputError(O1Error, ValueError):
    """A value the caller gave is outside what the function accepts."""


class InvalidTypeError(O1Error, TypeError):
    """A value the caller gave is of the wrong type."""


class CheckpointError(O1Error):
    """A checkpoint cannot be read, is incomplete or cannot be written."""


class ModelNotFoundError(CheckpointError):
    """No bundled model, folder or hub repository goes by this name."""


class FingerprintMismatchError(O1Error):
    """Vectors of one model meet an index made by another."""


class OutOfMemoryError(O1Error):
    """Not even a single text fits into the device's memory."""


class DatasetError(O1Error):
    """A data file is missing or a line of it cannot be read."""


class StorageError(O1Error):
    """A file that a long job keeps cannot be read or written."""


class MissingDependencyError(O1Error):
    """A distribution that only some verbs need is not installed."""


class ThinkerError(O1Error):
    """A thinker failed for good: wrong key, unknown model, no thought recorded for the query."""


class TransientThinkerError(ThinkerError):
    """A thinker failed after retries but may work later (timeout, 429, 5xx): the query alone is embedded instead."""


class QueueFullError(O1Error):
    """More queries wait for an embedder than its queue may hold."""

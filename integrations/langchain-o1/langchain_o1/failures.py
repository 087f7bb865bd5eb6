"""What the errors of chat models mean: does another try help, or must somebody act?

The providers' packages share no base class for their errors. They share status codes, LangChain's own `is_retryable`
in newer versions, and the words in the names of their classes. Calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from o1_retriever.errors import ThinkerError, TransientThinkerError

_PASSING_STATUS = (408, 409, 425, 429)
_PASSING_WORDS = (
    "Timeout",
    "Connect",
    "TransportError",
    "NetworkError",
    "RateLimit",
    "TooManyRequests",
    "Throttl",
    "ServiceUnavailable",
    "InternalServer",
    "Overloaded",
    "DeadlineExceeded",
    "ResourceExhausted",
)
_ADVICE = {
    401: "it does not accept the key: check the key that the chat model is made with",
    403: "it denies access: check what the key is allowed to use",
    404: "it knows no such model: check the model's name and its address",
}


def as_thinker_error(error: Exception, model: str) -> ThinkerError:
    """The engine's error for one that a chat model raised.

    Args:
        error: what it raised, after LangChain's own retries.
        model: how messages name it.

    Returns:
        A `TransientThinkerError` for timeouts, lost connections, 408, 409, 425, 429 and 5xx; a `ThinkerError` for
        everything else: a wrong key, an unknown model, an account without credit, a mistake in the chat model.
    """
    status = next((code for link in _chain(error) if (code := _status(link))), None)
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if _passes(error, status):
        return TransientThinkerError(
            f"{model} did not answer ({said}). Try again later, or raise the chat model's timeout and max_retries."
        )
    advice = _ADVICE.get(status or 0, "another try would not help: see the cause above")
    return ThinkerError(f"{model} failed as a thinker, {advice} ({said}).")


def _passes(error: Exception, status: int | None) -> bool:
    if any(getattr(link, "code", None) == "insufficient_quota" for link in _chain(error)):
        return False  # sent with status 429, but no waiting brings credit
    if status is not None:
        return status in _PASSING_STATUS or status >= 500
    for link in _chain(error):
        retryable = getattr(link, "is_retryable", None)
        if isinstance(retryable, bool):
            return retryable
    names = [kind.__name__ for link in _chain(error) for kind in type(link).__mro__]
    return any(word in name for name in names for word in _PASSING_WORDS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: wrappers often drop the status that the wrapped error has."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error, wherever its package keeps it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        metadata = response.get("ResponseMetadata")
        candidates = [metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None]
    else:
        candidates = [getattr(error, name, None) for name in ("status_code", "http_status", "code", "status")]
        candidates.append(getattr(response, "status_code", None))
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return int(value)
    return None

"""What the errors of other libraries' language models mean: does another try help, or must somebody act?

Those libraries share no base class for their errors. They share HTTP statuses, a flag in some of them that says whether
another try helps, and the words in the names of their classes for what never got a response. Calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from o1_retriever.errors import ThinkerError, TransientThinkerError

_PASSING = (408, 409, 425, 429)
_PASSING_NAMES = re.compile(
    "Timeout|TimedOut|Connect|TransportError|NetworkError|RemoteProtocol|ReadError|RateLimit|TooManyRequests|Throttl|"
    "Unavailable|Overload|InternalServer|DeadlineExceeded|ResourceExhausted"
)
_STATUS_NAMES = ("status_code", "http_status", "status", "code")
_ADVICE = {
    401: "Check its key and what the key is allowed to use.",
    403: "Check its key and what the key is allowed to use.",
    404: "Check the model's name and the address it is asked at.",
}


def thinker_error(model: str, error: Exception, secrets: Iterable[object] = ()) -> ThinkerError:
    """The engine's error for one that a language model's library raised, after its own retries.

    Args:
        model: how the message names it.
        error: what was raised.
        secrets: keys, plain or as pydantic's SecretStr; they are cut out of what the library says.

    Returns:
        A `TransientThinkerError` for timeouts, lost connections, 408, 409, 425, 429 and 5xx; a `ThinkerError` for
        everything else: a wrong key, an unknown model, an account without credit, a mistake in the model.
    """
    status = next((found for found in map(_status, _chain(error)) if found is not None), None)
    said = f"{type(error).__name__}: {_without(secrets, ' '.join(str(error).split()))[:300]}"
    if _passes(error, status):
        return TransientThinkerError(
            f"{model} gave no thoughts for now ({said}). Try again later, or raise its timeout and its retries."
        )
    advice = _ADVICE.get(status or 0, "Another try would not help: check its settings by asking it once yourself.")
    return ThinkerError(f"{model} gave no thoughts ({said}). {advice}")


def _without(secrets: Iterable[object], text: str) -> str:
    for secret in secrets:
        reveal = getattr(secret, "get_secret_value", None)
        plain = secret if reveal is None else reveal()
        if isinstance(plain, str) and plain:
            text = text.replace(plain, "***")
    return text


def _passes(error: Exception, status: int | None) -> bool:
    if any(getattr(link, "code", None) == "insufficient_quota" for link in _chain(error)):
        return False  # sent as 429, but no waiting brings credit
    if status is not None:
        return status in _PASSING or status >= 500
    for link in _chain(error):
        retryable = getattr(link, "is_retryable", None)
        if isinstance(retryable, bool):
            return retryable
    return any(_PASSING_NAMES.search(kind.__name__) for link in _chain(error) for kind in type(link).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: wrappers often drop the status that the wrapped error has."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error, wherever its library keeps it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        metadata = response.get("ResponseMetadata")
        places = [metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None]
    else:
        places = [getattr(error, name, None) for name in _STATUS_NAMES]
        places += [getattr(response, name, None) for name in ("status_code", "status")]
    for value in places:
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return int(value)
    return None

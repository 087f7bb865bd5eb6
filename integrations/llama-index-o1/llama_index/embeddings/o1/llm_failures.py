"""What the errors of language models mean, whichever library raised them: do they pass, or do they not?

LlamaIndex has no errors of its own for this. Libraries differ in their classes, but nearly all of them keep the status
of the HTTP response, and name a class for what never got one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llama_index.core.bridge.pydantic import SecretStr

from o1_retriever.errors import ThinkerError, TransientThinkerError

_PASSING = (408, 409, 425, 429)
_PASSING_NAMES = re.compile(
    "Timeout|TimedOut|Connect|RateLimit|Unavailable|Overload|Throttl|InternalServer|RemoteProtocol|ReadError"
)
_DEPTH = 8  # causes of causes that are looked at


def thinker_error(model: str, error: Exception, secret: object = None) -> ThinkerError:
    """A `TransientThinkerError` where a later call may succeed (timeout, 429, 5xx), else a `ThinkerError`.

    Args:
        model: for the message.
        error: what the model's library raised.
        secret: a key, plain or as pydantic's SecretStr; it is cut out of what the library says.
    """
    status = next((found for found in map(_status, _causes(error)) if found is not None), None)
    said = f"{type(error).__name__}: {_without(secret, ' '.join(str(error).split()))[:300]}"
    if _passes(error, status):
        return TransientThinkerError(f"{model} gave no thoughts for now ({said}). Try again later.")
    return ThinkerError(f"{model} gave no thoughts ({said}). {_advice(status)}")


def _without(secret: object, text: str) -> str:
    plain = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    return text.replace(plain, "***") if isinstance(plain, str) and plain else text


def _passes(error: Exception, status: int | None) -> bool:
    if any(getattr(cause, "code", None) == "insufficient_quota" for cause in _causes(error)):
        return False  # comes as 429, but waiting brings no credit
    if status is not None:
        return status in _PASSING or status >= 500
    return any(_never_arrived(cause) for cause in _causes(error))


def _never_arrived(error: BaseException) -> bool:
    """No response came: the connection failed, or time ran out."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return isinstance(error, (TimeoutError, ConnectionError)) or any(_PASSING_NAMES.search(name) for name in names)


def _advice(status: int | None) -> str:
    if status in (401, 403):
        return "Check its key and what the key is allowed to use."
    if status == 404:
        return "Check the model's name and the address it is asked at."
    return "Check its settings by asking it once yourself: llm.complete('Hello')."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    cause: BaseException | None = error
    for _ in range(_DEPTH):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error keeps, under the names that libraries give it."""
    response = getattr(error, "response", None)
    places = [(error, name) for name in ("status_code", "http_status", "status", "code")]
    for place, name in [*places, (response, "status_code"), (response, "status")]:
        value = getattr(place, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None

"""What servers of the chat-completions protocol mean by their errors, and what to do about each. Sends nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from o1_retriever.llm_config import NO_KEY, LLMConfig

_PASSING = (408, 409, 425, 429)
_REFUSALS = (400, 413, 422)
_SETTINGS = ("model", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed")


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Attributes:
        kind: "passing" may succeed later, "permanent" will not, "refused" concerns this request's content alone.
        message: what was wrong; of a permanent failure also what to do.
        wait_s: seconds that the server asks to wait.
    """

    kind: Literal["passing", "permanent", "refused"]
    message: str
    wait_s: float = 0.0


def status_failure(status: int, body: object, headers: Mapping[str, str], config: LLMConfig, key: str) -> Failure:
    """What a response with an error status means.

    Args:
        status: 400 to 599.
        body: the error object of the response, or its text.
        headers: of the response, by lower-case names.
        config: names the address, the model and the key's variable in messages.
        key: it is cut out of what the server says.
    """
    said = _said(body) if key == NO_KEY else _said(body).replace(key, "***")
    detail = f"{status}: {said[:300]}" if said else str(status)
    if status == 429 and _field(body, "code") == "insufficient_quota":
        return Failure("permanent", f"The account at {config.base_url} has no credit left ({detail}).")
    if status in _PASSING or status >= 500:
        return Failure("passing", f"{config.base_url} answered {detail}", wait_s=retry_after(headers))
    if status in _REFUSALS and _field(body, "param") not in _SETTINGS:
        return Failure("refused", detail)
    return Failure("permanent", f"{_what_to_do(status, config)} ({detail})")


def _what_to_do(status: int, config: LLMConfig) -> str:
    if status == 401:
        return (
            f"{config.base_url} does not accept the key: put the right one into the environment variable "
            f"{config.api_key_variable}"
        )
    if status == 403:
        return (
            f"{config.base_url} denies access to {config.model!r}: check what the key in the environment variable "
            f"{config.api_key_variable} is allowed to use"
        )
    if status == 404:
        return (
            f"{config.base_url} knows no model {config.model!r}, or is no chat-completions endpoint: check the model's "
            "name and base_url, which usually ends in /v1"
        )
    if status in _REFUSALS:
        return f"{config.base_url} does not accept a setting for {config.model!r}: change it in LLMConfig"
    return f"{config.base_url} does not answer chat completions: check base_url"


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date; 0 without them.

    >>> retry_after({"retry-after": "2.5"})
    2.5
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return 0.0
    aware = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def _said(body: object) -> str:
    """The server's own words on one line: a message in an error object or in none, a detail, or bare text."""
    while isinstance(body, Mapping):
        body = body.get("message") or body.get("error") or body.get("detail") or ""
    return " ".join(str(body or "").split())


def _field(body: object, name: str) -> str | None:
    """A field of the error object, which may stand in an "error" of its own."""
    if isinstance(body, Mapping):
        inner = body.get("error")
        value = inner.get(name) if isinstance(inner, Mapping) else body.get(name)
        return value if isinstance(value, str) else None
    return None

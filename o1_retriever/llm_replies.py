"""What servers of the chat-completions protocol answer: the body of a response becomes texts. Sends nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from o1_retriever.llm_failures import Failure

_REASONING, _REASONING_END = "<think>", "</think>"


@dataclass(frozen=True)
class Reply:
    """A server's answer to one request.

    Attributes:
        texts: one per choice; None where the model declined, was filtered or wrote nothing.
        prompt_tokens: as the server counts them; 0 where it does not.
        completion_tokens: likewise.
    """

    texts: list[str | None]
    prompt_tokens: int
    completion_tokens: int


def parse_reply(content: bytes) -> Reply | Failure:
    """The texts in a response's body; a passing failure for one that is truncated, garbled or without choices."""
    try:
        body = json.loads(content)
        choices = body["choices"]
        if not isinstance(choices, list) or not choices:
            raise ValueError("it has no choices")
        texts = [_text_of(choice) for choice in choices]
        usage = body.get("usage") or {}
        return Reply(texts, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Failure("passing", f"the reply of {len(content)} bytes cannot be read ({type(error).__name__})")


def _text_of(choice: dict[str, Any]) -> str | None:
    message = choice["message"]
    text = message.get("content")
    if choice.get("finish_reason") == "content_filter" or message.get("refusal") or not isinstance(text, str):
        return None
    return clean(text) or None


def clean(text: str) -> str:
    """A model's answer without the reasoning before it and without what no UTF-8 file could hold.

    >>> clean("<think>Hm, bees.</think> Bees dance. ")
    'Bees dance.'
    """
    before, _, after = text.rpartition(_REASONING_END)
    if not before and text.lstrip().startswith(_REASONING):
        return ""  # it was still reasoning when its tokens ran out
    return after.encode("utf-8", "replace").decode("utf-8").strip()


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

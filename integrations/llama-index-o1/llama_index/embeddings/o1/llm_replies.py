"""What LlamaIndex's language models answer: the text of a thought, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping

from llama_index.core.base.llms.types import ChatResponse

from o1_retriever.llm_replies import clean
from o1_retriever.usage import Usage

_READ = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
_WRITTEN = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")


def text_of(response: ChatResponse) -> str | None:
    """The answer without the reasoning before it; None where the model wrote nothing."""
    return clean(response.message.content or "") or None


def usage_of(response: ChatResponse) -> Usage:
    """One call, with its tokens where the model reports them.

    Providers name them differently, and put them into `raw`, into a part of it, or into `additional_kwargs`.
    """
    raw = response.raw
    for place in (_field(raw, "usage"), _field(raw, "usage_metadata"), raw, response.additional_kwargs):
        read, written = _number(place, _READ), _number(place, _WRITTEN)
        if read or written:
            return Usage(requests=1, prompt_tokens=read, completion_tokens=written)
    return Usage(requests=1)


def _number(place: object, names: tuple[str, ...]) -> int:
    for name in names:
        value = _field(place, name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def _field(place: object, name: str) -> object:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)

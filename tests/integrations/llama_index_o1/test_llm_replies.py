"""What answers of language models hold: a text, and what it cost, under the names that providers give it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.embeddings.o1.llm_replies import text_of, usage_of

from o1_retriever.usage import Usage


def response(content: str | None = "Bees.", raw: Any = None, **extra: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", content=content), raw=raw, additional_kwargs=extra)


@pytest.mark.parametrize(
    "reply",
    [
        response(raw={"usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
        response(raw=SimpleNamespace(usage=SimpleNamespace(prompt_tokens=7, completion_tokens=2))),
        response(raw={"usage": SimpleNamespace(input_tokens=7, output_tokens=2)}),
        response(raw={"usage_metadata": {"prompt_token_count": 7, "candidates_token_count": 2}}),
        response(raw={"prompt_eval_count": 7, "eval_count": 2}),
        response(prompt_tokens=7, completion_tokens=2),
        response(raw={"usage": None}, prompt_tokens=7, completion_tokens=2),
    ],
)
def test_tokens_where_providers_put_them(reply: ChatResponse) -> None:
    assert usage_of(reply) == Usage(requests=1, prompt_tokens=7, completion_tokens=2)


@pytest.mark.parametrize("raw", [None, "text", {}, {"usage": {}}, {"usage": {"prompt_tokens": "7"}}, 3])
def test_models_that_do_not_count(raw: Any) -> None:
    assert usage_of(response(raw=raw)) == Usage(requests=1)


@pytest.mark.parametrize(
    ("content", "text"),
    [("Bees. ", "Bees."), (None, None), ("", None), ("<think>Hm.</think>Bees.", "Bees."), ("<think>Hm", None)],
)
def test_texts(content: str | None, text: str | None) -> None:
    assert text_of(response(content)) == text

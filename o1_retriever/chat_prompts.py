"""Conversations as the token ids that a local chat model sees, and its answers as text.

The model's chat template is rendered around placeholders and each message is encoded by itself, by a tokenizer without
special tokens: what a user writes can neither end its message nor open another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from o1_retriever.errors import CheckpointError
from o1_retriever.llm_replies import clean
from o1_retriever.prompts import beginning_of_sequence, plain_tokenizer

_PLACEHOLDER = re.compile(r"\[\[message (\d+)\]\]")


class ChatPrompts:
    """Turns messages into ids and ids into text.

    Args:
        tokenizer: a fast tokenizer; without a chat template the conversation becomes plain text with headings.

    Raises:
        CheckpointError: the tokenizer has no fast backend.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.has_template = bool(tokenizer.chat_template)
        self._plain = plain_tokenizer(tokenizer)
        self._never_text = {int(index) for index in tokenizer.all_special_ids} - {tokenizer.unk_token_id}

    def ids(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The prompt that asks for the next answer.

        Raises:
            CheckpointError: the chat template does not accept the conversation.
        """
        texts = [message["content"] for message in messages]
        if not self.has_template:
            return [*beginning_of_sequence(self.tokenizer), *self._text_ids(_as_text(messages))]
        ids: list[int] = []
        for position, part in enumerate(_PLACEHOLDER.split(self._render(messages))):
            if position % 2:  # the number of a message
                ids += self._text_ids(texts[int(part)])
            elif part:
                ids += self.tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The answer, without special tokens and without the reasoning before it."""
        decoded = str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
        text = clean(decoded)
        return text if self.has_template else text.partition("\n\n")[0].strip()  # what follows continues the pattern

    def _text_ids(self, text: str) -> list[int]:
        ids = self._plain.encode(text, add_special_tokens=False).ids
        return [index for index in ids if index not in self._never_text]

    def _render(self, messages: Sequence[dict[str, str]]) -> str:
        """The chat template around placeholders."""
        turns = [(message["role"], f"[[message {number}]]") for number, message in enumerate(messages)]
        system, *others = turns
        merged = [(others[0][0], f"{system[1]}\n\n{others[0][1]}"), *others[1:]] if others else turns
        try:
            return self._apply(turns)
        except TemplateError:  # some models know no system message
            try:
                return self._apply(merged)
            except TemplateError as error:
                raise CheckpointError(
                    f"The chat template does not accept the conversation ({error}): use a model for chat."
                ) from error

    def _apply(self, turns: Sequence[tuple[str, str]]) -> str:
        conversation = [{"role": role, "content": content} for role, content in turns]
        rendered = self.tokenizer.apply_chat_template(
            conversation,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # for templates of reasoning models; others do not read it
        )
        return str(rendered)


def _as_text(messages: Sequence[dict[str, str]]) -> str:
    """A pattern that a model without chat training continues."""
    headings = {"user": "Query: ", "assistant": "Text: ", "system": ""}
    turns = [headings[message["role"]] + message["content"] for message in messages]
    text = turns[0]
    for message, turn in zip(messages[1:], turns[1:], strict=True):
        text += ("\n" if message["role"] == "assistant" else "\n\n") + turn
    return f"{text}\nText:"

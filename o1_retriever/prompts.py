"""The special tokens and the only templates, as token ids. Training and inference both build their inputs here.

    query            <query>{query}</query><thought>
    query, thinking  <query>{query}</query><thought>{thought}EOS<emb>
    query alone      <query>{query}</query><thought><emb>
    passage          {passage}<emb>

A tokenizer that begins texts with BOS or CLS keeps that habit. Text is encoded by a copy of the tokenizer that knows no
special tokens, so nothing a user writes can become one. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from o1_retriever.errors import CheckpointError, InvalidInputError, InvalidTypeError

QUERY, QUERY_END, THOUGHT, EMB = "<query>", "</query>", "<thought>", "<emb>"
SPECIAL_TOKENS = (QUERY, QUERY_END, THOUGHT, EMB)
QUERY_TEMPLATE = f"{QUERY}{{}}{QUERY_END}{THOUGHT}"
PASSAGE_TEMPLATE = f"{{}}{EMB}"


def check_texts(texts: Sequence[str], kind: str, first: int = 0) -> list[str]:
    """Returns the texts as a list, or says which of them cannot be embedded, counting from `first`.

    Raises:
        InvalidTypeError: something is not a string.
        InvalidInputError: a text is empty, only white space, or holds a lone surrogate.
    """
    for position, text in enumerate(texts, start=first):
        if not isinstance(text, str):
            raise InvalidTypeError(f"{kind} {position} is {type(text).__name__}, not a string: pass str or list[str].")
        if not text.strip():
            raise InvalidInputError(f"{kind} {position} is empty: leave it out, there is nothing to embed.")
        check_encodable(text, f"{kind} {position}")
    return list(texts)


def as_list(texts: str | Sequence[str], kind: str) -> tuple[list[str], bool]:
    """The checked texts, and whether one bare text was given."""
    if isinstance(texts, str):
        return check_texts([texts], kind), True
    if not isinstance(texts, Sequence):
        raise InvalidTypeError(f"{kind}: expected str or a list of str, got {type(texts).__name__}.")
    return check_texts(texts, kind), False


def check_encodable(text: str, label: str) -> None:
    """Raises InvalidInputError for text that no UTF-8 file could hold (lone surrogates)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{label} holds a lone surrogate at character {error.start}: decode it with errors='replace' first."
        ) from error


@dataclass(frozen=True)
class Encoded:
    """Token ids of a batch and how many texts were cut to fit."""

    ids: list[list[int]]
    truncated: int


class PromptBuilder:
    """Turns text into the token ids the model sees.

    Args:
        tokenizer: a fast tokenizer that already holds the four special tokens.

    Raises:
        CheckpointError: the tokenizer has no fast backend, no EOS, or lacks a special token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._plain = plain_tokenizer(tokenizer)
        eos, pad = end_of_sequence(tokenizer), tokenizer.pad_token_id
        self.eos: int = eos
        self.pad: int = eos if pad is None else int(pad)
        query, query_end, thought, self.emb = (self._id_of(token) for token in SPECIAL_TOKENS)
        self._head = [*beginning_of_sequence(tokenizer), query]
        self._tail = [query_end, thought]
        self._passage_head = beginning_of_sequence(tokenizer)
        self.reserved = {int(i) for i in tokenizer.all_special_ids} | {query, query_end, thought, self.emb}
        self._never_text = self.reserved - {tokenizer.unk_token_id}  # an unknown character is text

    def _id_of(self, token: str) -> int:
        index = self.tokenizer.get_vocab().get(token)
        if index is None:
            raise CheckpointError(
                f"The tokenizer lacks {token}: load the checkpoint with o1_retriever.load_checkpoint."
            )
        return int(index)

    @property
    def overhead(self) -> int:
        """Positions that a query prompt needs beside its text and its thought: BOS, the tags, EOS and `<emb>`."""
        return len(self._head) + len(self._tail) + 2

    def text_ids(self, texts: Sequence[str], limit: int) -> Encoded:
        """Encodes bare texts, at most `limit` tokens each."""
        encodings = self._plain.encode_batch(list(texts), add_special_tokens=False)
        rows = [self._without_special(encoding.ids) for encoding in encodings]
        return Encoded([row[:limit] for row in rows], sum(len(row) > limit for row in rows))

    def _without_special(self, ids: list[int]) -> list[int]:
        """A vocabulary may still map literal text to a special id (Unigram pieces): such ids never reach the model."""
        return ids if self._never_text.isdisjoint(ids) else [i for i in ids if i not in self._never_text]

    def queries(self, texts: Sequence[str], limit: int) -> Encoded:
        """`<query>{q}</query><thought>` for each text, the text cut to `limit` tokens."""
        text = self.text_ids(texts, limit)
        return Encoded([[*self._head, *row, *self._tail] for row in text.ids], text.truncated)

    def close(self, prompt: Sequence[int], thought: Sequence[int] | None) -> list[int]:
        """Ends a query prompt with `thought EOS <emb>`, or with `<emb>` alone where there is no thought."""
        return [*prompt, self.emb] if thought is None else [*prompt, *thought, self.eos, self.emb]

    def passages(self, texts: Sequence[str], limit: int) -> Encoded:
        """`{p}<emb>` for each text, at most `limit` positions in all; `<emb>` is never cut."""
        text = self.text_ids(texts, limit - len(self._passage_head) - 1)
        return Encoded([[*self._passage_head, *row, self.emb] for row in text.ids], text.truncated)

    def thought_text(self, ids: Sequence[int]) -> str:
        """The readable text of a thought's token ids."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).strip()


def end_of_sequence(tokenizer: PreTrainedTokenizerBase) -> int:
    """EOS, or `[SEP]` for BERT's vocabulary."""
    for index in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if index is not None:
            return int(index)
    raise CheckpointError("The tokenizer has no EOS token: set tokenizer.eos_token and save it again.")


def beginning_of_sequence(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The BOS or CLS id that the tokenizer itself would begin a text with; empty where it begins with none."""
    first: list[int] = list(tokenizer("a")["input_ids"])[:1]
    begin = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    return first if first and first[0] in begin else []


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the fast tokenizer without added tokens, truncation and padding: safe for user text and for threads."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise CheckpointError("Only fast tokenizers (tokenizer.json) are supported: convert and save the tokenizer.")
    state: dict[str, Any] = json.loads(backend.to_str())
    state.update(added_tokens=[], truncation=None, padding=None, post_processor=None)
    return Tokenizer.from_str(json.dumps(state))

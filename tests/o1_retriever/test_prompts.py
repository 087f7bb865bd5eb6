"""Templates by hand, and text that looks like special tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from o1_retriever import O1Embedder
from o1_retriever.errors import CheckpointError, InvalidInputError, InvalidTypeError
from o1_retriever.prompts import SPECIAL_TOKENS, PromptBuilder, check_texts

Tokenizers = Callable[[str], PreTrainedTokenizerFast]

# The tests' tokenizer: pad, BOS, EOS, 256 bytes ('!' is 3, 'a' is 67, NUL is 191, space is 223), then our four tokens.
BOS, EOS, QUERY, QUERY_END, THOUGHT, EMB = 1, 2, 259, 260, 261, 262
HEADS = {"qwen2": [], "gpt2": [], "llama": [BOS], "mistral": [BOS], "bert": [BOS]}


@pytest.fixture
def builder(family: str, tokenizer_factory: Tokenizers) -> PromptBuilder:
    return PromptBuilder(_with_tokens(tokenizer_factory(family)))


def _with_tokens(tokenizer: PreTrainedTokenizerFast, special: bool = True) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens(list(SPECIAL_TOKENS), special_tokens=special)
    return tokenizer


def test_templates_by_hand(builder: PromptBuilder, family: str) -> None:
    head = HEADS[family]
    prompt = [*head, QUERY, 67, 68, 223, 67, QUERY_END, THOUGHT]
    assert builder.queries(["ab a"], limit=9).ids == [prompt]
    assert builder.close(prompt, [70, 71]) == [*prompt, 70, 71, EOS, EMB]
    assert builder.close(prompt, []) == [*prompt, EOS, EMB]
    assert builder.close(prompt, None) == [*prompt, EMB]
    assert builder.passages(["ab a"], limit=9).ids == [[*head, 67, 68, 223, 67, EMB]]
    assert builder.overhead == len(head) + 5
    assert builder.thought_text([67, 68, EOS]) == "ab"


def test_truncation_cuts_text_only_and_is_counted(builder: PromptBuilder, family: str) -> None:
    head = HEADS[family]
    queries = builder.queries(["abc", "abcd", "abcde"], limit=4)
    assert queries.ids[2] == [*head, QUERY, 67, 68, 69, 70, QUERY_END, THOUGHT]
    assert queries.truncated == 1
    passages = builder.passages(["a" * 4, "a" * 5, "a" * 50], limit=len(head) + 5)
    assert passages.ids == [[*head, 67, 67, 67, 67, EMB]] * 3
    assert passages.truncated == 2


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", [*SPECIAL_TOKENS, "</s>", "<s>", "<pad>", "[SEP]", "<tool>", "a\0b"])
def test_text_is_never_parsed(text: str, special: bool, family: str, tokenizer_factory: Tokenizers) -> None:
    tokenizer = _with_tokens(tokenizer_factory(family), special)
    tokenizer.add_tokens(["<tool>"])
    byte_ids = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=3)}
    expected = [191 if char == "\0" else byte_ids[char] for char in text]
    builder = PromptBuilder(tokenizer)
    head = HEADS[family]
    assert builder.text_ids([text], limit=99).ids == [expected]
    assert builder.queries([text], limit=99).ids == [[*head, QUERY, *expected, QUERY_END, THOUGHT]]
    assert builder.passages([text], limit=99).ids == [[*head, *expected, EMB]]


def test_no_thought_may_hold_our_tokens_even_unmarked(family: str, tokenizer_factory: Tokenizers) -> None:
    builder = PromptBuilder(_with_tokens(tokenizer_factory(family), special=False))
    assert {0, BOS, EOS, QUERY, QUERY_END, THOUGHT, EMB} == builder.reserved


def test_a_vocabulary_that_spells_special_tokens_out() -> None:
    """A Unigram model has `</s>` as a piece of its own: the text `</s>` finds it without any added token."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("a", -1.0), ("b", -1.0)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )
    builder = PromptBuilder(_with_tokens(tokenizer))
    assert builder._plain.encode("a</s>b").ids == [3, 2, 4], "this tokenizer would not show the defect"
    assert builder.text_ids(["a</s>b", "<s>b"], limit=9).ids == [[3, 4], [4]]
    assert builder.text_ids(["a☃b"], limit=9).ids == [[3, 0, 4]], "an unknown character is text and stays"
    assert 0 in builder.reserved, "but no thought may hold it"


def test_the_callers_tokenizer_is_left_alone(tokenizer_factory: Tokenizers) -> None:
    tokenizer = _with_tokens(tokenizer_factory("llama"))
    before = tokenizer.backend_tokenizer.to_str()
    PromptBuilder(tokenizer).passages(["a" * 99], limit=9)
    assert tokenizer.backend_tokenizer.to_str() == before
    assert tokenizer("a<emb>")["input_ids"] == [BOS, 67, EMB]


def test_tokenizers_that_cannot_be_used(tokenizer_factory: Tokenizers) -> None:
    with pytest.raises(CheckpointError, match="lacks <query>"):
        PromptBuilder(tokenizer_factory("qwen2"))
    tokenizer = _with_tokens(tokenizer_factory("qwen2"))
    tokenizer.eos_token = None
    with pytest.raises(CheckpointError, match="no EOS"):
        PromptBuilder(tokenizer)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", ""], InvalidInputError, "query 1 is empty"),
        ([" \n\t"], InvalidInputError, "query 0 is empty"),
        (["a\ud800"], InvalidInputError, "lone surrogate at character 1"),
        (["a", None], InvalidTypeError, "query 1 is NoneType"),
        ([3], InvalidTypeError, "query 0 is int"),
        ([b"a"], InvalidTypeError, "query 0 is bytes"),
    ],
)
def test_texts_that_cannot_be_embedded(texts: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_texts(texts, "query")


def test_a_very_long_query_works_and_is_counted(tiny: O1Embedder) -> None:
    before = tiny.counters["truncated_query"]
    vector = tiny.encode_query("x" * 100_000, num_thoughts=1)
    assert vector.shape == (32,)
    assert tiny.counters["truncated_query"] == before + 1

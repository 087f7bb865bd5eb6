"""Which of an expert's texts can be a thought at all: looked at before anybody votes. Knows texts only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from o1_retriever.errors import MissingDependencyError
from o1_retriever.prompts import SPECIAL_TOKENS

_REFUSAL = re.compile(
    r"^\W*(i['’]?m (very |really )?sorry,? (but|i|that|for the)\b|sorry, (but )?(i|we|as)\b|i apologi[sz]e\b"
    r"|i (can(no|['’])?t|won['’]t|am (not able|unable) to) "
    r"(help (you|with)|assist|answer|provide|fulfil|comply|discuss)"
    r"|as an ai\b|as a (large )?language model|i (do not|don['’]t) have (enough |any )?(information|access|knowledge))",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"<\|[\w ]{1,40}\|>|</?s>|<pad>|\[/?INST\]|" + "|".join(map(re.escape, SPECIAL_TOKENS)))
"""Tokens that steer a model: ours, and those of chat templates."""

CERTAIN = 0.9
"""Probability from which the language of query and positives counts as known."""

FOREIGN = 0.02
"""A text less likely than this to be in that language counts as foreign; others have the benefit of the doubt."""


@dataclass(frozen=True)
class Screened:
    """The candidates that may stand for election.

    Attributes:
        texts: in their order, white space trimmed.
        dropped: reason -> count.
    """

    texts: list[str]
    dropped: Counter[str]


def screen(candidates: Sequence[str], query: str, positives: Sequence[str]) -> Screened:
    """Drops empty and refused texts, repetitions, texts that hold special tokens or are certainly in another language.

    Args:
        candidates: an expert's texts for one query.
        query: theirs.
        positives: texts of its positives; query and positives tell which language is expected.

    >>> screen(["Ada wrote it.", " Ada wrote it. ", "I'm sorry, I cannot help."], "Who wrote it?", []).texts
    ['Ada wrote it.']
    """
    texts: list[str] = []
    dropped: Counter[str] = Counter()
    expected = _language(" ".join([query, *positives]))
    seen: set[str] = set()
    for candidate in candidates:
        text = candidate.strip()
        reason = _reason(text, seen, expected)
        if reason:
            dropped[reason] += 1
        else:
            seen.add(_normal(text))
            texts.append(text)
    return Screened(texts, dropped)


def _reason(text: str, seen: set[str], expected: str | None) -> str | None:
    if not text:
        return "empty"
    if _REFUSAL.match(text):
        return "refused"
    if _CONTROL.search(text) or "\0" in text or not _encodable(text):
        return "special tokens"
    if _normal(text) in seen:
        return "repeated"
    return "another language" if expected and languages(text).get(expected, 0.0) < FOREIGN else None


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def languages(text: str) -> dict[str, float]:
    """ISO 639 codes with the probability that a text is in that language, by py3langid, likeliest first.

    Raises:
        MissingDependencyError: py3langid is not installed.

    >>> next(iter(languages("Der Roman wurde 1818 in London veröffentlicht und gilt als Klassiker.")))
    'de'
    """
    return dict(_identifier().rank(text))


def _language(text: str) -> str | None:
    code, probability = next(iter(languages(text).items()))
    return code if probability >= CERTAIN else None


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingDependencyError("Synthesis needs py3langid: pip install 'o1-retriever[synthesis]'") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

"""One training row: what it may hold, and what is wrong with one that it may not. Knows fields; nothing of files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from o1_retriever.errors import DatasetError, InvalidInputError
from o1_retriever.prompts import check_encodable


@dataclass(frozen=True)
class TrainingRow:
    """One checked row.

    Attributes:
        where: `file:line`, for messages.
        source: the collection it belongs to.
        query: with its prompt before it.
        prompt: the instruction that the query begins with; empty where there is none.
        positives: at least one.
        negatives: perhaps none.
        thoughts: the chosen one first; none trains without a thought.
        positive_scores: of a teacher, one for each positive.
        negative_scores: of a teacher, one for each negative.
        evidence: the thoughts are texts that a search found: embedded, never written.
        target: what the model writes in place of the evidence.
    """

    where: str
    source: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    thoughts: tuple[str, ...]
    positive_scores: tuple[float, ...] | None
    negative_scores: tuple[float, ...] | None
    evidence: bool = False
    target: str = ""
    prompt: str = ""


def parse_row(raw: object, where: str, source: str) -> TrainingRow:
    """A row from its JSON object; fields that training does not know are ignored.

    Args:
        raw: what the line held.
        where: file and line, for messages.
        source: of a row that names none.

    Raises:
        DatasetError: it is none; the message names the field.
    """
    if not isinstance(raw, dict):
        raise DatasetError(f"{where}: expected a JSON object on each line, got {type(raw).__name__}.")
    fields = _Fields(raw, where)
    positives, positive_scores = fields.scored_texts("pos")
    if not positives:
        raise fields.wrong("pos", "has no text: a row needs a positive, remove the row or add one.")
    negatives, negative_scores = fields.scored_texts("neg")
    thoughts, evidence, target = fields.thoughts(), fields.flag("evidence"), fields.text("target")
    if evidence and not thoughts:
        raise fields.wrong("evidence", "is true, but there is no thought: put the text found into 'thought'.")
    if target and not evidence:
        raise fields.wrong(
            "target", "is only for rows with \"evidence\": true: put what is to be written in 'thought'."
        )
    return TrainingRow(
        where,
        fields.text("source") or source,
        fields.query(),
        positives,
        negatives,
        thoughts,
        positive_scores,
        negative_scores,
        evidence,
        target,
        fields.text("prompt"),
    )


class _Fields:
    """The fields of one raw row by type. Null is as good as absent: Arrow fills the gaps of a column with it."""

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self._raw, self._where = raw, where

    def wrong(self, key: str, what: str) -> DatasetError:
        return DatasetError(f"{self._where}: '{key}' {what}")

    def query(self) -> str:
        prompt, query = self.text("prompt"), self.text("query")
        if not query:
            raise self.wrong("query", "is missing or empty: remove the row or give it a query.")
        return f"{prompt} {query}" if prompt else query

    def thoughts(self) -> tuple[str, ...]:
        others = [text for text in self.texts("thoughts") if text.strip()]
        if self._raw.get("thought") is None:
            return tuple(others)
        chosen = self.text("thought")
        # chosen is "" where the query does better alone, whatever thoughts were tried
        return (chosen, *(text for text in others if text != chosen)) if chosen else ()

    def text(self, key: str) -> str:
        """A string; empty where it is absent or blank."""
        value = self._raw.get(key)
        return "" if value is None or not self._checked(value, key).strip() else str(value)

    def texts(self, key: str) -> list[str]:
        values = self._raw.get(key)
        if not isinstance(values, list | None):
            raise self.wrong(key, f"must be a list of strings, got {type(values).__name__}.")
        return [self._checked(value, f"{key}[{position}]") for position, value in enumerate(values or [])]

    def scored_texts(self, key: str) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
        """The texts that are not blank and their teacher scores."""
        texts = self.texts(key)
        scores = self._scores(f"{key}_scores", len(texts))
        kept = [position for position, text in enumerate(texts) if text.strip()]
        return tuple(texts[i] for i in kept), None if scores is None else tuple(scores[i] for i in kept)

    def flag(self, key: str) -> bool:
        value = self._raw.get(key)
        if not isinstance(value, bool | None):
            raise self.wrong(key, f"must be true or false, got {type(value).__name__}.")
        return bool(value)

    def _scores(self, key: str, count: int) -> list[float] | None:
        values = self._raw.get(key)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) != count or not all(map(_is_finite, values)):
            raise self.wrong(key, f"must be a list of {count} finite numbers, one for each text.")
        return [float(value) for value in values]

    def _checked(self, value: object, key: str) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, f"must be a string, got {type(value).__name__}.")
        try:
            check_encodable(value, f"{self._where}: '{key}'")
        except InvalidInputError as error:
            raise DatasetError(str(error)) from error
        return value


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold: not NaN, not 10**400, not true."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

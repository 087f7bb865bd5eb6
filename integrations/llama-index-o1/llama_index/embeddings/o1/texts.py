"""Checks of what callers give to be embedded, and the mean of vectors. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llama_index.core.base.embeddings.base import Embedding

from o1_retriever.errors import InvalidInputError, InvalidTypeError


def unit_mean(embeddings: Sequence[Embedding]) -> Embedding:
    """The mean of vectors, of unit length; vectors that cancel out are an error.

    >>> unit_mean([[1.0, 0.0], [0.0, 1.0]]) == [0.5**0.5, 0.5**0.5]
    True
    """
    if not embeddings:
        raise InvalidInputError("There is no query to embed: pass at least one.")
    mean = np.asarray(embeddings, dtype=np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm == 0.0:
        raise InvalidInputError("The queries' vectors cancel out: embed them one by one.")
    unit: Embedding = (mean / norm).tolist()
    return unit


def check_list(texts: object, kind: str) -> None:
    """A single string would be taken apart into its characters, each of them a text.

    Raises:
        InvalidTypeError: this is no list of texts.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InvalidTypeError(f"{kind} must be a list of texts, got {type(texts).__name__}: {texts!r:.80}.")


def check_not_empty(texts: Sequence[str]) -> None:
    """Names the first text that cannot be embedded, in words that help to find its node.

    Raises:
        InvalidTypeError: something is not a string.
        InvalidInputError: a text is empty or only white space.
    """
    for position, text in enumerate(texts):
        where = f"Text {position + 1} of {len(texts)} in this batch"
        if not isinstance(text, str):
            raise InvalidTypeError(f"{where} is {type(text).__name__}, not a string: {text!r:.80}.")
        if not text.strip():
            before = f", right after {texts[position - 1][:60]!r}," if position else ""
            raise InvalidInputError(
                f"{where}{before} is empty: there is nothing to embed. "
                "Leave such nodes out: [d for d in documents if d.text.strip()]."
            )

"""BM25 by bm25s (Lucene's variant): k1 0.9, b 0.4, lower case, English stop words left out, no stemming."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import MissingDependencyError

K1, B = 0.9, 0.4
DESCRIPTION = f"bm25s, k1 {K1}, b {B}, lower case, English stop words left out, no stemming"


def load_bm25s() -> Any:
    """The library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependencyError("BM25 needs bm25s: pip install 'o1-retriever[synthesis]'") from error
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it turns its own debugging messages on
    return bm25s


class LexicalIndex:
    """Passages searchable by their words.

    Args:
        passages: N texts.

    Raises:
        MissingDependencyError: bm25s is not installed.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._bm25s = load_bm25s()
        self._passages = len(passages)
        self._index = self._bm25s.BM25(k1=K1, b=B)
        self._index.index(self._tokens(passages), show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores (B, k) and passage indices (B, k), best first; k is cut to N."""
        found = self._index.retrieve(self._tokens(queries), k=min(k, self._passages), show_progress=False)
        return np.asarray(found.scores, dtype=np.float32), np.asarray(found.documents, dtype=np.int64)

    def scores(self, query: str) -> NDArray[np.float32]:
        """(N,) the score of every passage; 0 where no word is shared."""
        words = self._bm25s.tokenize([query], stopwords="english", return_ids=False, show_progress=False)[0]
        known = [word for word in words if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._passages, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self._bm25s.tokenize(list(texts), stopwords="english", show_progress=False)

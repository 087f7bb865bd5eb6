"""Measures of a run, query by query: nDCG@10 and recall@10 by ir-measures, all@5 by ours."""

from __future__ import annotations

from collections.abc import Sequence

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from numpy.typing import NDArray

from o1_eval.runs import ranking
from o1_retriever.beir import Qrels
from o1_retriever.metrics import all_at_k
from o1_retriever.search import Run

NDCG, RECALL, ALL = "nDCG@10", "R@10", "all@5"
MEASURES = (NDCG, RECALL, ALL)
DEPTH = 10
_BY_NAME = {NDCG: nDCG @ 10, RECALL: R @ 10}

QueryScores = dict[str, NDArray[np.float64]]
"""measure -> (B,) values, in the order of the query ids that were asked for."""


def score(run: Run, qrels: Qrels, query_ids: Sequence[str]) -> QueryScores:
    """Values of every measure for every query; a query for which nothing was found counts 0.

    Args:
        run: may hold further queries.
        qrels: holds every one of `query_ids`.
        query_ids: B ids.
    """
    asked = {query: qrels[query] for query in query_ids}
    found = {query: run[query] for query in query_ids if run.get(query)}
    position = {query: index for index, query in enumerate(query_ids)}
    scores: QueryScores = {name: np.zeros(len(query_ids)) for name in MEASURES}
    name_of = {measure: name for name, measure in _BY_NAME.items()}
    for value in ir_measures.iter_calc(list(name_of), asked, found) if found else ():
        scores[name_of[value.measure]][position[value.query_id]] = value.value
    for query, passages in found.items():
        scores[ALL][position[query]] = all_at_k(ranking(passages), qrels[query], 5)
    return scores

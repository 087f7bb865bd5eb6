"""What a step minimises, from vectors and facts: the embedding terms, and the weights of all. Knows no model.

total = w * contrastive + no_thought_weight * no_thought + matching_weight * matching + ...
(the generation terms are added where the logits are).
"""

from __future__ import annotations

import torch
from torch import Tensor

from o1_retriever.training import losses
from o1_retriever.training.batch import GroupFacts
from o1_retriever.training.config import LossSettings
from o1_retriever.training.joint import Vectors


def embedding_terms(vectors: Vectors, facts: GroupFacts, settings: LossSettings) -> dict[str, Tensor]:
    """The mean of every embedding term that has a weight.

    Args:
        vectors: B queries, B * N passages (query-major, the positive first), B bare queries.
        facts: of the B groups.
        settings: weights, temperature, masking.

    Returns:
        scalars under "contrastive", "no_thought", "matching", "teacher_passage", "teacher_query", "teacher_own",
        "teacher_thought", "distillation".
    """
    terms: dict[str, Tensor] = {}
    if vectors.passages is None:
        return terms
    if settings.contrastive_weight > 0:
        terms["contrastive"] = _contrastive(vectors.queries, vectors.passages, facts, settings)
    if settings.no_thought_weight > 0 and vectors.bare is not None:
        terms["no_thought"] = _contrastive(vectors.bare, vectors.passages, facts, settings)
    if settings.matching_weight > 0 and vectors.bare is not None:
        terms["matching"] = losses.vector_distillation(vectors.bare, vectors.queries).mean()
    if settings.teacher_passage_weight > 0 and facts.teacher_passages is not None:
        far = losses.vector_distillation(vectors.passages, facts.teacher_passages)
        terms["teacher_passage"] = far[facts.real.reshape(-1)].mean()
    if settings.teacher_query_weight > 0 and facts.teacher_queries is not None and vectors.bare is not None:
        terms["teacher_query"] = losses.vector_distillation(vectors.bare, facts.teacher_queries).mean()
    if settings.teacher_own_weight > 0 and facts.teacher_queries is not None:
        terms["teacher_own"] = _mean_distance(vectors.queries, facts.teacher_queries, facts.own)
    if settings.teacher_thought_weight > 0 and facts.teacher_thoughts is not None:
        terms["teacher_thought"] = _mean_distance(vectors.queries, facts.teacher_thoughts, facts.given)
    if settings.distillation_weight > 0:
        terms["distillation"] = _distillation(vectors.queries, vectors.passages, facts, settings)
    return terms


def weighted(terms: dict[str, Tensor], settings: LossSettings) -> Tensor:
    """The sum of the terms, each times its weight."""
    weights = {
        "contrastive": settings.contrastive_weight,
        "generation": 1 - settings.contrastive_weight,
        "passage_generation": settings.passage_generation_weight,
        "no_thought": settings.no_thought_weight,
        "matching": settings.matching_weight,
        "teacher_passage": settings.teacher_passage_weight,
        "teacher_query": settings.teacher_query_weight,
        "teacher_own": settings.teacher_own_weight,
        "teacher_thought": settings.teacher_thought_weight,
        "distillation": settings.distillation_weight,
    }
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def excluded(scores: Tensor, positives: Tensor, facts: GroupFacts, margin: float | None) -> Tensor:
    """(B, P) passages that are no negatives: fillers, the query's other positives, likely false negatives."""
    known = ~facts.real.reshape(-1)[None] | losses.known_passages(facts.identities.reshape(-1), facts.known, positives)
    return known if margin is None else known | losses.false_negatives(scores, positives, margin)


def _contrastive(queries: Tensor, passages: Tensor, facts: GroupFacts, settings: LossSettings) -> Tensor:
    positives = torch.arange(len(queries), device=queries.device) * facts.real.shape[1]
    with torch.no_grad():
        mask = excluded(queries @ passages.T, positives, facts, settings.false_negative_margin)
    return losses.info_nce(queries, passages, positives, settings.temperature, mask).mean()


def _mean_distance(vectors: Tensor, teacher: Tensor, chosen: Tensor) -> Tensor:
    """Of the chosen (B,) of (B, D) vectors to the teacher's; 0 where none is chosen."""
    return (losses.vector_distillation(vectors, teacher) * chosen).sum() / chosen.sum().clamp(min=1)


def _distillation(queries: Tensor, passages: Tensor, facts: GroupFacts, settings: LossSettings) -> Tensor:
    """The mean over the groups that have teacher scores; 0 where none has."""
    has = ~facts.scores.isnan().any(dim=1)
    size = facts.real.shape[1]
    student = torch.einsum("bd,bnd->bn", queries, passages.reshape(len(queries), size, -1))
    if not has.any():
        return student.sum() * 0.0
    return losses.score_distillation(
        student[has], facts.scores[has], settings.temperature, settings.teacher_temperature, ~facts.real[has]
    ).mean()

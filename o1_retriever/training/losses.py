"""The training objectives as pure functions of tensors. They know nothing of models, data or processes.

    info_nce              query vectors find their passages            (O1 Embedder, https://arxiv.org/abs/2502.07555)
    thought_nll           thoughts are imitated                        (the same)
    joint                 both at once                                 (the same)
    score_distillation    a teacher's ranking of a group of passages   (Hinton et al., https://arxiv.org/abs/1503.02531)
    vector_distillation   a teacher's vectors
    false_negatives       which passages are too good to be negatives  (NV-Retriever, https://arxiv.org/abs/2407.15831)
    known_passages        which passages are known to be right

Shapes: B queries, P passages, N passages of a group, D dimensions, L labelled tokens, V vocabulary. Losses are in nats
and come per query or token, so that the caller decides how to average them. Everything is computed in float32, whatever
the inputs are and under autocast too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div

from o1_retriever.errors import InvalidInputError

_OUT = torch.finfo(torch.float32).min
"""Logit of what takes no part: probability and gradient are exactly 0, and unlike with -inf no difference is NaN."""


def info_nce(
    queries: Tensor, passages: Tensor, positives: Tensor, temperature: float, excluded: Tensor | None = None
) -> Tensor:
    """How surely each query picks its positive among all passages (the paper's contrastive loss; there t is 0.02).

        loss_i = -log( exp(s_i+ / t) / sum_j exp(s_ij / t) ),   s_ij = q_i . p_j

    Args:
        queries: (B, D) unit vectors.
        passages: (P, D) unit vectors: in-batch, hard negatives and those gathered from other processes.
        positives: (B,) index of each query's positive among the P.
        temperature: t > 0, in units of cosine similarity.
        excluded: (B, P) bool, passages that are no negatives of the query: padding, known positives, false negatives.
            The positive stays in whatever this says of it.

    Returns:
        (B,) float32.

    Raises:
        InvalidInputError: a shape is wrong in a way that broadcasting would hide.

    >>> vectors = torch.eye(2)
    >>> info_nce(vectors, vectors, torch.tensor([0, 1]), temperature=1.0)  # log(1 + e^-1)
    tensor([0.3133, 0.3133])
    """
    _check_shape("positives", positives, queries.shape[:1])
    with torch.autocast(queries.device.type, enabled=False):  # it would multiply in half precision
        logits = queries.float() @ passages.float().T / temperature
    if excluded is not None:
        _check_shape("excluded", excluded, logits.shape)
        logits = logits.masked_fill(_without_positives(excluded, positives), _OUT)
    return -_pick(torch.log_softmax(logits, dim=-1), positives)


def thought_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of each token of a thought (the paper's behaviour cloning): -log softmax(logits)[label].

    Args:
        logits: (L, V) only at the positions that predict a token of a thought or its EOS.
        labels: (L,) those tokens. There is no index to ignore: what is not to be learnt is not passed.

    Returns:
        (L,) float32.

    Raises:
        InvalidInputError: there is not one label for each row of logits.

    >>> thought_nll(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # log(2)
    tensor([0.6931])
    """
    _check_shape("labels", labels, logits.shape[:1])
    return -_pick(torch.log_softmax(logits, dim=-1, dtype=torch.float32), labels)


def score_distillation(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    teacher_temperature: float = 1.0,
    excluded: Tensor | None = None,
) -> Tensor:
    """How far the student's ranking of a group is from the teacher's (Hinton et al., section 2, as KL divergence).

        loss_i = KL( softmax(teacher_i / tt) || softmax(student_i / t) )

    Not multiplied by a temperature squared. No gradient reaches the teacher.

    Args:
        student: (B, N) cosine similarities of each query to the passages of its group.
        teacher: (B, N) the teacher's scores of the same, in the teacher's own unit.
        temperature: t > 0, in units of cosine similarity.
        teacher_temperature: tt > 0, in the teacher's unit.
        excluded: (B, N) bool, entries that take no part in either softmax. A group without any others gives 0.

    Returns:
        (B,) float32.

    Raises:
        InvalidInputError: a shape is wrong in a way that broadcasting would hide.

    >>> score_distillation(torch.tensor([[0.02, 0.04]]), torch.tensor([[1.0, 2.0]]), temperature=0.02)
    tensor([0.])
    """
    _check_shape("teacher", teacher, student.shape)
    wanted, given = teacher.detach().float() / teacher_temperature, student.float() / temperature
    if excluded is not None:
        _check_shape("excluded", excluded, student.shape)
        wanted, given = wanted.masked_fill(excluded, _OUT), given.masked_fill(excluded, _OUT)
    wanted, given = torch.log_softmax(wanted, dim=-1), torch.log_softmax(given, dim=-1)
    return kl_div(given, wanted, reduction="none", log_target=True).sum(dim=-1)


def vector_distillation(vectors: Tensor, teacher: Tensor) -> Tensor:
    """How far each vector points from the teacher's: 1 - cos(v_i, t_i), between 0 and 2.

    No gradient reaches the teacher.

    Args:
        vectors: (B, D), any length.
        teacher: (B, D), any length.

    Returns:
        (B,) float32.

    Raises:
        InvalidInputError: the two shapes differ.

    >>> vector_distillation(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.])
    """
    _check_shape("teacher", teacher, vectors.shape)
    return 1.0 - cosine_similarity(vectors.float(), teacher.detach().float(), dim=-1)


def joint(contrastive: Tensor, generation: Tensor, contrastive_weight: float) -> Tensor:
    """The paper's joint objective: w contrastive + (1 - w) generation; w is 0.8 in the authors' settings.

    With weight 1 or 0 the other term takes no part at all, neither its value nor its gradient: it may be NaN.

    Args:
        contrastive: the contrastive loss, averaged.
        generation: the thoughts' loss, averaged, of the same shape.
        contrastive_weight: w, from 0 to 1.

    Returns:
        float32, of the terms' shape.

    Raises:
        InvalidInputError: the terms that are to be added have different shapes.

    >>> joint(torch.tensor(1.0), torch.tensor(6.0), contrastive_weight=0.8)
    tensor(2.)
    """
    if contrastive_weight == 1.0:
        return contrastive.float()
    if contrastive_weight == 0.0:
        return generation.float()
    _check_shape("generation", generation, contrastive.shape)
    return contrastive_weight * contrastive.float() + (1.0 - contrastive_weight) * generation.float()


def false_negatives(scores: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Passages too close to the query to be called negatives: s_ij > s_i+ + margin.

    With a negative margin this is the TopK-MarginPos of NV-Retriever (https://arxiv.org/abs/2407.15831).

    Args:
        scores: (B, P) similarities.
        positives: (B,) index of each query's positive among the P.
        margin: in the scores' unit.

    Returns:
        (B, P) bool, False at the positive itself: what `info_nce` takes as excluded.

    Raises:
        InvalidInputError: there is not one positive for each query.

    >>> false_negatives(torch.tensor([[0.5, 0.9, 0.55]]), torch.tensor([0]), margin=0.1)
    tensor([[False,  True, False]])
    """
    _check_shape("positives", positives, scores.shape[:1])
    values = scores.float()
    return _without_positives(values > _pick(values, positives)[:, None] + margin, positives)


def known_passages(ids: Tensor, known: Tensor, positives: Tensor) -> Tensor:
    """Passages that are known to be right for the query: copies of its positive, and its other positives.

    Args:
        ids: (P,) integers, equal where the texts are.
        known: (B, K) those of each query's positive texts, in any order and number of times.
        positives: (B,) index of each query's positive among the P.

    Returns:
        (B, P) bool, False at the positive itself: what `info_nce` takes as excluded.

    >>> known_passages(torch.tensor([7, 8, 7]), torch.tensor([[7], [8]]), torch.tensor([0, 1]))
    tensor([[False, False,  True],
            [False, False, False]])
    """
    marked = torch.zeros(len(known), len(ids), dtype=torch.bool, device=ids.device)
    for column in known.T:  # one at a time: (B, P, K) would be large
        marked |= column[:, None] == ids
    return _without_positives(marked, positives)


def _pick(values: Tensor, columns: Tensor) -> Tensor:
    """(R,) the entry of each row of (R, C) that its column index names."""
    return values.gather(1, columns[:, None])[:, 0]


def _without_positives(marked: Tensor, positives: Tensor) -> Tensor:
    """(B, P) marked, but False at each row's positive."""
    return marked.scatter(1, positives[:, None], False)


def _check_shape(name: str, tensor: Tensor, expected: torch.Size) -> None:
    if tensor.shape != expected:
        raise InvalidInputError(f"{name} must be of shape {tuple(expected)}, got {tuple(tensor.shape)}.")

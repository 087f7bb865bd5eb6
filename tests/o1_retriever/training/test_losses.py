"""Losses against values and gradients worked out by hand, and against plain loops over floats."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from o1_retriever.errors import InvalidInputError
from o1_retriever.training import losses
from o1_retriever.training.losses import (
    false_negatives,
    info_nce,
    joint,
    known_passages,
    score_distillation,
    thought_nll,
    vector_distillation,
)

HALVES = [torch.float16, torch.bfloat16]


def unit(rows: int, dimensions: int, seed: int) -> Tensor:
    noise = torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))
    return noise / noise.norm(dim=-1, keepdim=True)


def softmax(values: Sequence[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def close(tensor: Tensor, expected: object, absolute: float = 1e-6) -> None:
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=absolute)


# info_nce


def plain_info_nce(
    queries: Tensor, passages: Tensor, positives: Sequence[int], temperature: float, excluded: Tensor
) -> list[float]:
    result = []
    for i, positive in enumerate(positives):
        scores = [sum(a * b for a, b in zip(queries[i].tolist(), p.tolist(), strict=True)) for p in passages]
        kept = [j for j in range(len(scores)) if j == positive or not excluded[i, j]]
        total = sum(math.exp(scores[j] / temperature) for j in kept)
        result.append(-math.log(math.exp(scores[positive] / temperature) / total))
    return result


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_info_nce_is_the_plain_loop(temperature: float) -> None:
    queries, passages, positives = unit(3, 5, seed=0), unit(7, 5, seed=1), [4, 0, 4]
    excluded = torch.rand(3, 7, generator=torch.Generator().manual_seed(2)) < 0.4
    nothing = torch.zeros_like(excluded)
    with_all = info_nce(queries, passages, torch.tensor(positives), temperature)
    close(with_all, plain_info_nce(queries, passages, positives, temperature, nothing), absolute=1e-5)
    with_some = info_nce(queries, passages, torch.tensor(positives), temperature, excluded)
    close(with_some, plain_info_nce(queries, passages, positives, temperature, excluded), absolute=1e-5)
    assert (with_some < with_all - 1e-6).any()


def test_info_nce_by_hand() -> None:
    """Scores (0.6, 0.8) and (1, 0), t = 0.5: exp of (1.2, 1.6) and (2, 0)."""
    queries, passages = torch.tensor([[0.6, 0.8], [1.0, 0.0]]), torch.eye(2)
    loss = info_nce(queries, passages, torch.tensor([0, 0]), temperature=0.5)
    close(loss, [math.log(1 + math.exp(0.4)), math.log(1 + math.exp(-2.0))])


def test_info_nce_gradient_by_hand() -> None:
    """d loss_i / d s_ij = (softmax_ij - [j = positive]) / t; s = q p^T carries it to both sides."""
    queries = torch.tensor([[0.6, 0.8], [1.0, 0.0]], requires_grad=True)
    passages = torch.eye(2, requires_grad=True)
    info_nce(queries, passages, torch.tensor([1, 0]), temperature=0.5).sum().backward()
    first, second = softmax([1.2, 1.6]), softmax([2.0, 0.0])
    by_score = [[first[0] / 0.5, (first[1] - 1) / 0.5], [(second[0] - 1) / 0.5, second[1] / 0.5]]
    assert queries.grad is not None and passages.grad is not None
    close(queries.grad, by_score)  # the passages are the unit matrix
    (a, b), (c, d) = by_score
    close(passages.grad, [[0.6 * a + c, 0.8 * a], [0.6 * b + d, 0.8 * b]])


def test_info_nce_excluding_is_removing_also_for_the_gradient() -> None:
    queries, passages = unit(2, 4, seed=3).requires_grad_(), unit(5, 4, seed=4).requires_grad_()
    excluded = torch.tensor([[False, True, False, True, False]]).expand(2, 5)
    masked = info_nce(queries, passages, torch.tensor([0, 4]), 0.1, excluded)
    removed = info_nce(queries, passages[[0, 2, 4]], torch.tensor([0, 2]), 0.1)
    torch.testing.assert_close(masked, removed)
    by_masking = torch.autograd.grad(masked.sum(), [queries, passages])
    by_removing = torch.autograd.grad(removed.sum(), [queries, passages])
    torch.testing.assert_close(by_masking, by_removing)
    assert (by_masking[1][[1, 3]] == 0).all() and (by_masking[1][[0, 2, 4]] != 0).all()


def test_info_nce_excludes_for_each_query_apart() -> None:
    """Scores 1, 0, 0 and 0, 1, 0: the first query has two negatives, the second one."""
    excluded = torch.tensor([[False, False, False], [True, False, False]])
    loss = info_nce(torch.eye(3)[:2], torch.eye(3), torch.tensor([0, 1]), 1.0, excluded)
    close(loss, [math.log(1 + 2 / math.e), math.log(1 + 1 / math.e)])


def test_info_nce_keeps_the_positive() -> None:
    """The mask covers the positive (of the second query: everything) and is itself left as it was."""
    queries = torch.eye(2, requires_grad=True)
    excluded = torch.tensor([[True, False], [True, True]])
    loss = info_nce(queries, torch.eye(2), torch.tensor([0, 1]), 1.0, excluded)
    close(loss, [math.log(1 + math.exp(-1)), 0.0])
    loss.sum().backward()
    p = 1 / (1 + math.exp(-1))
    assert queries.grad is not None
    close(queries.grad, [[p - 1, 1 - p], [0.0, 0.0]])
    assert excluded.tolist() == [[True, False], [True, True]]


def test_info_nce_extremes() -> None:
    """Cosines 1 and -1 at t = 0.02 are 100 nats apart: e^50 overflows nothing, the wrong way costs exactly 100."""
    queries = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    passages = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = info_nce(queries, passages, torch.tensor([0, 1]), temperature=0.02)
    close(loss, [0.0, 100.0])
    loss.sum().backward()
    assert queries.grad is not None
    close(queries.grad, [[0.0, 0.0], [100.0, 0.0]])  # (p_0 - p_1) / t, the sum over both passages


def test_info_nce_of_equal_passages_is_the_logarithm_of_their_number() -> None:
    loss = info_nce(unit(1, 3, seed=5), unit(1, 3, seed=6).expand(9, 3), torch.tensor([7]), temperature=0.02)
    close(loss, [math.log(9)])


def test_info_nce_does_not_depend_on_the_order_of_passages() -> None:
    queries, passages, positives = unit(3, 6, seed=7), unit(8, 6, seed=8), torch.tensor([1, 5, 6])
    order = torch.tensor([3, 1, 7, 0, 6, 2, 5, 4])
    moved = torch.tensor([order.tolist().index(positive) for positive in positives.tolist()])
    torch.testing.assert_close(
        info_nce(queries, passages[order], moved, 0.1), info_nce(queries, passages, positives, 0.1)
    )


# thought_nll


def test_thought_nll_by_hand() -> None:
    logits = torch.tensor([[math.log(1), math.log(2), math.log(5)], [0.0, 0.0, 0.0]], requires_grad=True)
    loss = thought_nll(logits, torch.tensor([1, 2]))
    close(loss, [math.log(8 / 2), math.log(3)])
    (loss * torch.tensor([1.0, 3.0])).sum().backward()
    assert logits.grad is not None
    close(logits.grad, [[1 / 8, 2 / 8 - 1, 5 / 8], [1.0, 1.0, 1.0 - 3.0]])


def test_thought_nll_is_the_plain_loop() -> None:
    logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(0)) * 3
    labels = [0, 10, 3, 3, 7, 1]
    expected = [-math.log(softmax(row)[label]) for row, label in zip(logits.tolist(), labels, strict=True)]
    close(thought_nll(logits, torch.tensor(labels)), expected)


def test_thought_nll_extremes() -> None:
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    loss = thought_nll(logits, torch.tensor([0, 1]))
    close(loss, [0.0, 2e4])
    loss.sum().backward()
    assert logits.grad is not None
    close(logits.grad, [[0.0, 0.0], [1.0, -1.0]])


def test_thought_nll_ignores_no_index() -> None:
    """cross_entropy would return 0 for -100, and the average over L would be too small."""
    with pytest.raises((IndexError, RuntimeError)):
        thought_nll(torch.zeros(2, 3), torch.tensor([0, -100]))


def test_thought_nll_of_no_tokens() -> None:
    assert thought_nll(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)


# score_distillation


def plain_kl(wanted: Sequence[float], given: Sequence[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(wanted, given, strict=True))


def test_score_distillation_is_the_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.rand(4, 6, generator=generator), torch.randn(4, 6, generator=generator) * 4
    excluded = torch.rand(4, 6, generator=generator) < 0.3
    expected = []
    for i in range(4):
        kept = [j for j in range(6) if not excluded[i, j]]
        wanted = softmax([teacher[i, j].item() / 2.0 for j in kept])
        expected.append(plain_kl(wanted, softmax([student[i, j].item() / 0.05 for j in kept])))
    close(score_distillation(student, teacher, 0.05, 2.0, excluded), expected, absolute=1e-5)


def test_score_distillation_by_hand() -> None:
    """Teacher 3:1, student even. KL is not symmetric: the other direction would be log(4/3) / 2 + 0 = 0.1438."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]], requires_grad=True)
    student = torch.tensor([[0.3, 0.3]], requires_grad=True)
    loss = score_distillation(student, teacher, temperature=0.02, teacher_temperature=2.0)
    close(loss, [0.75 * math.log(1.5) + 0.25 * math.log(0.5)])
    loss.sum().backward()
    assert student.grad is not None
    close(student.grad, [[(0.5 - 0.75) / 0.02, (0.5 - 0.25) / 0.02]], absolute=1e-4)  # (q - p) / t
    assert teacher.grad is None


def test_score_distillation_ignores_what_both_scores_have_in_common() -> None:
    student, teacher = torch.tensor([[0.1, 0.5, -0.3]]), torch.tensor([[2.0, -1.0, 4.0]])
    expected = score_distillation(student, teacher, 0.1)
    assert expected.item() > 0.1
    torch.testing.assert_close(score_distillation(student + 0.2, teacher - 7.0, 0.1), expected)
    close(score_distillation(teacher * 0.1 + 3.0, teacher, 0.1), [0.0])


def test_score_distillation_excluding_is_removing_whatever_the_entries_hold() -> None:
    student = torch.tensor([[0.1, 0.9, 0.4], [0.3, 0.2, -0.8]], requires_grad=True)
    teacher = torch.tensor([[1.0, float("nan"), 3.0], [0.0, float("inf"), 2.0]])
    excluded = torch.tensor([[False, True, False]]).expand(2, 3)
    masked = score_distillation(student, teacher, 0.02, excluded=excluded)
    removed = score_distillation(student[:, [0, 2]], teacher[:, [0, 2]], 0.02)
    torch.testing.assert_close(masked, removed)
    (by_masking,) = torch.autograd.grad(masked.sum(), student)
    (by_removing,) = torch.autograd.grad(removed.sum(), student)
    torch.testing.assert_close(by_masking, by_removing)
    assert (by_masking[:, 1] == 0).all() and (by_masking[:, 0] != 0).all()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_score_distillation_of_an_empty_group_is_zero_and_moves_nothing() -> None:
    student = torch.tensor([[0.1, 0.9], [0.0, 0.0]], requires_grad=True)
    excluded = torch.tensor([[True, True], [False, False]])
    with torch.autograd.detect_anomaly(check_nan=True):
        loss = score_distillation(student, torch.tensor([[5.0, 1.0], [math.log(3), 0.0]]), 1.0, excluded=excluded)
        loss.sum().backward()
    close(loss, [0.0, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)])
    assert student.grad is not None
    close(student.grad, [[0.0, 0.0], [-0.25, 0.25]])


def test_score_distillation_extremes() -> None:
    """Both are certain, the student of the wrong one: p = (1, 0), log q = (-100, 0)."""
    student = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    loss = score_distillation(student, torch.tensor([[500.0, -500.0]]), temperature=0.02)
    close(loss, [100.0])
    loss.sum().backward()
    assert student.grad is not None
    close(student.grad, [[-50.0, 50.0]])


# vector_distillation


def test_vector_distillation_by_hand() -> None:
    """cos((3, 4), (1, 0)) = 0.6 and d cos / d v = (t - cos v/|v|) / |v| = ((1, 0) - 0.6 (0.6, 0.8)) / 5."""
    vectors = torch.tensor([[3.0, 4.0], [2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0], [-7.0, 0.0], [0.0, 0.5]], requires_grad=True)
    loss = vector_distillation(vectors, teacher)
    close(loss, [0.4, 2.0, 0.0])
    loss.sum().backward()
    assert vectors.grad is not None
    close(vectors.grad, [[-(1 - 0.36) / 5, 0.48 / 5], [0.0, 0.0], [0.0, 0.0]])
    assert teacher.grad is None


# joint


def test_joint_by_hand() -> None:
    contrastive, generation = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    loss = joint(contrastive, generation, 0.8)
    close(loss, 0.8 * 2 + 0.2 * 5)
    loss.backward()
    assert contrastive.grad is not None and generation.grad is not None
    close(contrastive.grad, 0.8)
    close(generation.grad, 0.2)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 2.0), (1, 2.0), (0.0, 5.0), (0, 5.0)])
def test_joint_keeps_out_a_nan_that_has_no_weight(weight: float, expected: float) -> None:
    good = torch.tensor(expected, requires_grad=True)
    bad = torch.tensor(-1.0, requires_grad=True)
    nan = bad.sqrt()  # its gradient is NaN as well, and 0 * NaN is NaN
    loss = joint(good, nan, weight) if weight else joint(nan, good, weight)
    close(loss, expected)
    loss.backward()
    assert good.grad is not None and bad.grad is None
    close(good.grad, 1.0)


def test_joint_shows_a_nan_that_has_weight() -> None:
    assert joint(torch.tensor(1.0), torch.tensor(float("nan")), 0.999).isnan()


# masks


def test_false_negatives_by_hand() -> None:
    """Thresholds 0.5 + 0.125 and 0.75 + 0.125; what lies exactly at one is still a negative."""
    scores = torch.tensor([[0.5, 0.625, 0.75, 0.1], [0.9, 0.8, 0.75, 0.88]], requires_grad=True)
    marked = false_negatives(scores, torch.tensor([0, 2]), margin=0.125)
    assert marked.tolist() == [[False, False, True, False], [True, False, False, True]]
    assert not marked.requires_grad


def test_false_negatives_spare_the_positive_with_a_negative_margin() -> None:
    scores = torch.tensor([[0.5, 0.45, 0.35]])
    assert false_negatives(scores, torch.tensor([0]), margin=-0.1).tolist() == [[False, True, False]]


@pytest.mark.parametrize("dtype", HALVES)
def test_false_negatives_add_the_margin_in_float32(dtype: torch.dtype) -> None:
    """In half precision 0.5 + 9/10 of the last digit is the next number above, here the other passage's score."""
    above = torch.nextafter(torch.tensor(0.5, dtype=dtype), torch.tensor(1.0, dtype=dtype)).item()
    scores = torch.tensor([[0.5, above]], dtype=dtype)
    almost = (above - 0.5) * 0.9
    assert false_negatives(scores, torch.tensor([0]), margin=almost).tolist() == [[False, True]]


def test_known_passages_by_hand() -> None:
    """Query 0 knows text 4; query 1 knows 9 and 1, of which 9 is its positive; query 2 knows 1 alone."""
    known = torch.tensor([[4, 4], [1, 9], [1, 1]])
    marked = known_passages(torch.tensor([4, 9, 4, 4, 9, 1]), known, torch.tensor([2, 1, 5]))
    assert marked.int().tolist() == [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]


def test_known_passages_can_be_told_apart_beyond_float_precision() -> None:
    ids = torch.tensor([2**62, 2**62 + 1, 2**62])
    assert known_passages(ids, ids[:1, None], torch.tensor([0])).tolist() == [[False, False, True]]


def test_the_masks_together_leave_the_loss_over_true_negatives() -> None:
    """Passages: positive, its copy, a better one, a negative. What is left: cosines 0.6 and 0."""
    queries, positives = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    passages = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.96, 0.28], [0.0, 1.0]])
    excluded = known_passages(torch.tensor([3, 3, 5, 6]), torch.tensor([[3]]), positives)
    excluded |= false_negatives(queries @ passages.T, positives, margin=0.1)
    close(info_nce(queries, passages, positives, 0.5, excluded), [math.log(1 + math.exp(-1.2))])


# all of them

ROWS = torch.tensor([0, 1])
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info_nce": lambda a, b: info_nce(a, b, ROWS, 0.02),
    "thought_nll": lambda a, _: thought_nll(a, ROWS),
    "score_distillation": lambda a, b: score_distillation(a, b, 0.02),
    "vector_distillation": vector_distillation,
    "joint": lambda a, b: joint(a, b, 0.8),
    "joint, first term": lambda a, b: joint(a, b, 1.0),
    "joint, second term": lambda a, b: joint(b, a, 0.0),
}


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_float32_inside_whatever_comes_in(name: str, dtype: torch.dtype) -> None:
    """The inputs lose digits, the computation does not; gradients go back in the inputs' type."""
    a, b = unit(2, 16, seed=9).to(dtype).requires_grad_(), unit(2, 16, seed=10).to(dtype)
    loss = LOSSES[name](a, b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](a.float(), b.float()), rtol=0, atol=0)
    loss.sum().backward()
    assert a.grad is not None and a.grad.dtype == dtype and a.grad.isfinite().all() and a.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_float32_inside_under_autocast(name: str) -> None:
    a, b = unit(2, 16, seed=9), unit(2, 16, seed=10)
    expected = LOSSES[name](a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(LOSSES[name](a, b), expected, rtol=0, atol=0)


TWO, ONE = torch.zeros(2, 3), torch.zeros(1, 3)
MASK = torch.zeros(1, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "call",
    [
        lambda: info_nce(TWO, torch.eye(3), ROWS[:1], 1.0),
        lambda: info_nce(TWO, torch.eye(3), ROWS, 1.0, MASK[0]),
        lambda: info_nce(ONE, torch.eye(3), ROWS[:1], 1.0, MASK.expand(2, 3)),
        lambda: thought_nll(TWO, ROWS[:1]),
        lambda: score_distillation(TWO, ONE, 1.0),
        lambda: score_distillation(TWO, TWO, 1.0, excluded=MASK),
        lambda: vector_distillation(TWO, ONE),
        lambda: joint(torch.zeros(2), torch.zeros(()), 0.5),
        lambda: false_negatives(TWO, ROWS[:1], 0.0),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call: Callable[[], Tensor]) -> None:
    with pytest.raises(InvalidInputError, match="must be of shape"):
        call()


def test_the_examples_in_the_docstrings() -> None:
    result = doctest.testmod(losses)
    assert result.attempted > 0 and result.failed == 0

"""Norms, distances and losses: by their definitions, pair by pair."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch

from tests.table.counting import (
    Number,
    above,
    equal,
    exp,
    greatest,
    larger,
    log,
    numbers,
    picked,
    power,
    rows,
    smaller,
    sqrt,
    total,
)
from tests.table.entries import NOTHING, Entry, counted, unknown
from tests.table.reductions import log_softmax_of

aten = torch.ops.aten
X = torch.tensor([[0.3, -1.2, 2.0], [0.9, 0.1, -0.5]], dtype=torch.float64)
Y = torch.tensor([[0.7, 1.9, -0.4], [-0.8, 0.6, 1.1]], dtype=torch.float64)
Z = torch.tensor([[1.3, -0.2, 0.5], [0.4, -1.7, 0.2]], dtype=torch.float64)
INF = math.inf
ORDERS = (0, 1, 2, 3, INF, -INF)


# Norms and distances


def gathered(values: Sequence[float], p: float) -> float:
    """What a norm adds or compares, before its root."""
    if p == 0:
        return total(float(not equal(v, 0)) for v in values)
    if p in (INF, -INF):
        sizes = [abs(v) for v in values]
        return greatest(sizes) if p == INF else least(sizes)
    return total(abs(v) if p == 1 else v * v if p == 2 else power(abs(v), p) for v in values)


def least(values: Sequence[float]) -> float:
    low: float = INF
    for value in values:
        low = smaller(low, value)
    return low


def rooted(value: float, p: float) -> float:
    """The root of a pair of rows, where the order has one: none of 0, 1 and the infinities."""
    if p in (0, 1, INF, -INF):
        return value
    return sqrt(value) if p == 2 else power(value, 1 / p)


def norm(x: torch.Tensor, p: float = 2, *_: Any, **__: Any) -> list[float]:
    """A root, one a row, is not counted."""
    return [float(rooted_uncounted(gathered(row, p), p)) for row in rows(x)]


def rooted_uncounted(value: float, p: float) -> float:
    return float(value) if p in (0, 1, INF, -INF) else float(value) ** (1 / p)


def norm_of_all(x: torch.Tensor, p: float = 2) -> float:
    return rooted_uncounted(gathered(numbers(x), p), p)


def apart(x: Sequence[float], y: Sequence[float], eps: float | None = None) -> list[float]:
    gaps = [a - b for a, b in zip(x, y, strict=True)]
    return gaps if eps is None else [gap + eps for gap in gaps]


def distance(x: Sequence[float], y: Sequence[float], p: float, eps: float | None = None) -> float:
    return rooted(gathered(apart(x, y, eps), p), p)


def distances(x: torch.Tensor, y: torch.Tensor, p: float = 2, *_: Any) -> list[float]:
    return [distance(a, b, p) for a in rows(x) for b in rows(y)]


def distances_within(x: torch.Tensor, p: float) -> list[float]:
    return [distance(a, b, p) for a, b in combinations(rows(x), 2)]


def paired(x: torch.Tensor, y: torch.Tensor, p: float = 2, eps: float = 1e-6, *_: Any) -> list[float]:
    return [distance(a, b, p, eps) for a, b in zip(rows(x), rows(y), strict=True)]


def distance_of_all(x: torch.Tensor, y: torch.Tensor, p: float) -> float:
    return distance(numbers(x), numbers(y), p)


def cosine(x: Sequence[float], y: Sequence[float]) -> float:
    dot = total([a * b for a, b in zip(x, y, strict=True)])
    lengths = sqrt(total([a * a for a in x])) * sqrt(total([b * b for b in y]))
    return dot / larger(lengths, 1e-8)


def cross(x: torch.Tensor, y: torch.Tensor) -> Any:
    return [
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
        for a, b in zip(rows(x), rows(y), strict=True)
    ]


def outer_sum(
    start: torch.Tensor, x: torch.Tensor, y: torch.Tensor, *, alpha: float = 1, beta: float = 1
) -> list[float]:
    """A factor that is 1 is left out."""
    pairs = [(a, b) for a in numbers(x) for b in numbers(y)]
    result = []
    for held, (a, b) in zip(numbers(start), pairs, strict=True):
        product = a * b if alpha == 1 else alpha * (a * b)
        result.append((held if beta == 1 else beta * held) + product)
    return result


# Losses: torch numbers their reductions none, mean, sum

NONE, MEAN, SUM = 0, 1, 2


def reduced(values: Sequence[float], reduction: int, divisor: float | None = None) -> Any:
    """A sum adds each; the division of a mean is one a call."""
    if reduction == NONE:
        return list(values)
    whole = float(total(values))
    return whole if reduction == SUM else whole / (len(values) if divisor is None else divisor)


def each_pair(formula: Callable[..., float], *tensors: torch.Tensor | None) -> list[float]:
    present = torch.broadcast_tensors(*(t for t in tensors if t is not None))
    return [formula(*each) for each in zip(*map(numbers, present), strict=True)]


def of_pairs(
    operator: Any, formula: Callable[..., float], *others: Any, case: str = "", x: Any = X, y: Any = Y, **named: Any
) -> list[Entry]:
    """Entries of a loss in its three reductions, whose other arguments the formula knows."""
    position = [a.name for a in operator._schema.arguments].index("reduction")
    entries: list[Entry] = []
    for reduction in (NONE, MEAN, SUM):
        given = [x, y, *others]
        arguments = [*given[:position], reduction, *given[position:]]
        entries.append(
            counted(
                operator,
                lambda a, b, *_, r=reduction, **__: reduced(each_pair(formula, a, b), r),
                *arguments,
                case=f"{case} {('each', 'mean', 'sum')[reduction]}".strip(),
                **named,
            )
        )
    return entries


def squared(gap: float, bound: float, divisor: float | None) -> float:
    above(gap, bound)
    half = 0.5 * (gap * gap)
    return half if divisor is None else half / divisor


def stirling(t: float) -> float:
    return t * log(t) - t + 0.5 * log(2 * math.pi * t)


def poisson(x: float, t: float) -> float:
    return exp(x) - t * x


def cross_entropy_of_one(x: float, t: float, weight: float | None = None) -> float:
    one = (t - 1) * larger(log1m(x), -100) - t * larger(log(x), -100)
    return one if weight is None else weight * one


def log1m(x: float) -> float:
    return log_one_more(-x)


def log_one_more(x: float) -> float:
    Number.done += 1
    return Number(math.log1p(float(x)))


def log_sigmoid(x: float) -> float:
    return -log(1 + exp(-x))


def from_logits(x: float, t: float) -> float:
    return (1 - t) * x - log_sigmoid(x)


def weighed_logits(x: float, t: float, weight: float) -> float:
    return weight * from_logits(x, t)


def of_positives(x: torch.Tensor, t: torch.Tensor, _: Any, pos_weight: torch.Tensor, reduction: int) -> Any:
    """The weight of positives less one, once for each of its elements; times the target, plus one, for each pair."""
    less = torch.tensor([float(w - 1) for w in numbers(pos_weight)], dtype=torch.float64)
    return reduced(each_pair(lambda a, b, w: (1 - b) * a - (b * w + 1) * log_sigmoid(a), x, t, less), reduction)


def hinge(x: float, t: float) -> float:
    """Of a target that is 1; where it is −1 the margin counts, and the other choice is nothing."""
    return picked(equal(t, 1), 0, larger(1 - x, 0)) + picked(equal(t, -1), 0, x)


def margin_ranking(x: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float, reduction: int) -> Any:
    return reduced(each_pair(lambda a, b, s: larger(-s * (a - b) + margin, 0), x, y, t), reduction)


def cosine_embedding(x: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float, reduction: int) -> Any:
    """As torch has it: a length of either with eps, and a root of their product."""
    result = []
    for a, b, target in zip(rows(x), rows(y), numbers(t), strict=True):
        dot = total([i * j for i, j in zip(a, b, strict=True)])
        first, second = total([i * i for i in a]) + 1e-12, total([j * j for j in b]) + 1e-12
        likeness = dot / sqrt(first * second)
        unlike, alike = 1 - likeness, larger(likeness - margin, 0)
        result.append(picked(equal(target, 1), unlike, 0) + picked(equal(target, -1), alike, 0))
    return reduced(result, reduction)


def triplet(
    a: torch.Tensor,
    p: torch.Tensor,
    n: torch.Tensor,
    margin: float,
    order: float,
    eps: float,
    swap: bool,
    reduction: int,
) -> Any:
    result = []
    for anchor, positive, negative in zip(rows(a), rows(p), rows(n), strict=True):
        far = distance(anchor, negative, order, eps)
        near = distance(anchor, positive, order, eps)
        far = smaller(far, distance(positive, negative, order, eps)) if swap else far
        result.append(larger(near - far + margin, 0))
    return reduced(result, reduction)


def multi_margin(x: torch.Tensor, t: torch.Tensor, p: int, margin: float, weight: Any, reduction: int) -> Any:
    """The class of the target counts as the others do, and is left out of the value."""
    result = []
    for row, label in zip(rows(x), t.tolist(), strict=True):
        amounts = []
        for value in row:
            beyond = larger(margin - row[label] + value, 0)
            beyond = beyond * beyond if p == 2 else beyond
            amounts.append(beyond if weight is None else beyond * weight[label].item())
        own = float(amounts[label])
        result.append(Number(float(total(amounts)) - own) / len(row))
    return reduced(result, reduction)


CLASSES = torch.tensor([[0.3, -1.2, 2.0, 0.4], [0.9, 0.1, -0.5, 1.1], [-0.7, 0.8, 0.2, 0.6]], dtype=torch.float64)
LABELS = torch.tensor([2, 0, 3])
CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 1.5, 0.7], dtype=torch.float64)
PROBABILITIES = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.4, 0.1]], dtype=torch.float64)
KEPT = -100
"""Of an index that no target has."""


def likelihood(x: torch.Tensor, t: torch.Tensor, weight: Any = None, reduction: int = MEAN, *_: Any) -> Any:
    labels = t.flatten().tolist()
    scores = x.movedim(1, -1).reshape(len(labels), -1) if x.ndim > 1 else x[None]
    losses = [-row[label] for row, label in zip(rows(scores), labels, strict=True)]
    return by_weights(losses, labels, weight, reduction)


def by_weights(losses: Sequence[float], labels: Sequence[int], weight: Any, reduction: int) -> Any:
    """A mean divides by the sum of the weights that the labels pick."""
    if weight is None:
        return reduced(losses, reduction)
    own = [Number(weight[label].item()) for label in labels]
    losses = [w * loss for w, loss in zip(own, losses, strict=True)]
    return reduced(losses, reduction, float(total(own)) if reduction == MEAN else None)


def by_labels(x: torch.Tensor, t: torch.Tensor, weight: Any, reduction: int, _: int, smoothing: float) -> Any:
    """(1 − ε)·(−log p of the label) − ε/K · Σ log p, each with its weight."""
    scores, labels = rows(x), t.flatten().tolist()
    logs = [log_softmax_of(row) for row in scores]
    negated = [-row[label] for row, label in zip(logs, labels, strict=True)]
    if not smoothing:
        return by_weights(negated, labels, weight, reduction)
    share, kept = smoothing / len(scores[0]), 1 - smoothing
    weights = None if weight is None else [w.item() for w in weight]
    own = None if weights is None else [Number(weights[label]) for label in labels]
    sums = [total(row if weights is None else [v * w for v, w in zip(row, weights, strict=True)]) for row in logs]
    negated = negated if own is None else [w * loss for w, loss in zip(own, negated, strict=True)]
    losses = [kept * loss - share * whole for loss, whole in zip(negated, sums, strict=True)]
    return reduced(losses, reduction, float(total(own)) if own is not None and reduction == MEAN else None)


def by_probabilities(x: torch.Tensor, t: torch.Tensor, weight: Any, reduction: int, _: int, smoothing: float) -> Any:
    """−Σ w·p·log p of a place; a smoothed probability is p·(1 − ε) + ε/K. Classes are the second dimension."""
    places, likely = (rows(tensor.movedim(1, -1)) if tensor.ndim > 1 else rows(tensor) for tensor in (x, t))
    share, kept = smoothing / len(places[0]), 1 - smoothing
    weights = None if weight is None else [w.item() for w in weight]
    losses = []
    for row, given in zip(places, likely, strict=True):
        chances = [p * kept + share for p in given] if smoothing else given
        products = [p * value for p, value in zip(chances, log_softmax_of(row), strict=True)]
        products = products if weights is None else [w * v for w, v in zip(weights, products, strict=True)]
        losses.append(-total(products))
    return reduced(losses, reduction)


def cross_entropies() -> list[Entry]:
    operator = aten.cross_entropy_loss.default
    entries: list[Entry] = []
    for reduction in (NONE, MEAN, SUM):
        for weight in (None, CLASS_WEIGHTS):
            for smoothing in (0.0, 0.1):
                case = f"{('each', 'mean', 'sum')[reduction]}{' weighted' * (weight is not None)}{' smoothed' * bool(smoothing)}"
                rest = weight, reduction, KEPT, smoothing
                entries += [
                    counted(operator, by_labels, CLASSES, LABELS, *rest, case=f"{case} by labels"),
                    counted(operator, by_probabilities, CLASSES, PROBABILITIES, *rest, case=f"{case} by probabilities"),
                ]
    images, chances = (t.T.reshape(1, 4, 3) for t in (CLASSES, PROBABILITIES))
    return [
        *entries,
        counted(operator, by_probabilities, images, chances, None, NONE, KEPT, 0.0, case="of images"),
        counted(operator, by_probabilities, CLASSES[0], PROBABILITIES[0], None, NONE, KEPT, 0.0, case="of one"),
        counted(
            operator,
            lambda x, t, *rest: by_labels(x[None], t[None], *rest),
            CLASSES[0],
            LABELS[0],
            None,
            MEAN,
            KEPT,
            0.0,
            case="of one label",
        ),
    ]


def likelihoods() -> list[Entry]:
    """Three targets pick three elements, of twelve."""
    picks = {"reads": {"self": sum(1 for _ in LABELS.tolist())}}
    images = CLASSES.T.reshape(1, 4, 3, 1).clone(), LABELS.reshape(1, 3, 1)
    entries = [
        counted(
            operator,
            likelihood,
            CLASSES,
            LABELS,
            weight,
            reduction,
            KEPT,
            cost=picks,
            case=f"{reduction} {weight is not None}",
        )
        for operator in (aten.nll_loss.default, aten.nll_loss_nd.default, aten.nll_loss_forward.default)
        for reduction in (NONE, MEAN, SUM)
        for weight in (None, CLASS_WEIGHTS)
    ]
    return [
        *entries,
        counted(aten.nll_loss2d.default, likelihood, *images, None, MEAN, KEPT, cost=picks),
        counted(aten.nll_loss2d_forward.default, likelihood, *images, CLASS_WEIGHTS, MEAN, KEPT, cost=picks),
    ]


UNIT, PART = torch.tensor([[0.3, 0.8, 0.5]], dtype=torch.float64), torch.tensor([[0.7, 0.2, 0.9]], dtype=torch.float64)
SIGNS = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]], dtype=torch.float64)
ONES = torch.tensor([1.0, -1.0], dtype=torch.float64)
POSITIVE = Y.abs()


ENTRIES = [
    *(counted(aten.linalg_vector_norm.default, norm, X, p, [1], case=f"order {p}") for p in ORDERS),
    counted(aten.norm.ScalarOpt_dim, lambda x, *_: norm(x), X, None, [1]),
    counted(aten.norm.ScalarOpt_dim, norm, X, 3, [1], case="order 3"),
    counted(aten.frobenius_norm.dim, lambda x, _: norm(x), X, [1]),
    counted(aten.norm_except_dim.default, lambda x, p, _: norm(x, p), X, 2, 0),
    counted(aten.norm_except_dim.default, lambda x, p, _: norm(x, p), X, 3, 0, case="order 3"),
    counted(aten.linalg_norm.default, norm_of_all, X),
    counted(aten.linalg_norm.default, lambda x, p, _: norm(x, p), X, 3, [1], case="order 3"),
    counted(aten.linalg_norm.default, norm, X, 3, 1, case="order 3 of one dimension"),
    counted(aten.linalg_norm.default, norm_of_all, X[0], 1, case="of a vector"),
    unknown(aten.linalg_norm.default, X, 2, case="of a matrix"),
    unknown(aten.linalg_norm.default, X, 1, [0, 1], case="of a matrix's dimensions"),
    counted(aten.linalg_matrix_norm.str_ord, lambda x, _: norm_of_all(x), X, "fro"),
    unknown(aten.linalg_matrix_norm.default, X, 2),
    *(counted(aten.cdist.default, distances, X, Y[:1], p, case=f"order {p}") for p in ORDERS[:-1]),
    *(counted(aten._cdist_forward.default, distances, X, Y[:1], p, None, case=f"order {p}") for p in (1, 2)),
    counted(aten._euclidean_dist.default, distances, X, Y),
    *(counted(aten.pdist.default, distances_within, torch.cat([X, Y]), p, case=f"order {p}") for p in (1, 2, 3)),
    counted(aten._pdist_forward.default, distances_within, X, 2.0),
    *(counted(aten.pairwise_distance.default, paired, X, Y, p, case=f"order {p}") for p in (1, 2, 3)),
    *(counted(aten.dist.default, distance_of_all, X, Y, p, case=f"order {p}") for p in (1, 2, 3)),
    counted(
        aten.cosine_similarity.default,
        lambda x, y: [cosine(a, b) for a, b in zip(rows(x), rows(y), strict=True)], X, Y,
    ),
    counted(aten.linalg_cross.default, cross, X, Y),
    counted(aten.outer.default, lambda x, y: [a * b for a in numbers(x) for b in numbers(y)], X[0], Y[1]),
    counted(aten.addr.default, outer_sum, X, Y[:, 0], Z[0]),
    counted(aten.addr.default, outer_sum, X, Y[:, 0], Z[0], alpha=3, case="by alpha"),
    counted(aten.addr.default, outer_sum, X, Y[:, 0], Z[0], alpha=3, beta=2, case="by both"),
    *of_pairs(aten.mse_loss.default, lambda x, t: power(x - t, 2)),
    *of_pairs(aten.l1_loss.default, lambda x, t: abs(x - t)),
    *of_pairs(aten.smooth_l1_loss.default, lambda x, t: squared(abs(x - t), 9, 9.0), 9.0),
    *of_pairs(aten.smooth_l1_loss.default, lambda x, t: abs(x - t), 0.0, case="without beta"),
    *of_pairs(aten.huber_loss.default, lambda x, t: squared(abs(x - t), 9, None), 9.0),
    *of_pairs(aten.binary_cross_entropy.default, cross_entropy_of_one, None, x=UNIT, y=PART),
    *of_pairs(
        aten.binary_cross_entropy.default, lambda x, t: cross_entropy_of_one(x, t, 0.5),
        torch.tensor(0.5, dtype=torch.float64), x=UNIT, y=PART, case="weighted",
    ),
    *of_pairs(aten.kl_div.default, lambda x, t: t * log(t) - t * x, y=POSITIVE),
    *of_pairs(aten.kl_div.default, lambda x, t: exp(t) * (t - x), log_target=True, case="of logarithms"),
    *of_pairs(aten.soft_margin_loss.default, lambda x, t: log(1 + exp(-(t * x))), y=SIGNS),
    *of_pairs(aten.hinge_embedding_loss.default, hinge, 1.0, y=SIGNS),
    *of_pairs(aten.binary_cross_entropy_with_logits.default, from_logits, None, None),
    *of_pairs(
        aten.binary_cross_entropy_with_logits.default, lambda x, t: weighed_logits(x, t, 0.5),
        torch.tensor(0.5, dtype=torch.float64), None, case="weighted",
    ),
    counted(aten.binary_cross_entropy_with_logits.default, of_positives, X, Y, None, torch.tensor([0.5, 2, 3]).double(), MEAN, case="of positives"),
    *of_pairs(aten.poisson_nll_loss.default, poisson, True, False, 1e-8),
    *of_pairs(aten.poisson_nll_loss.default, lambda x, t: x - t * log(x + 1e-8), False, False, 1e-8, x=POSITIVE, y=POSITIVE, case="of counts"),
    *of_pairs(
        aten.poisson_nll_loss.default, lambda x, t: poisson(x, t) + picked(above(t, 1), stirling(t), 0),
        True, True, 1e-8, y=POSITIVE, case="full",
    ),
    *(counted(aten.margin_ranking_loss.default, margin_ranking, X, Y, SIGNS, 0.5, r, case=str(r)) for r in (NONE, MEAN)),
    *(counted(aten.cosine_embedding_loss.default, cosine_embedding, X, Y, ONES, 0.1, r, case=str(r)) for r in (NONE, SUM)),
    *(
        counted(aten.triplet_margin_loss.default, triplet, X, Y, Z, 1.0, p, 1e-6, swap, r, case=f"{p} {swap} {r}")
        for p, swap, r in ((2, False, NONE), (2, False, MEAN), (2, True, SUM), (1, False, NONE), (3, True, NONE))
    ),
    *(
        counted(aten.multi_margin_loss.default, multi_margin, CLASSES, LABELS, p, 1.0, w, r, case=f"{p} {w is not None} {r}")
        for p, w, r in ((1, None, NONE), (1, None, MEAN), (2, None, NONE), (1, CLASS_WEIGHTS, SUM))
    ),
    *likelihoods(),
    *cross_entropies(),
    unknown(aten.multilabel_margin_loss.default, CLASSES, torch.tensor([[0, 1, -1, 0]] * 3), reads=NOTHING),
]  # fmt: skip

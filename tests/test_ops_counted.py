"""Formulas in numbers that count what is done with them: torch's value, and the rule's number."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional

from fxcost.costs.model import CostModel, LayerCost
from fxcost.errors import FxcostError
from fxcost.ops import rule_of

Costs = Callable[..., CostModel]


def last(costs: CostModel) -> LayerCost:
    assert not costs.unknown
    return costs.layers[-1]


class Number(float):
    """A float that counts the arithmetic done with it."""

    done = 0


def counting(function: Callable[..., float]) -> Callable[..., float]:
    def counted(*numbers: float) -> Number:
        Number.done += 1
        return Number(function(*map(float, numbers)))

    return counted


for operation in ("add", "sub", "mul", "truediv", "neg", "abs"):
    for name in (f"__{operation}__", f"__r{operation}__"):
        if hasattr(float, name):
            setattr(Number, name, counting(getattr(float, name)))

FUNCTIONS: tuple[Any, ...] = (
    math.exp, math.log, math.log1p, math.sqrt, math.sin, math.cos, math.floor, math.trunc, max, min, math.pow, math.atan2,
)  # fmt: skip
exp, log, log1p, sqrt, sin, cos, floor, trunc, larger, smaller, power, atan2 = map(counting, FUNCTIONS)
at_most = counting(lambda a, b: a <= b)


def work(formula: Callable[..., Any], *values: float) -> tuple[list[float], int]:
    """What a formula gives, and the operations that it takes."""
    Number.done = 0
    result = formula(*map(Number, values))
    return [float(part) for part in (result if isinstance(result, tuple) else (result,))], Number.done


# Pointwise


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        pytest.param(function, formula, id=name)
        for name, function, formula in [
            ("glu", lambda x, y: functional.glu(torch.cat([x, y], 0), 0), lambda x, y: x * (1 / (1 + exp(-y)))),
            ("hypot", torch.hypot, lambda x, y: sqrt(x * x + y * y)),
            ("logaddexp", torch.logaddexp, lambda x, y: larger(x, y) + log1p(exp(-abs(x - y)))),
            ("xlogy", torch.xlogy, lambda x, y: x * log(y)),
            ("ldexp", torch.ldexp, lambda x, y: x * power(2, y)),
            ("isclose", torch.isclose, lambda x, y: at_most(abs(x - y), 1e-8 + 1e-5 * abs(y))),
            ("log_sigmoid", lambda x, _: functional.logsigmoid(x), lambda x, _: -log(1 + exp(-x))),
            ("frac", lambda x, _: x.frac(), lambda x, _: x - trunc(x)),
            ("logit", lambda x, _: x.logit(), lambda x, _: log(x / (1 - x))),
            ("logit in bounds", lambda x, _: x.logit(0.1), lambda x, _: bounded_logit(smaller(larger(x, 0.1), 0.9))),
            ("sinc", lambda x, _: x.sinc(), lambda x, _: sinc(math.pi * x)),
            ("entr", lambda x, _: torch.special.entr(x), lambda x, _: -(x * log(x))),
            ("expit", lambda x, _: torch.special.expit(x), lambda x, _: 1 / (1 + exp(-x))),
        ]
    ],
)
def test_pointwise(costs_of: Costs, function: Any, formula: Callable[..., Any]) -> None:
    x, y = 0.7, 1.9
    (value,), operations = work(formula, x, y)
    a, b = torch.tensor([[x]], dtype=torch.float64), torch.tensor([[y]], dtype=torch.float64)
    assert value == pytest.approx(function(a, b).double().flatten()[0].item())
    costs = costs_of(function, "x: float64[B,6]", "y: float64[B,6]", B=5)
    (layer,) = [layer for layer in costs.layers if layer.flops]
    assert layer.flops == operations * 5 * 6


def bounded_logit(x: float) -> float:
    return log(x / (1 - x))


def sinc(x: float) -> float:
    return sin(x) / x


# Complex numbers


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        pytest.param(function, formula, id=name)
        for name, function, formula in [
            ("product", torch.mul, lambda a, b, c, d: (a * c - b * d, a * d + b * c)),
            ("sum", torch.add, lambda a, b, c, d: (a + c, b + d)),
            ("difference", torch.sub, lambda a, b, c, d: (a - c, b - d)),
            ("quotient", torch.div, lambda a, b, c, d: quotient(a * c + b * d, b * c - a * d, c * c + d * d)),
            ("product with a real one", lambda x, y: x * y.real, lambda a, b, c, _: (a * c, b * c)),
            ("product with a number", lambda x, _: x * 3, lambda a, b, *_: (a * 3, b * 3)),
            ("quotient by a real one", lambda x, y: x / y.real, lambda a, b, c, _: (a / c, b / c)),
            ("sum with a real one", lambda x, y: x + y.real, lambda a, b, c, _: (a + c, b)),
            ("absolute value", lambda x, _: x.abs(), lambda a, b, *_: sqrt(a * a + b * b)),
            ("angle", lambda x, _: x.angle(), lambda a, b, *_: atan2(b, a)),
            ("negated", lambda x, _: -x, lambda a, b, *_: (-a, -b)),
            ("conjugate", lambda x, _: torch.conj_physical(x), lambda a, b, *_: (a, -b)),
            ("exp", lambda x, _: x.exp(), lambda a, b, *_: turned(exp(a), b)),
            ("polar", lambda x, y: torch.polar(x.real, y.real), lambda a, _b, c, _d: turned(a, c)),
        ]
    ],
)
def test_complex(costs_of: Costs, function: Any, formula: Callable[..., Any]) -> None:
    a, b, c, d = 0.7, -1.3, 1.9, 0.4
    values, operations = work(formula, a, b, c, d)
    x, y = torch.tensor([a + b * 1j], dtype=torch.complex128), torch.tensor([c + d * 1j], dtype=torch.complex128)
    result = function(x, y)
    assert values == pytest.approx(
        torch.view_as_real(result).flatten().tolist() if result.is_complex() else [result.item()]
    )
    layer = last(costs_of(function, "x: complex64[B,6]", "y: complex64[B,6]", B=5))
    assert (layer.flops, layer.unit) == (operations * 5 * 6, "vector")


def quotient(real: float, imaginary: float, length: float) -> tuple[float, float]:
    return real / length, imaginary / length


def turned(length: float, angle: float) -> tuple[float, float]:
    return length * cos(angle), length * sin(angle)


def test_complex_reductions(costs_of: Costs) -> None:
    """Two additions an element; a mean also divides both parts of each of 5 results."""
    assert last(costs_of(lambda x: x.sum(1), "x: complex64[B,6]", B=5)).flops == 2 * 5 * 6
    assert last(costs_of(lambda x: x.mean(1), "x: complex64[B,6]", B=5)).flops == 2 * 5 * 6 + 2 * 5


# Distances: a pair of rows of three elements


def total(numbers: Sequence[float]) -> float:
    """A sum that starts from zero, so that each number takes one addition."""
    whole = Number(0)
    for number in numbers:
        whole = whole + number
    return whole


def cosine(x: Sequence[float], y: Sequence[float]) -> float:
    dot = total([a * b for a, b in zip(x, y, strict=True)])
    lengths = sqrt(total([a * a for a in x])) * sqrt(total([b * b for b in y]))
    return dot / larger(lengths, 1e-8)


def apart(x: Sequence[float], y: Sequence[float], eps: float | None = None) -> list[float]:
    gaps = [a - b for a, b in zip(x, y, strict=True)]
    return gaps if eps is None else [gap + eps for gap in gaps]


PAIRS = "x: float32[B,3]", "y: float32[B,3]"
ROWS = "x: float32[B,3]", "y: float32[C,3]"


@pytest.mark.parametrize(
    ("function", "formula", "shapes", "pairs"),
    [
        (functional.cosine_similarity, cosine, PAIRS, 5),
        (functional.pairwise_distance, lambda x, y: sqrt(total([g * g for g in apart(x, y, 1e-6)])), PAIRS, 5),
        (lambda x, y: functional.pairwise_distance(x, y, p=1), lambda x, y: total([abs(g) for g in apart(x, y, 1e-6)]), PAIRS, 5),
        (torch.cdist, lambda x, y: sqrt(total([g * g for g in apart(x, y)])), ROWS, 5 * 4),
        (lambda x, y: torch.cdist(x, y, p=1), lambda x, y: total([abs(g) for g in apart(x, y)]), ROWS, 5 * 4),
        (
            lambda x, y: torch.cdist(x, y, p=3),
            lambda x, y: power(total([power(abs(g), 3) for g in apart(x, y)]), 1 / 3), ROWS, 5 * 4,
        ),
    ],
    ids=["cosine", "paired", "paired, p=1", "cdist", "cdist, p=1", "cdist, p=3"],
)  # fmt: skip
def test_distances(costs_of: Costs, function: Any, formula: Any, shapes: tuple[str, str], pairs: int) -> None:
    x, y = [0.3, -1.2, 2.0], [0.9, 0.1, -0.5]
    (value,), operations = work(lambda *xy: formula(xy[:3], xy[3:]), *x, *y)
    assert value == pytest.approx(function(torch.tensor([x]), torch.tensor([y])).item(), rel=1e-5)
    sizes = {"B": 5, "C": 4} if shapes is ROWS else {"B": 5}
    assert last(costs_of(function, *shapes, **sizes)).flops == operations * pairs


@pytest.mark.parametrize(
    ("norm", "p", "each"),
    [
        (lambda x: x.norm(dim=1), 2, lambda v: v * v),
        (lambda x: torch.linalg.norm(x, dim=1), 2, lambda v: v * v),
        (lambda x: torch.linalg.norm(x.reshape(-1)), 2, lambda v: v * v),
        (torch.linalg.matrix_norm, 2, lambda v: v * v),
        (lambda x: torch.linalg.vector_norm(x, 1, 1), 1, abs),
        (lambda x: torch.linalg.vector_norm(x, 3, 1), 3, lambda v: power(abs(v), 3)),
    ],
    ids=["norm", "linalg.norm", "linalg.norm of all", "Frobenius", "order 1", "order 3"],
)
def test_norms(costs_of: Costs, norm: Any, p: int, each: Any) -> None:
    """All but the root, which is one a row."""
    x = [0.3, -1.2, 2.0]
    (value,), operations = work(lambda *row: total([each(v) for v in row]), *x)
    assert value == pytest.approx(norm(torch.tensor([x], dtype=torch.float64)).item() ** p)
    assert last(costs_of(norm, "x: float64[B,3]", B=5)).flops == operations * 5


def test_a_spectral_norm_is_unknown(costs_of: Costs) -> None:
    """The same operator and order over one dimension is a vector's norm."""
    spectral = costs_of(lambda x: torch.linalg.norm(x, 2), "x: float32[B,3]", B=5)
    assert list(spectral.unknown) == ["aten.linalg_norm.default"]
    assert last(costs_of(lambda x: torch.linalg.norm(x, 2, 1), "x: float32[B,3]", B=5)).flops == 2 * 5 * 3


# Losses


def chosen(condition: float, value: float) -> float:
    """Either a value or nothing, by a comparison: two operations."""
    at_most(condition, 0)
    return smaller(value, math.inf)


def squared(gap: float, bound: float, divisor: float | None) -> float:
    at_most(gap, bound)
    half = 0.5 * (gap * gap)
    return half if divisor is None else half / divisor


def stirling(t: float) -> float:
    return t * log(t) - t + 0.5 * log(2 * math.pi * t)


def poisson(x: float, t: float) -> float:
    return exp(x) - t * x


@pytest.mark.parametrize(
    ("function", "named", "formula"),
    [
        pytest.param(function, named, formula, id=" ".join([function.__name__, *named]))
        for function, named, formula in [
            (functional.mse_loss, {}, lambda x, t: power(x - t, 2)),
            (functional.l1_loss, {}, lambda x, t: abs(x - t)),
            (functional.smooth_l1_loss, {"beta": 2.0}, lambda x, t: squared(abs(x - t), 2, 2.0)),
            (functional.huber_loss, {"delta": 2.0}, lambda x, t: squared(abs(x - t), 2, None)),
            (
                functional.binary_cross_entropy, {},
                lambda x, t: (t - 1) * larger(log1p(-x), -100) - t * larger(log(x), -100),
            ),
            (functional.binary_cross_entropy_with_logits, {}, lambda x, t: (1 - t) * x - -log(1 + exp(-x))),
            (functional.kl_div, {}, lambda x, t: t * log(t) - t * x),
            (functional.kl_div, {"log_target": True}, lambda x, t: exp(t) * (t - x)),
            (functional.soft_margin_loss, {}, lambda x, t: log(1 + exp(-(t * x)))),
            (functional.poisson_nll_loss, {}, poisson),
            (functional.poisson_nll_loss, {"log_input": False}, lambda x, t: x - t * log(x + 1e-8)),
            (functional.poisson_nll_loss, {"full": True}, lambda x, t: poisson(x, t) + chosen(t, stirling(t))),
            (functional.hinge_embedding_loss, {}, lambda x, t: chosen(t, larger(1 - x, 0)) + chosen(t, x)),
        ]
    ],
)  # fmt: skip
def test_losses(costs_of: Costs, function: Any, named: dict[str, Any], formula: Callable[..., Any]) -> None:
    """What each pair of elements takes; a reduction adds them up."""
    x, t = 0.7, 1.9
    (value,), operations = work(formula, x, t)
    pair = torch.tensor([[x]], dtype=torch.float64), torch.tensor([[t]], dtype=torch.float64)
    inner = functional.binary_cross_entropy is function  # whose targets lie between 0 and 1
    if not inner:
        assert value == pytest.approx(function(*pair, reduction="none", **named).item())
    for reduction, added in {"none": 0, "sum": 1, "mean": 1}.items():
        costs = costs_of(lambda a, b, r=reduction: function(a, b, reduction=r, **named), *PAIRS, B=5)
        assert last(costs).flops == (operations + added) * 15


def test_losses_of_rows(costs_of: Costs) -> None:
    """Of 5 rows of 3: similarity and distances as their own functions have them, then what is done with each row."""
    three = "x: float32[B,3]", "y: float32[B,3]", "z: float32[B,3]"
    ranking = last(costs_of(functional.margin_ranking_loss, *three, B=5))
    assert ranking.flops == (5 + 1) * 15  # negate, subtract, multiply, add, maximum; sum
    triplet = last(costs_of(functional.triplet_margin_loss, *three, B=5))
    paired = last(costs_of(functional.pairwise_distance, *PAIRS, B=5))
    assert triplet.flops == 2 * paired.flops + (3 + 1) * 5
    swapped = last(costs_of(lambda *xyz: functional.triplet_margin_loss(*xyz, swap=True), *three, B=5))
    assert swapped.flops == 3 * paired.flops + (4 + 1) * 5
    cosines = last(costs_of(functional.cosine_embedding_loss, *PAIRS, "t: float32[B]", B=5))
    assert cosines.flops == 6 * 15 + (13 + 1) * 5
    margins = last(costs_of(functional.multi_margin_loss, "x: float32[B,3]", "t: int64[B]", B=5))
    assert margins.flops == 4 * 15 + (1 + 1) * 5
    weighted = last(
        costs_of(
            lambda x, t, w: functional.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=w),
            *PAIRS, "w: float32[3]", B=5,
        )
    )  # fmt: skip
    assert weighted.flops == (8 + 1 + 3 + 1) * 15 + 3


CLASSES = "x: float32[B,S,7]", "t: int64[B,S]"


@pytest.mark.parametrize(
    ("loss", "each", "place"),
    [
        (functional.cross_entropy, 5, 2),
        (lambda x, t: functional.cross_entropy(x, t, reduction="none"), 5, 1),
        (lambda x, t: functional.cross_entropy(x, t, reduction="sum", ignore_index=0), 5, 2),
        (lambda x, t: functional.cross_entropy(x, t, label_smoothing=0.1), 6, 2 + 3),
        (lambda x, t: functional.nll_loss(functional.log_softmax(x, -1), t), 5, 2),
    ],
    ids=["cross entropy", "of each", "sum", "smoothed", "by likelihood"],
)
def test_losses_of_classes_hold_no_size_of_flattened_tokens(costs_of: Costs, loss: Any, each: int, place: int) -> None:
    """A logarithm of softmax for each score; for each token negate the score that it picks, and add."""

    def flattened(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return loss(x.view(-1, 7), t.view(-1))

    costs = costs_of(flattened, *CLASSES, B=3, S=11)
    assert (set(costs.symbols), costs.conditions, dict(costs.fixed)) == ({"B", "S"}, (), {})
    assert costs.total.flops == each * 3 * 11 * 7 + place * 3 * 11
    assert not costs.unknown
    layer = costs.layers[-1]
    picked = 3 * 11 if "nll" in layer.op else 3 * 11 * 7
    assert layer.cost.reads["activation"] == {"float32": picked, "int64": 3 * 11}
    assert layer.cost.writes["activation"]["float32"] == (3 * 11 if place == 1 else 1)


def test_losses_of_classes_in_other_forms(costs_of: Costs) -> None:
    """By probabilities, a product and a sum more for each of 5·7 scores; over images; with weights, which a mean adds up too."""
    scores = "x: float32[B,7]"
    soft = last(costs_of(functional.cross_entropy, scores, "t: float32[B,7]", B=5))
    assert soft.flops == (5 + 2) * 35 + (1 + 1) * 5
    images = last(costs_of(functional.nll_loss, "x: float32[B,7,H,4]", "t: int64[B,H,4]", B=5, H=3))
    assert (images.flops, images.outputs) == (2 * 60, ((),))
    weighted = last(costs_of(functional.nll_loss, scores, "t: int64[B]", "w: float32[7]", B=5))
    assert weighted.flops == 4 * 5
    one = last(costs_of(lambda x, t: functional.cross_entropy(x[0], t[0]), scores, "t: int64[B]", B=5))
    assert one.flops == 5 * 7 + 2
    with pytest.raises(FxcostError, match="does not run at B=12"):
        costs_of(functional.cross_entropy, scores, "t: int64[4]", B=5)


def test_losses_whose_work_depends_on_labels_are_unknown(costs_of: Costs) -> None:
    """And what they read of them is no more than nothing for sure."""
    costs = costs_of(functional.multilabel_margin_loss, "x: float32[B,7]", "t: int64[B,7]", B=5)
    assert list(costs.unknown) == ["aten.multilabel_margin_loss.default"]
    assert costs.total.reads == {}


def test_bags(costs_of: Costs) -> None:
    """A bag of 4 rows of 6 is 24 additions, and for a mean 6 divisions; the table of 50 rows is not read."""
    bag = torch.nn.EmbeddingBag(50, 6, mode="mean")
    layer = next(layer for layer in costs_of(bag, "i: int64[B,4]", B=3).layers if "embedding_bag" in layer.op)
    assert layer.flops == 3 * (24 + 6)
    assert layer.cost.reads["weight"] == {"float32": 3 * 24}


# Images read between their pixels


def weights_of(coordinate: float) -> tuple[int, list[float]]:
    low = floor(coordinate)
    beyond = coordinate - low
    return int(low), [1 - beyond, beyond]


def to_pixels(place: float, size: int) -> float:
    return ((place + 1) * size - 1) / 2


def sampled(image: list[list[list[float]]], x: float, y: float) -> tuple[float, ...]:
    """Channels of an image between four pixels, weights once for all channels; what lies outside is zero."""
    height, width = len(image[0]), len(image[0][0])
    left, across = weights_of(to_pixels(x, width))
    top, down = weights_of(to_pixels(y, height))
    corners = [(top + j, left + i, down[j] * across[i]) for j in range(2) for i in range(2)]
    inside = [(j, i, w) if 0 <= j < height and 0 <= i < width else (0, 0, w * 0) for j, i, w in corners]
    values = []
    for channel in image:
        products = [channel[j][i] * w for j, i, w in inside]
        values.append(products[0] + products[1] + products[2] + products[3])
    return tuple(values)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_sampling(costs_of: Costs, channels: int) -> None:
    image = torch.randn(channels, 4, 5, dtype=torch.float64)
    x, y = 0.31, -0.44
    values, operations = work(lambda x, y: sampled(image.tolist(), x, y), x, y)
    grid = torch.tensor([[[[x, y]]]], dtype=torch.float64)
    assert values == pytest.approx(functional.grid_sample(image[None], grid, align_corners=False).flatten().tolist())
    sample = lambda image, grid: functional.grid_sample(image, grid, align_corners=False)  # noqa: E731
    layer = last(costs_of(sample, f"x: float32[B,{channels},H,W]", "g: float32[B,5,6,2]", B=2, H=7, W=8))
    assert layer.flops == operations * 2 * 5 * 6


def test_a_nearest_sample_is_a_copy(costs_of: Costs) -> None:
    """For each of 60 positions two coordinates of 5: add, multiply, subtract, divide, round."""
    sample = lambda image, grid: functional.grid_sample(image, grid, mode="nearest", align_corners=False)  # noqa: E731
    layer = last(costs_of(sample, "x: float32[B,3,H,W]", "g: float32[B,5,6,2]", B=2, H=7, W=8))
    assert layer.flops == 60 * 2 * 5


def test_deformable_convolution(call_by_hand: Callable[..., Any]) -> None:
    """4 groups of offsets and a mask, 3 by 3 taps, 8 to 6 channels, 5 by 7 outputs, for each of 2 images.

    The loop is the paper's: each output element meets each input channel at each tap; each tap of a channel is four
    products, three sums and the mask's product; each tap's position, once a group of offsets, is two coordinates of an
    addition, a floor, a fraction and its complement, and four products of weights.
    """
    macs = sampled_values = positions = 0
    for _image in range(2):
        for _place in range(5 * 7):
            for _tap in range(9):
                positions += 4
                sampled_values += 8
                macs += 8 * 6
    shapes = {"input": (2, 8, 5, 7), "weight": (6, 8, 3, 3), "offset": (2, 72, 5, 7), "mask": (2, 36, 5, 7)}
    call = call_by_hand("torchvision.deform_conv2d.default", (2, 6, 5, 7), shapes, n_offset_grps=4, use_mask=True)
    rule = rule_of(call.operator)
    assert rule is not None
    assert rule.macs(call) == macs
    assert rule.vector(call) == sampled_values * (4 + 3 + 1) + positions * (2 * (1 + 3) + 4)


def test_folding_adds_each_column_element(costs_of: Costs) -> None:
    fold = lambda x: functional.fold(x, (6, 6), 3)  # noqa: E731
    assert last(costs_of(fold, "x: float32[B,18,16]", B=2)).flops == 2 * 18 * 16


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("before", "after"), [((12, 13), (5, 6)), ((8, 10), (3, 7)), ((5, 7), (8, 10))])
def test_antialiased_resizing(costs_of: Costs, mode: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Windows are read off from what torch does to single lit pixels: rows first, then columns.

    Of each two sizes one is even: no pixel then falls where its filter is zero, and would not be seen.
    """

    def window_sizes(size: int, new: int) -> list[int]:
        lit = torch.eye(size, dtype=torch.float64)[:, None, None]
        responses = functional.interpolate(lit, (1, new), mode=mode, antialias=True)
        return (responses[:, 0, 0] != 0).sum(0).tolist()

    (height, width), (new_height, new_width) = before, after
    across = sum(n + (n - 1) for n in window_sizes(width, new_width)) * height
    down = sum(n + (n - 1) for n in window_sizes(height, new_height)) * new_width
    resize = lambda x: functional.interpolate(x, after, mode=mode, antialias=True)  # noqa: E731
    assert last(costs_of(resize, f"x: float32[B,3,{height},{width}]", B=2)).flops == 2 * 3 * (across + down)


def test_an_antialiased_resize_of_a_symbolic_size_is_unknown(costs_of: Costs) -> None:
    resize = lambda x: functional.interpolate(x, (5, 6), mode="bilinear", antialias=True)  # noqa: E731
    costs = costs_of(resize, "x: float32[B,3,H,W]", B=2, H=11, W=13)
    assert len(costs.unknown) == 1
    assert "symbolic sizes" in costs.layers[-1].reason

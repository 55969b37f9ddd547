"""Normalizations, softmax, pooling and reductions: by their definitions, row by row."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import torch

from tests.table.counting import (
    Number,
    equal,
    exp,
    greatest,
    is_nan,
    larger,
    log,
    log1p,
    numbers,
    places,
    rows,
    smaller,
    total,
)
from tests.table.entries import Entry, counted

aten = torch.ops.aten
X = torch.tensor([[0.3, -1.2, 2.0, 0.7], [1.4, 0.2, -0.9, 0.5], [0.8, -0.1, 1.7, -2.2]], dtype=torch.float64)
EPS = 1e-5
SCALES = torch.tensor([0.5, 2.0, 1.5, 0.7], dtype=torch.float64)
SHIFTS = torch.tensor([0.1, -0.3, 0.2, 0.4], dtype=torch.float64)


def powers(row: Sequence[float]) -> tuple[list[Number], list[Number]]:
    """Each number less the greatest, and its exponential."""
    top = greatest(row)
    less = [x - top for x in row]
    return less, [exp(x) for x in less]  # pyright: ignore[reportReturnType]


def softmax(x: torch.Tensor, *_: Any) -> Any:
    result = []
    for row in rows(x):
        raised = powers(row)[1]
        whole = total(raised)
        result.append([power / whole for power in raised])
    return result


def log_softmax_of(row: Sequence[float]) -> list[float]:
    less, raised = powers(row)
    whole = math.log(float(total(raised)))  # once a row
    return [x - whole for x in less]


def log_softmax(x: torch.Tensor, *_: Any) -> Any:
    return [log_softmax_of(row) for row in rows(x)]


def log_of_sum(x: torch.Tensor, *_: Any) -> Any:
    """Here also what is done once a row is counted: a logarithm, and the sum with the greatest."""
    result = []
    for row in rows(x):
        top = greatest(row)
        result.append(log(total(exp(value - top) for value in row)) + top)
    return result


def variance(x: torch.Tensor, *_: Any, **__: Any) -> list[float]:
    result = []
    for row in rows(x):
        mean = float(total(row)) / len(row)
        result.append(float(total(gap * gap for gap in [value - mean for value in row])) / (len(row) - 1))
    return result


def number_or_nothing(value: float) -> float:
    """The look for what is no number; leaving it out is no arithmetic."""
    return 0.0 if is_nan(value) else value


def mean_of_numbers(x: torch.Tensor, *_: Any) -> list[float]:
    """How many are numbers is a sum beside that of the numbers."""
    result = []
    for row in rows(x):
        looked = [float(is_nan(value)) for value in row]
        present = total(1 - missing for missing in looked)
        result.append(total(0.0 if missing else v for missing, v in zip(looked, row, strict=True)) / present)
    return result


def extremes(x: torch.Tensor, **_: Any) -> Any:
    """The least; the greatest comes beside it."""
    least = []
    for row in rows(x):
        low = high = float(row[0])
        for value in row:
            low, high = smaller(low, value), larger(high, value)
        least.append(low)
    return least


def running(step: Callable[[float, float], float], start: float) -> Callable[..., Any]:
    def accumulated(x: torch.Tensor, *_: Any) -> Any:
        result = []
        for row in rows(x):
            held: float = Number(start)
            result.append([held := step(held, value) for value in row])
        return result

    return accumulated


def added_logarithms(x: float, y: float) -> float:
    return larger(x, y) + log1p(exp(-abs(x - y)))


def differences(x: torch.Tensor, *_: Any) -> Any:
    return [repeated(row, 1) for row in rows(x)]


def repeated(row: Sequence[float], times: int) -> Sequence[float]:
    for _ in range(times):
        row = [b - a for a, b in pairwise(row)]
    return row


def by_norms(v: torch.Tensor, g: torch.Tensor, *_: Any) -> Any:
    """Rows as long as ``g`` says; a root and a division are done once a row."""
    result = []
    for row, length in zip(rows(v), g.flatten().tolist(), strict=True):
        scale = length / math.sqrt(float(total(value * value for value in row)))
        result.append([value * scale for value in row])
    return result


def standardized(row: Sequence[float], eps: float = EPS) -> list[float]:
    mean = float(total(row)) / len(row)
    apart = [value - mean for value in row]
    scale = 1 / math.sqrt(float(total(gap * gap for gap in apart)) / len(row) + eps)
    return [gap * scale for gap in apart]


def weighed(row: Sequence[float], weight: Sequence[float] | None, bias: Sequence[float] | None) -> list[float]:
    scaled = list(row) if weight is None else [x * w for x, w in zip(row, weight, strict=True)]
    return scaled if bias is None else [x + b for x, b in zip(scaled, bias, strict=True)]


def listed(tensor: torch.Tensor | None) -> list[float] | None:
    return None if tensor is None else tensor.tolist()


def layer_norm(x: torch.Tensor, _: Any, weight: Any = None, bias: Any = None, *__: Any) -> Any:
    return [weighed(standardized(row), listed(weight), listed(bias)) for row in rows(x)]


def root_mean_square(x: torch.Tensor, _: Any, weight: Any = None, eps: float = EPS) -> Any:
    result = []
    for row in rows(x):
        scale = 1 / math.sqrt(float(total(value * value for value in row)) / len(row) + eps)
        result.append(weighed([value * scale for value in row], listed(weight), None))
    return result


IMAGES = torch.tensor([[[0.3, -1.2, 2.0], [0.7, 1.4, 0.2]], [[-0.9, 0.5, 0.8], [1.1, -0.1, 1.7]]], dtype=torch.float64)
"""Two examples of two channels of three places."""
WEIGHT, BIAS, MEAN, VARIANCE = (
    torch.tensor(pair, dtype=torch.float64) for pair in ([0.5, 2.0], [0.1, -0.3], [0.2, 0.4], [1.5, 0.8])
)


def group_norm(x: torch.Tensor, groups: int, weight: Any = None, bias: Any = None) -> Any:
    """Each channel's weight is its places'."""
    across = x.shape[2]
    result = []
    for row in rows(x, x.shape[1] // groups * across):
        result += standardized(row)
    channels = [channel for _ in range(x.shape[0]) for channel in range(x.shape[1]) for _ in range(across)]
    scales, shifts = (None if t is None else [t[channel].item() for channel in channels] for t in (weight, bias))
    return weighed(result, scales, shifts)


def channels_of(x: torch.Tensor) -> list[list[Number]]:
    return rows(x.transpose(0, 1).reshape(x.shape[1], -1))


def by_channel(result: list[list[float]], x: torch.Tensor) -> torch.Tensor:
    values = torch.tensor([[float(v) for v in channel] for channel in result], dtype=torch.float64)
    return values.reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)


def by_own_statistics(x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
    result = []
    for index, channel in enumerate(channels_of(x)):
        w, b = ([t[index].item()] * len(channel) if t is not None else None for t in (weight, bias))
        result.append(weighed(standardized(channel), w, b))
    return by_channel(result, x)


def by_given_statistics(x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
    """Mean, variance, weight and bias fold into a scale and a shift, once a channel."""
    result = []
    for index, channel in enumerate(channels_of(x)):
        scale = (1.0 if weight is None else weight[index].item()) / math.sqrt(VARIANCE[index].item() + EPS)
        shift = (0.0 if bias is None else bias[index].item()) - MEAN[index].item() * scale
        result.append([value * scale + shift for value in channel])
    return by_channel(result, x)


def by_instance(x: torch.Tensor, weight: Any, bias: Any) -> Any:
    return [by_own_statistics(x[i : i + 1], weight, bias) for i in range(x.shape[0])]


def batch_norms() -> list[Entry]:
    own, given = by_own_statistics, by_given_statistics
    weights, held = (WEIGHT, BIAS), (MEAN, VARIANCE)
    clones = tuple(t.clone() for t in held)
    return [
        counted(aten.batch_norm.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *held, False, 0.1, EPS, False),
        counted(aten.batch_norm.default, lambda x, *_: given(x, None, None), IMAGES, None, None, *held, False, 0.1, EPS, False, case="without weights"),
        counted(aten.batch_norm.default, lambda x, w, b, *_: own(x, w, b), IMAGES, *weights, *held, True, 0.1, EPS, False, case="in training"),
        counted(aten.batch_norm.default, lambda x, w, *_: own(x, w, None), IMAGES, WEIGHT, None, *held, True, 0.1, EPS, False, case="in training, without bias"),
        counted(aten.batch_norm.default, lambda x, w, b, *_: own(x, w, b), IMAGES, *weights, None, None, True, 0.1, EPS, False, case="without statistics"),
        counted(aten.instance_norm.default, lambda x, w, b, *_: by_instance(x, w, b), IMAGES, *weights, None, None, True, 0.1, EPS, False),
        counted(aten.instance_norm.default, lambda x, w, b, *_: by_instance(x, w, b), IMAGES, *weights, *held, True, 0.1, EPS, False, case="with statistics kept"),
        counted(aten.instance_norm.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *held, False, 0.1, EPS, False, case="by statistics kept"),
        counted(aten.native_batch_norm.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *held, False, 0.1, EPS),
        counted(aten.native_batch_norm.default, lambda x, w, b, *_: own(x, w, b), IMAGES, *weights, *held, True, 0.1, EPS, case="in training"),
        counted(aten._native_batch_norm_legit.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *clones, False, 0.1, EPS),
        counted(aten._native_batch_norm_legit.no_stats, lambda x, w, b, *_: own(x, w, b), IMAGES, *weights, True, 0.1, EPS),
        counted(aten._native_batch_norm_legit_no_training.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *held, 0.1, EPS),
        counted(
            aten.cudnn_batch_norm.default, lambda x, w, b, *_: given(x, w, b), IMAGES, *weights, *held, False, 0.1, EPS,
            gives=(IMAGES.clone(), MEAN.clone(), MEAN.clone(), MEAN.clone()),
        ),
    ]  # fmt: skip


def image(*sizes: int) -> torch.Tensor:
    return torch.arange(math.prod(sizes), dtype=torch.float64).mul(7).remainder(11).sub(4).reshape(1, 2, *sizes[1:])


def windows(
    x: torch.Tensor, kernel: Sequence[int], starts: Callable[[tuple[int, ...]], Sequence[int]], out: Sequence[int]
) -> list[list[Number]]:
    """The elements of each window, which begins where ``starts`` says, of each channel."""
    return [
        [
            Number(x[0, channel][tuple(a + b for a, b in zip(starts(place), tap, strict=True))].item())
            for tap in places(kernel)
        ]
        for channel in range(2)
        for place in places(out)
    ]


def pooled(reduce: Callable[[Sequence[float]], float], kernel: Sequence[int], stride: int) -> Callable[..., Any]:
    """Windows that lie within the image, one operation for each of their elements; averages divide once a window."""

    def pool(x: torch.Tensor, *_: Any, **__: Any) -> list[float]:
        out = [(size - k) // stride + 1 for size, k in zip(x.shape[2:], kernel, strict=True)]
        return [reduce(w) for w in windows(x, kernel, lambda place: [stride * i for i in place], out)]

    return pool


def average(window: Sequence[float]) -> float:
    return float(total(window)) / len(window)


def poolings() -> list[Entry]:
    """In one, two and three dimensions; a kernel of one number holds for all."""
    entries: list[Entry] = []
    for dims, kernel in ((1, (3,)), (2, (2, 3)), (3, (2, 1, 3))):
        x = image(2, *(5, 7, 6)[:dims])
        for name in (f"max_pool{dims}d", f"max_pool{dims}d_with_indices", f"avg_pool{dims}d"):
            reduce = average if "avg" in name else greatest
            operator = getattr(aten, name).default
            entries.append(counted(operator, pooled(reduce, kernel, 2), x, list(kernel), [2] * dims))
            entries.append(counted(operator, pooled(reduce, (2,) * dims, 2), x, [2], [2], case="of one size"))
    for dims, kernel in ((2, (2, 3)), (3, (2, 1, 3))):
        x, out = image(2, *(5, 7, 6)[:dims]), (2, 3, 2)[:dims]
        # At random samples of zero each window begins at a whole number of regular steps, and the last one ends at the side.
        entries.append(
            counted(
                getattr(aten, f"fractional_max_pool{dims}d").default, fractional(kernel, out), x, list(kernel),
                list(out), torch.zeros(1, 2, dims, dtype=torch.float64),
            )
        )  # fmt: skip
    return entries


def fractional(kernel: Sequence[int], out: Sequence[int]) -> Callable[..., Any]:
    def pool(x: torch.Tensor, *_: Any) -> list[float]:
        def starts(place: tuple[int, ...]) -> list[int]:
            fits = [size - k for size, k in zip(x.shape[2:], kernel, strict=True)]
            return [fit if i == n - 1 else int(i * fit / (n - 1)) for i, n, fit in zip(place, out, fits, strict=True)]

        return [greatest(window) for window in windows(x, kernel, starts, out)]

    return pool


def adaptive(reduce: Callable[[Sequence[float]], float], out: Sequence[int]) -> Callable[..., Any]:
    """Window i of n runs from ⌊i·size/n⌋ to ⌈(i + 1)·size/n⌉, as torch documents it."""

    def pool(x: torch.Tensor, *_: Any) -> list[float]:
        result = []
        for channel in range(2):
            for place in places(out):
                spans = [
                    range(i * size // n, -(-(i + 1) * size // n))
                    for i, n, size in zip(place, out, x.shape[2:], strict=True)
                ]
                result.append(reduce([Number(x[0, channel][at].item()) for at in product(*spans)]))
        return result

    return pool


def adaptive_poolings() -> list[Entry]:
    entries: list[Entry] = []
    for name in (
        "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
        "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    ):  # fmt: skip
        dims = int(name[-2])
        for sizes, out in (((5, 7, 6), (3, 2, 4)), ((4, 6, 3), (2, 3, 3)), ((3, 2, 2), (5, 1, 4))):
            x, wanted = image(2, *sizes[:dims]), out[:dims]
            reduce = average if "avg" in name else greatest
            case = f"{sizes[:dims]} to {wanted}"
            entries.append(counted(getattr(aten, name).default, adaptive(reduce, wanted), x, list(wanted), case=case))
    return entries


ENTRIES = [
    counted(aten.softmax.int, softmax, X, -1),
    counted(aten.log_softmax.int, log_softmax, X, -1),
    counted(aten.sum.dim_IntList, lambda x, _: [total(row) for row in rows(x)], X, [1]),
    counted(aten.sum.default, lambda x: total(numbers(x)), X),
    counted(aten.amax.default, lambda x, _: [greatest(row) for row in rows(x)], X, [1]),
    counted(aten.aminmax.default, extremes, X, dim=1),
    counted(
        "quantized_decomposed.choose_qparams.tensor",
        lambda **given: extremes(given["input"].reshape(1, -1)),
        input=X,
        gives=(X.new_zeros(1), X.new_zeros(1)),
    ),
    counted(aten.nansum.default, lambda x, _: [total(map(number_or_nothing, row)) for row in rows(x)], X, [1]),
    counted(aten.var.dim, variance, X, [1]),
    counted(aten.cumsum.default, running(lambda a, b: a + b, 0), X, 1),
    counted(aten.cumprod.default, running(lambda a, b: a * b, 1), X, 1),
    counted(aten.diff.default, differences, X),
    counted(aten.diff.default, lambda x, n: [repeated(row, n) for row in rows(x)], X, 2, case="twice"),
    counted(aten.diff.default, lambda x, *_: [repeated(column, 3) for column in rows(x.T)], torch.cat([X, X]), 3, 0, compared=lambda result: result.T, case="three times, down"),
    counted(aten.diff.default, lambda x, _: [repeated(row, 9) for row in rows(x)], X, 9, case="until nothing is left"),
    counted(aten.diff.default, lambda x, n, _, first, last: [repeated([*a, *b, *c], n) for a, b, c in zip(rows(first), rows(x), rows(last), strict=True)], X, 2, -1, X[:, :1], X[:, 1:3], case="with more at both ends"),
    counted(aten.count_nonzero.default, lambda x: total(float(not equal(value, 0)) for value in numbers(x)), X),
    counted(aten.logcumsumexp.default, running(added_logarithms, -1e30), X, 1),
    counted(aten._weight_norm.default, by_norms, X, SCALES[:3, None].clone(), 0),
    counted(aten._weight_norm_interface.default, by_norms, X, SCALES[:3, None].clone(), 0),
    counted(aten.logsumexp.default, log_of_sum, X, [1]),
    counted(aten.trace.default, lambda x: total(x[i, i].item() for i in range(3)), X),
    counted(aten.trace.default, lambda x: total(x[i, i].item() for i in range(3)), X.T, case="of a high one"),
    counted(aten.nanmean.default, mean_of_numbers, X, [1]),
    counted(aten.mean.dim, lambda x, _: [total(row) / 4 for row in rows(x)], X, [1]),
    counted(aten.layer_norm.default, layer_norm, X, [4], SCALES, SHIFTS),
    counted(aten.layer_norm.default, layer_norm, X, [4], SCALES, case="without bias"),
    counted(aten.layer_norm.default, layer_norm, X, [4], case="without weights"),
    counted(aten.native_layer_norm.default, layer_norm, X, [4], SCALES, SHIFTS, EPS),
    counted(aten.group_norm.default, group_norm, IMAGES, 1, WEIGHT, BIAS),
    counted(aten.group_norm.default, group_norm, IMAGES, 2, case="without weights"),
    counted(
        aten.native_group_norm.default, lambda x, *_: group_norm(x, 1), IMAGES, None, None, 2, 2, 3, 1, EPS
    ),
    counted(aten.rms_norm.default, root_mean_square, X, [4], SCALES, EPS),
    counted(aten.rms_norm.default, root_mean_square, X, [4], None, EPS, case="without weight"),
    counted(aten._fused_rms_norm.default, root_mean_square, X, [4], SCALES, EPS),
    *batch_norms(),
    *poolings(),
    *adaptive_poolings(),
]  # fmt: skip

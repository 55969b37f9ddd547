"""Operators that treat each element alone, complex numbers and quantized values: by their formulas."""

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.table.counting import (
    above,
    at_most,
    atan2,
    below,
    cos,
    counting,
    equal,
    erf,
    exp,
    is_nan,
    larger,
    log,
    log1p,
    log2,
    numbers,
    picked,
    power,
    rounded,
    sin,
    smaller,
    sqrt,
    tanh,
    total,
    trunc,
)
from tests.table.entries import SEED, counted, free, pointwise, unknown

aten = torch.ops.aten
X = torch.tensor([[0.7, 0.2, 0.4], [0.9, 0.35, 0.55]], dtype=torch.float64)
Y = torch.tensor([[1.9, 0.6, 2.2], [0.3, 1.4, 0.8]], dtype=torch.float64)
BELOW = -X
"""Where a function has two branches the number is on the costlier one, which is most often below zero."""
SLOPES = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
X3 = 0.044715


def sloped(x: float, slope: float = 0.01) -> float:
    return slope * x if below(x, 0) else x


def outside(x: float, bound: float) -> float:
    return x if above(x, bound) or below(x, -bound) else 0


def shrunk(x: float, bound: float) -> float:
    return x - bound if above(x, bound) else x + bound if below(x, -bound) else 0


def filled(x: float) -> float:
    return 0 if is_nan(x) else 1 if equal(x, math.inf) else -1 if equal(x, -math.inf) else x


def sinc(x: float) -> float:
    turned = math.pi * x
    return sin(turned) / turned


def added_logarithms(x: float, y: float) -> float:
    return larger(x, y) + log1p(exp(-abs(x - y)))


def added_binary_logarithms(x: float, y: float) -> float:
    """As torch's kernel has it: no function gives the binary logarithm of one more."""
    return larger(x, y) + log2(1 + power(2, -abs(x - y)))


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def clipped(x: float, low: float, high: float) -> float:
    return smaller(larger(x, low), high)


def logit(x: float) -> float:
    return log(x / (1 - x))


def exponential(x: float, alpha: Any = None, scale: Any = None, within: Any = None) -> float:
    """A factor that is 1 is left out."""
    if above(x, 0):
        return x
    grown = exp(x if within is None else within * x) - 1
    grown = grown if alpha is None else alpha * grown
    return grown if scale is None else scale * grown


def gelu_erf(x: float) -> float:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + X3 * x * x * x)))


def selu(x: float) -> float:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * (x if above(x, 0) else alpha * (exp(x) - 1))


def celu(x: float, alpha: float) -> float:
    return x if above(x, 0) else alpha * (exp(x / alpha) - 1)


def by_halves(x: torch.Tensor, dim: int) -> list[float]:
    """A gated linear unit."""
    left, right = x.chunk(2, dim)
    return [a * sigmoid(b) for a, b in zip(numbers(left), numbers(right), strict=True)]


ELEMENTARY: dict[Any, Any] = {
    aten.exp.default: math.exp, aten.log.default: math.log, aten.sqrt.default: math.sqrt, aten.sin.default: math.sin,
    aten.tanh.default: math.tanh, aten.erf.default: math.erf, aten.floor.default: math.floor, aten.atan.default: math.atan,
    aten.erfc.default: math.erfc, aten.lgamma.default: math.lgamma, aten.special_gammaln.default: math.lgamma,
    aten.special_erfc.default: math.erfc, aten.neg.default: lambda x: -x, aten.abs.default: abs,
    aten.relu.default: lambda x: max(x, 0), aten.reciprocal.default: lambda x: 1 / x,
    aten.special_expm1.default: math.expm1,
}  # fmt: skip
OF_TWO: dict[Any, Callable[[float, float], float]] = {
    aten.mul.Tensor: lambda x, y: x * y, aten.div.Tensor: lambda x, y: x / y, aten.pow.Tensor_Tensor: math.pow,
    aten.maximum.default: max, aten.fmod.Tensor: math.fmod, aten.lt.Tensor: lambda x, y: x < y,
    aten.atan2.default: math.atan2,
}  # fmt: skip


def dropped(x: torch.Tensor, p: float, training: bool = True) -> list[float]:
    """Each element by its mask, and by the scale that keeps the mean."""
    torch.manual_seed(SEED)
    kept = numbers(torch.empty_like(x).bernoulli_(1 - p))
    return [value * mask * (1 / (1 - p)) for value, mask in zip(numbers(x), kept, strict=True)]


def alpha_dropped(x: torch.Tensor, p: float, training: bool = True) -> list[float]:
    """As Klambauer et al. 2017 have it, a·(x·d + α'·(1 − d)) + b: an element or α', then a product and a sum."""
    least = -1.7580993408473766
    scale = ((1 - p) * (1 + p * least**2)) ** -0.5
    shift = -scale * p * least
    torch.manual_seed(SEED)
    kept = numbers(torch.empty_like(x).bernoulli_(1 - p))
    return [picked(mask, value, least) * scale + shift for value, mask in zip(numbers(x), kept, strict=True)]


SCALE, ZERO_POINT, LOW, HIGH = 0.25, 3, -8, 7


def quantized(x: float, low: int = LOW, high: int = HIGH) -> float:
    inverse = float(1 / SCALE)  # the same for all elements
    return clipped(rounded(x * inverse) + ZERO_POINT, low, high)


def dequantized(q: float) -> float:
    return (q - ZERO_POINT) * SCALE

    return []


C = torch.tensor([[0.7 - 1.3j, 0.2 + 0.4j, -0.5 + 1.1j], [1.2 + 0.6j, 0.8 - 0.9j, 0.3 + 0.3j]], dtype=torch.complex128)
D = torch.tensor([[1.9 + 0.4j, 0.6 - 0.2j, 1.3 + 0.9j], [0.5 - 1.4j, 0.7 + 0.8j, 2.1 - 0.3j]], dtype=torch.complex128)


def complex_product(a: float, b: float, c: float, d: float) -> Any:
    return a * c - b * d, a * d + b * c


def complex_quotient(a: float, b: float, c: float, d: float) -> Any:
    length = c * c + d * d
    return (a * c + b * d) / length, (b * c - a * d) / length


def turned(length: float, angle: float) -> Any:
    return length * cos(angle), length * sin(angle)


def complex_total(x: torch.Tensor, *_: Any) -> Any:
    return [[total(numbers(row.real)), total(numbers(row.imag))] for row in x]


def complex_mean(x: torch.Tensor, *_: Any) -> Any:
    return [[part / 3 for part in row] for row in complex_total(x)]


ENTRIES = [
    *(pointwise(operator, counting(function), X) for operator, function in ELEMENTARY.items()),
    *(pointwise(operator, counting(function), X, Y) for operator, function in OF_TWO.items()),
    pointwise(aten.hypot.default, lambda x, y: sqrt(x * x + y * y), X, Y),
    pointwise(aten.leaky_relu.default, sloped, BELOW),
    pointwise(aten.prelu.default, sloped, BELOW, SLOPES),
    pointwise(aten.rrelu.default, lambda x: sloped(x, 0.25), BELOW, 0.25, 0.25),
    unknown(aten.rrelu.default, BELOW, 0.25, 0.5, True, case="in training"),
    pointwise(aten.hardtanh.default, lambda x: clipped(x, -1, 1), X),
    pointwise(aten.lerp.Scalar, lambda x, y: x + 0.3 * (y - x), X, Y, 0.3),
    pointwise(aten.frac.default, lambda x: x - trunc(x), Y),
    pointwise(aten.hardshrink.default, lambda x: outside(x, 0.5), BELOW),
    pointwise(aten.softshrink.default, lambda x: shrunk(x, 0.1), BELOW, 0.1),
    pointwise(aten.xlogy.Tensor, lambda x, y: x * log(y), X, Y),
    pointwise(aten.special_xlog1py.default, lambda x, y: x * log1p(y), X, Y),
    pointwise(aten.special_entr.default, lambda x: -(x * log(x)), X),
    pointwise(aten.ldexp.Tensor, lambda x, y: x * power(2, y), X, Y),
    pointwise(aten.nan_to_num.default, filled, X),
    pointwise(aten.sinc.default, sinc, X),
    pointwise(aten.isclose.default, lambda x, y: at_most(abs(x - y), 1e-8 + 1e-5 * abs(y)), X, Y),
    pointwise(aten.logaddexp.default, added_logarithms, X, Y),
    pointwise(aten.logaddexp2.default, added_binary_logarithms, X, Y),
    pointwise(aten.special_expit.default, sigmoid, X),
    counted(aten.glu.default, by_halves, torch.cat([X, Y]), 0),
    pointwise(aten.log_sigmoid.default, lambda x: -log(1 + exp(-x)), X),
    pointwise(aten.sigmoid.default, sigmoid, X),
    pointwise(aten.silu.default, lambda x: x / (1 + exp(-x)), X),
    pointwise(aten.hardsigmoid.default, lambda x: clipped(x + 3, 0, 6) / 6, X),
    pointwise(aten.hardswish.default, lambda x: x * clipped(x + 3, 0, 6) / 6, X),
    pointwise(aten.selu.default, selu, BELOW),
    pointwise(aten.softplus.default, lambda x: log(1 + exp(x)), X),
    pointwise(aten.mish.default, lambda x: x * tanh(log(1 + exp(x))), X),
    pointwise(aten.gelu.default, gelu_erf, X),
    pointwise(aten.gelu.default, gelu_tanh, X, approximate="tanh"),
    pointwise(aten.add.Tensor, lambda x, y: x + y, X, Y),
    pointwise(aten.add.Tensor, lambda x, y: x + 3 * y, X, Y, alpha=3, case="by a factor"),
    pointwise(aten.sub.Tensor, lambda x, y: x - 2 * y, X, Y, alpha=2),
    pointwise(aten.subtract.Tensor, lambda x, y: x - y, X, Y),
    pointwise(aten.rsub.Tensor, lambda x, y: y - 3 * x, X, Y, alpha=3),
    pointwise(aten.addcmul.default, lambda x, y, z: x + y * z, X, Y, BELOW),
    pointwise(aten.addcmul.default, lambda x, y, z: x + 2 * (y * z), X, Y, BELOW, value=2, case="by a factor"),
    pointwise(aten.addcdiv.default, lambda x, y, z: x + 3 * (y / z), X, Y, BELOW, value=3),
    pointwise(aten.elu.default, exponential, BELOW),
    pointwise(aten.elu.default, lambda x: exponential(x, 2.0), BELOW, 2.0, case="by alpha"),
    pointwise(aten.elu.default, lambda x: exponential(x, 3.0, 2.0, 4.0), BELOW, 3.0, 2.0, 4.0, case="by all"),
    pointwise(aten.celu.default, exponential, BELOW),
    pointwise(aten.celu.default, lambda x: celu(x, 2.0), BELOW, 2.0, case="by alpha"),
    pointwise(aten.logit.default, logit, X),
    pointwise(aten.special_logit.default, logit, X),
    pointwise(aten.logit.default, lambda x: logit(clipped(x, 0.3, 0.7)), X, 0.3, case="in bounds"),
    pointwise(aten.clamp.default, lambda x: clipped(x, 0.3, 0.6), X, 0.3, 0.6),
    pointwise(aten.clamp.default, lambda x: larger(x, 0.3), X, 0.3, case="from below"),
    pointwise(aten.clip.default, lambda x: smaller(x, 0.6), X, None, 0.6),
    counted(aten.dropout.default, dropped, X, 0.25, True),
    counted(aten.native_dropout.default, dropped, X, 0.25, True),
    counted(aten.feature_dropout.default, dropped, X[..., None].clone(), 0.25, True),
    counted(aten.native_dropout.default, dropped, X, 0.25, None, case="in training unless said"),
    free(aten.native_dropout.default, X, 0.0, True, case="of nothing"),
    free(aten.dropout.default, X, 0.25, False, case="outside training"),
    free(aten.dropout.default, X, 0.0, True, case="of nothing"),
    free(aten.native_dropout.default, X, 0.25, False, case="outside training"),
    counted(aten.alpha_dropout.default, alpha_dropped, X, 0.25, True),
    counted(aten.feature_alpha_dropout.default, alpha_dropped, X, 0.25, True),
    # Complex numbers
    pointwise(aten.mul.Tensor, complex_product, C, D),
    pointwise(aten.multiply.Tensor, lambda a, b, c: (a * c, b * c), C, X, case="by real ones"),
    pointwise(aten.mul.Scalar, lambda a, b: (a * 3, b * 3), C, 3, case="by a number"),
    pointwise(aten.div.Tensor, complex_quotient, C, D),
    pointwise(aten.divide.Tensor, lambda a, b, c: (a / c, b / c), C, X, case="by real ones"),
    pointwise(aten.true_divide.Tensor, complex_quotient, C, D),
    unknown(aten.div.Tensor, X, D, case="of a real one"),
    pointwise(aten.add.Tensor, lambda a, b, c, d: (a + c, b + d), C, D),
    pointwise(aten.sub.Tensor, lambda a, b, c, d: (a - c, b - d), C, D),
    pointwise(aten.subtract.Tensor, lambda a, b, c: (a - c, b), C, X, case="less real ones"),
    unknown(aten.add.Tensor, C, D, alpha=2),
    unknown(aten.sin.default, C),
    pointwise(aten.abs.default, lambda a, b: sqrt(a * a + b * b), C),
    pointwise(aten.angle.default, lambda a, b: atan2(b, a), C),
    pointwise(aten.neg.default, lambda a, b: (-a, -b), C),
    pointwise(aten.conj_physical.default, lambda a, b: (a, -b), C),
    pointwise(aten.polar.default, turned, X, Y),
    pointwise(aten.exp.default, lambda a, b: turned(exp(a), b), C),
    counted(aten.sum.dim_IntList, complex_total, C, [1]),
    counted(aten.mean.dim, complex_mean, C, [1]),
    # Quantized values
    pointwise(
        aten.fake_quantize_per_tensor_affine.default,
        lambda x: dequantized(quantized(x)),
        Y.float(),
        SCALE,
        ZERO_POINT,
        LOW,
        HIGH,
    ),
    counted(
        aten.quantize_per_tensor.default,
        lambda x, *_: [quantized(each, -128, 127) for each in numbers(x)],
        Y.float(),
        SCALE,
        ZERO_POINT,
        torch.qint8,
        compared=lambda q: q.int_repr(),
    ),
    counted(
        "quantized_decomposed.dequantize_per_tensor.default",
        lambda **given: [dequantized(q) for q in numbers(given["input"])],
        input=Y,
        gives=Y.clone(),
    ),
]

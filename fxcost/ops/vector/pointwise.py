"""Arithmetic of operators that treat each element alone: one operation for each step of the formula."""

import sympy
import torch

from fxcost.ops.rules import Call, op, per_output

aten = torch.ops.aten

per_output(
    1,
    aten.mul, aten.div, aten.floor_divide, aten.remainder, aten.fmod, aten.neg, aten.abs,
    aten.pow, aten.square, aten.sqrt, aten.rsqrt, aten.reciprocal, aten.exp, aten.exp2, aten.expm1, aten.log, aten.log2,
    aten.log1p, aten.sin, aten.cos, aten.tan, aten.atan, aten.atan2, aten.tanh, aten.erf, aten.sign, aten.floor, aten.ceil,
    aten.round, aten.trunc, aten.maximum, aten.minimum, aten.max.other, aten.min.other,
    aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge, aten.isnan, aten.isinf, aten.isfinite,
    aten.logical_and, aten.logical_or, aten.logical_not, aten.logical_xor,
    aten.bitwise_and, aten.bitwise_or, aten.bitwise_not, aten.bitwise_xor, aten.__and__, aten.__or__, aten.__xor__,
    aten.__lshift__, aten.__rshift__,
    aten.relu, aten.threshold, aten.clamp_min, aten.clamp_max, aten.where, aten.masked_fill, aten.tril, aten.triu,
    aten.absolute, aten.multiply, aten.divide, aten.true_divide, aten.negative, aten.fix, aten.fmax, aten.fmin,
    aten.float_power, aten.acos, aten.asin, aten.acosh, aten.asinh, aten.atanh, aten.cosh, aten.sinh, aten.arccos, aten.arcsin,
    aten.arctan, aten.arctan2, aten.arccosh, aten.arcsinh, aten.arctanh, aten.log10, aten.sgn, aten.signbit, aten.copysign,
    aten.deg2rad, aten.rad2deg, aten.nextafter, aten.isposinf, aten.isneginf, aten.isreal, aten.heaviside,
    aten.not_equal, aten.less, aten.less_equal, aten.greater, aten.greater_equal,
    aten.bitwise_left_shift, aten.bitwise_right_shift, aten.__ilshift__, aten.__irshift__, aten.__iand__, aten.__ior__,
    aten.__ixor__, aten.special_exp2, aten.special_expm1, aten.special_log1p, aten.special_round,
    reason="one arithmetic operation, comparison or elementary function for each output element",
)  # fmt: skip
per_output(
    1,
    aten.erfc, aten.erfinv, aten.lgamma, aten.digamma, aten.polygamma, aten.i0, aten.igamma, aten.igammac,
    aten.special_erf, aten.special_erfc, aten.special_erfcx, aten.special_erfinv, aten.special_gammaln, aten.special_digamma,
    aten.special_psi, aten.special_gammainc, aten.special_gammaincc, aten.special_i0, aten.special_i0e, aten.special_i1,
    aten.special_i1e, aten.special_ndtr, aten.special_ndtri, aten.special_log_ndtr, aten.special_bessel_j0,
    aten.special_bessel_j1, aten.special_bessel_y0, aten.special_bessel_y1, aten.special_zeta, aten.special_airy_ai,
    reason="a special function counts as one operation for each output element, like an elementary one",
)  # fmt: skip
per_output(2, aten.leaky_relu, aten.prelu, aten._prelu_kernel, reason="a comparison and a multiplication")
per_output(2, aten.hardtanh, aten.relu6, reason="a comparison with each of two bounds")
per_output(3, aten.lerp, reason="a + w·(b − a): subtract, multiply, add")
per_output(2, aten.frac, reason="x − trunc(x): truncate and subtract")
per_output(2, aten.hardshrink, reason="a comparison with each of two bounds")
per_output(3, aten.softshrink, reason="a comparison with each of two bounds, and a subtraction")
per_output(2, aten.xlogy, aten.special_xlogy, aten.special_xlog1py, reason="a logarithm and a product")
per_output(3, aten.special_entr, reason="−x · log(x): logarithm, product, negate")
per_output(2, aten.ldexp, reason="x · 2^e: a power and a product")
per_output(3, aten.nan_to_num, reason="a comparison with each of three values: no number, and the two infinities")
per_output(3, aten.sinc, aten.special_sinc, reason="sin(πx)/(πx): product, sine, divide")
per_output(4, aten.hypot, reason="√(x² + y²): two squares, a sum, a root")
per_output(6, aten.isclose, reason="|a − b| ≤ t + r·|b|: subtract, two absolute values, multiply, add, compare")
per_output(
    7, aten.logaddexp,
    reason="max(a, b) + log(1 + exp(−|a − b|)): maximum, subtract, absolute value, negate, exp, log1p, add",
)  # fmt: skip
per_output(
    8, aten.logaddexp2,
    reason="max(a, b) + log2(1 + 2^(−|a − b|)): maximum, subtract, absolute value, negate, power, add, log2, add",
)  # fmt: skip
per_output(4, aten.special_expit, reason="1/(1 + exp(−x)): negate, exp, add, divide")
per_output(5, aten.glu, reason="a · 1/(1 + exp(−b)) of two halves: negate, exp, add, divide, multiply")
LOG_SIGMOID = 5
"""−log(1 + exp(−x)): negate, exp, add, log, negate."""
per_output(
    LOG_SIGMOID, aten.log_sigmoid, aten.log_sigmoid_forward, reason="−log(1 + exp(−x)): negate, exp, add, log, negate"
)
per_output(4, aten.sigmoid, reason="1/(1 + exp(−x)): negate, exp, add, divide")
per_output(4, aten.silu, reason="x/(1 + exp(−x)): negate, exp, add, divide")
per_output(4, aten.hardsigmoid, reason="min(max(x + 3, 0), 6)/6: add, max, min, divide")
per_output(5, aten.hardswish, reason="x · min(max(x + 3, 0), 6)/6: add, max, min, divide, multiply")
per_output(5, aten.selu, reason="λ · (x or α·(exp(x) − 1)): compare, exp, subtract, two multiplications")
per_output(3, aten.softplus, reason="log(1 + exp(x)): exp, add, log")
per_output(5, aten.mish, reason="x · tanh(log(1 + exp(x))): exp, add, log, tanh, multiply")

GELU_ERF = 5
"""0.5 · x · (1 + erf(x/√2)): divide, erf, add, two multiplications."""
GELU_TANH = 9
"""0.5 · x · (1 + tanh(√(2/π)·(x + 0.044715·x³))): five multiplications to the argument's add, then as GELU_ERF."""


@op(aten.gelu, reason=f"{GELU_ERF} operations with erf, {GELU_TANH} with tanh, by the argument 'approximate'")
def gelu(call: Call) -> sympy.Expr:
    return (GELU_TANH if call["approximate"] == "tanh" else GELU_ERF) * call.output.elements


def _is_scaled(call: Call, *factors: str) -> int:
    return sum(call.arguments.get(name, 1) != 1 for name in factors)


@op(
    aten.add,
    aten.sub,
    aten.rsub,
    aten.subtract,
    reason="one addition for each output element, and a multiplication where alpha is not 1",
)
def addition(call: Call) -> sympy.Expr:
    return (1 + _is_scaled(call, "alpha")) * call.output.elements


@op(aten.addcmul, aten.addcdiv, reason="a product or quotient and a sum, and a multiplication where value is not 1")
def addition_of_product(call: Call) -> sympy.Expr:
    return (2 + _is_scaled(call, "value")) * call.output.elements


@op(
    aten.elu,
    aten.celu,
    reason="compare, exp and subtract, and a multiplication or division for each factor that is not 1",
)
def exponential_linear(call: Call) -> sympy.Expr:
    factors = _is_scaled(call, "alpha", "scale", "input_scale")
    return (3 + (2 * factors if call.operator.startswith("aten.celu") else factors)) * call.output.elements


@op(
    aten.logit,
    aten.special_logit,
    reason="log(x/(1 − x)): subtract, divide, log; and a comparison with each bound where eps is given",
)
def logit(call: Call) -> sympy.Expr:
    return (3 if call["eps"] is None else 5) * call.output.elements


@op(aten.clamp, aten.clip, reason="a comparison with each bound given")
def clamp(call: Call) -> sympy.Expr:
    return sum(call[name] is not None for name in ("min", "max")) * call.output.elements


def _not_training(call: Call) -> bool:
    return call["train"] is False or call["p"] == 0  # native_dropout without a word trains


DROPOUT = 2
"""A mask and a scale for each element."""


@op(
    aten.dropout, aten.feature_dropout, aten.native_dropout,
    reason="in training, a mask and a scale for each element; nothing otherwise", free_when=_not_training,
)  # fmt: skip
def dropout(call: Call) -> sympy.Expr:
    return DROPOUT * call.output.elements


ALPHA_DROPOUT = 3
"""a · (x or α') + b: a choice by the mask, a product, a sum (Klambauer et al. 2017, arXiv:1706.02515)."""


@op(
    aten.alpha_dropout, aten.feature_alpha_dropout,
    reason="in training, a choice by a mask, a product and a sum for each element; nothing otherwise",
    free_when=_not_training,
)  # fmt: skip
def alpha_dropout(call: Call) -> sympy.Expr:
    return ALPHA_DROPOUT * call.output.elements


def _draws_slopes(call: Call) -> bool:
    return call["training"]


@op(
    aten.rrelu, reason="a comparison and a multiplication, as leaky ReLU",
    unknown_when=_draws_slopes, unknown_why="in training the slopes are drawn at random",
)  # fmt: skip
def randomized_leaky_relu(call: Call) -> sympy.Expr:
    return 2 * call.output.elements

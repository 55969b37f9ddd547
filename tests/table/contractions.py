"""Contractions and attention: by loops that give torch's value, or by torch's own counter."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fxcost.ops.kernels import ATTENTION, LINEAR_DYNAMIC, MASK
from tests.table.counting import Number, contracted, drawn, larger, mac, numbers, work
from tests.table.entries import OUT_DTYPE, Cost, Entry, Moved, counted, free, unknown
from tests.table.pointwise import gelu_erf
from tests.table.reductions import layer_norm

aten = torch.ops.aten


def seen(function: Callable[..., Any], *tensors: torch.Tensor) -> int:
    """Multiply-adds that torch's counter sees: it counts two FLOPs for each."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            function(*(tensor.to("meta") for tensor in tensors))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops() // 2


def as_torch(
    operator: Any, *given: Any, like: Callable[..., Any] | None = None, gives: Any = None, case: str = "", **named: Any
) -> Entry:
    """An entry of what torch's counter sees of the operator, or of another that does the same."""

    def cost() -> Cost:
        found = seen(
            lambda *_: (like or operator)(*(to_meta(a) for a in given), **{k: to_meta(v) for k, v in named.items()})
        )
        assert found > 0
        return Cost(macs=found)

    return Entry(operator, cost, given, named, gives, case)


def to_meta(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [to_meta(each) for each in value]
    return value.to("meta") if isinstance(value, torch.Tensor) else value


# Convolutions


def transposed(dims: int) -> Any:
    packet = getattr(aten, f"conv_transpose{dims}d")
    return getattr(packet, "default" if dims == 1 else "input")


def convolutions() -> list[Entry]:
    entries: list[Entry] = []
    for dims, kernel in ((1, (3,)), (2, (3, 2)), (3, (1, 2, 3))):
        sizes = (5, 6, 4)[:dims]
        x, weight, bias = drawn(2, 4, *sizes), drawn(6, 2, *kernel), drawn(6)
        entries += [
            as_torch(getattr(aten, f"conv{dims}d").default, x, weight, bias, [2], [1], [1], 2),
            as_torch(transposed(dims), x, drawn(4, 3, *kernel), bias, [2], [1], [0], 2),
        ]
    x, weight = drawn(2, 4, 5, 6), drawn(6, 2, 3, 2)
    wide, deep = drawn(6, 4, 3, 2), drawn(6, 4, 1, 2, 3)
    rest = [1, 1], [1, 1], [1, 1]
    out = functional.conv2d(x, weight, None, 1, 1, 1, 2)
    volume = drawn(2, 4, 3, 5, 6)
    same = lambda *_: functional.conv2d(to_meta(x), to_meta(weight), None, 1, 1, 1, 2)  # noqa: E731
    depthwise = drawn(4, 1, 3, 2), drawn(4, 1, 1, 2, 3)
    return [
        *entries,
        as_torch(aten.convolution.default, x, weight, None, *rest, False, [0, 0], 2),
        as_torch(aten.convolution.default, x, drawn(4, 3, 3, 2), None, [2, 2], [1, 1], [1, 1], True, [0, 0], 2, case="transposed"),
        as_torch(aten._convolution.default, x, drawn(4, 3, 3, 2), None, [2, 2], [1, 1], [1, 1], True, [0, 0], 2, False, False, False, False),
        as_torch(aten._convolution_mode.default, x, weight, None, [1, 1], "same", [1, 1], 2),
        as_torch(aten._conv_depthwise2d.default, x, depthwise[0], [3, 2], None, *rest, like=lambda x, w, *_: functional.conv2d(x, w, None, 1, 1, 1, 4), gives=functional.conv2d(x, depthwise[0], None, 1, 1, 1, 4)),
        as_torch(aten.conv_depthwise3d.default, volume, depthwise[1], [1, 2, 3], None, [1, 1, 1], [0, 0, 0], [1, 1, 1], like=lambda x, w, *_: functional.conv3d(x, w, None, groups=4), gives=functional.conv3d(volume, depthwise[1], None, groups=4)),
        as_torch(aten.thnn_conv2d.default, x, wide, [3, 2], None, [1, 1], [1, 1], like=lambda x, w, *_: functional.conv2d(x, w, None, 1, 1)),
        as_torch(aten.slow_conv3d.default, volume, deep, [1, 2, 3], like=lambda x, w, *_: functional.conv3d(x, w)),
        as_torch(aten.mkldnn_convolution.default, x, weight, None, *rest, 2, like=same, gives=out),
        as_torch(aten.cudnn_convolution.default, x, weight, *rest, 2, False, False, False, like=same, gives=out),
        counted(aten.conv_tbc.default, over_time, drawn(5, 2, 4), drawn(3, 4, 2), drawn(2), 1),
    ]  # fmt: skip


def over_time(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pad: int) -> list[float]:
    padded = functional.pad(x, (0, 0, 0, 0, pad, pad))
    taps, width, channels = weight.shape
    result = []
    for time, row, channel in product(range(len(padded) - taps + 1), range(x.shape[1]), range(channels)):
        held = float(bias[channel])
        for tap, source in product(range(taps), range(width)):
            held = mac(held, float(padded[time + tap, row, source]), float(weight[tap, source, channel]))
        result.append(held)
    return result


# Products


def by(equation: str) -> Callable[..., torch.Tensor]:
    return lambda x, y, *_, **__: contracted(equation, x, y)


def plus(equation: str) -> Callable[..., torch.Tensor]:
    return lambda start, x, y: start + contracted(equation, x, y)


A, B, V = drawn(2, 3), drawn(3, 4), drawn(3)
BATCH, OTHERS = drawn(5, 2, 3), drawn(5, 3, 4)
NUMBER = torch.tensor(2.0, dtype=torch.float64)
F8 = torch.float8_e4m3fn
ONE = torch.ones(())
ROWS = drawn(2, 16)


def complex_of(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(x, x.flip(-1) + 1)


def complex_macs(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(a + bi)(c + di) added to a sum: four real multiply-adds."""
    real = contracted("ij,jk->ik", x.real, y.real) - contracted("ij,jk->ik", x.imag, y.imag)
    return torch.complex(real, contracted("ij,jk->ik", x.real, y.imag) + contracted("ij,jk->ik", x.imag, y.real))


SCALES = [ONE], [0], [0]
KERNELS = {
    aten._scaled_mm_v2.default: (*SCALES, *SCALES, None, None), aten._weight_int8pack_mm.default: (ONE,),
    aten._weight_int4pack_mm.default: (32, ONE), aten._weight_int4pack_mm_for_cpu.default: (32, ONE),
    aten.mkldnn_linear.default: (),
}  # fmt: skip
"""What kernels take beside rows and a matrix, whose form is their own."""


def by_kernel(operator: Any, *rest: Any) -> Entry:
    """A product of 2 rows of 3 with a matrix for 4, as the kernel gives it."""
    return counted(operator, lambda x, w, *_: contracted("ij,jk->ik", x, B), A, B.T.contiguous(), *rest, gives=A @ B)


def products() -> list[Entry]:
    return [
        counted(aten.linear.default, lambda x, w, b: contracted("ij,kj->ik", x, w) + b, A, B.T.contiguous(), drawn(4)),
        counted(LINEAR_DYNAMIC, lambda x, w, _: contracted("ij,kj->ik", x, w), A, B.T.contiguous(), None, gives=A @ B),
        counted(aten.matmul.default, by("bij,jk->bik"), BATCH, B),
        counted(aten.matmul.default, by("ij,bjk->bik"), A, OTHERS, case="of a stack"),
        counted(aten.mm.default, by("ij,jk->ik"), A, B),
        counted(aten.mm.default, complex_macs, complex_of(A), complex_of(B), case="complex"),
        counted(aten.bmm.default, by("bij,bjk->bik"), BATCH, OTHERS),
        counted(aten.mv.default, by("ij,j->i"), A, V),
        counted(aten.dot.default, by("i,i->"), V, V.flip(0)),
        counted(aten.vdot.default, by("i,i->"), V, V.flip(0)),
        counted(aten.linalg_matmul.default, by("ij,jk->ik"), A, B),
        counted(aten._int_mm.default, by("ij,jk->ik"), drawn(2, 8, dtype=torch.int8), drawn(8, 8, dtype=torch.int8)),
        counted(
            OUT_DTYPE,
            lambda _, __, x, y: contracted("ij,jk->ik", x, y),
            aten.mm.default,
            torch.int32,
            drawn(2, 8, dtype=torch.int8),
            drawn(8, 8, dtype=torch.int8),
            case="of mm",
        ),
        counted(aten.addmm.default, plus("ij,jk->ik"), drawn(4), A, B),
        counted(aten.baddbmm.default, plus("bij,bjk->bik"), drawn(4), BATCH, OTHERS),
        counted(aten.addmv.default, plus("ij,j->i"), drawn(2), A, V),
        counted(aten.addbmm.default, plus("bij,bjk->ik"), drawn(4), BATCH, OTHERS),
        counted(aten.inner.default, by("ij,kj->ik"), A, drawn(4, 3)),
        counted(aten.inner.default, by("bij,kj->bik"), BATCH, drawn(4, 3), case="of a stack"),
        unknown(aten.inner.default, A, NUMBER),
        counted(aten.linalg_vecdot.default, by("bij,ij->bi"), BATCH, A),
        counted(aten.tensordot.default, by("bij,jbk->ik"), BATCH, drawn(3, 5, 4), [0, 2], [1, 0]),
        counted(aten.bilinear.default, bilinear, drawn(5, 3), drawn(5, 4), drawn(2, 3, 4), None),
        counted(aten.affine_grid_generator.default, affine_grid, drawn(2, 2, 3), [2, 1, 3, 4], True),
        counted(
            aten.affine_grid_generator.default, affine_grid, drawn(2, 3, 4), [2, 1, 2, 3, 4], True, case="in space"
        ),
        counted(
            aten._scaled_mm.default,
            by("ij,jk->ik"),
            drawn(16, 16, dtype=F8),
            drawn(16, 16, dtype=F8).T,
            ONE,
            ONE,
            out_dtype=torch.float32,
            gives=drawn(16, 16),
        ),
        *(by_kernel(operator, *rest) for operator, rest in KERNELS.items()),
    ]


def bilinear(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, _: Any) -> torch.Tensor:
    """Each output feature's matrix meets the second input, and the first input the row that comes out."""
    return contracted("bi,bki->bk", x, contracted("bj,kij->bki", y, weight))


def affine_grid(theta: torch.Tensor, size: Sequence[int], _: bool) -> torch.Tensor:
    """Each position, the last axis first and a 1 at the end, meets each row of the matrix."""
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in size[2:]]
    grid = torch.stack([*torch.meshgrid(*axes, indexing="ij")[::-1], torch.ones(*size[2:], dtype=torch.float64)], -1)
    return contracted("pi,bki->bpk", grid.reshape(-1, grid.shape[-1]), theta)


def chain(*matrices: torch.Tensor) -> Entry:
    """Every order of the products is tried; that with the fewest multiply-adds is torch's."""
    shapes = [list(matrix.shape) for matrix in matrices]
    shapes[0] = shapes[0] if len(shapes[0]) == 2 else [1, *shapes[0]]
    shapes[-1] = shapes[-1] if len(shapes[-1]) == 2 else [*shapes[-1], 1]

    def cost() -> Cost:
        tried: list[int] = []
        for order in permutations(range(len(shapes) - 1)):
            Number.macs = 0
            held = [(torch.zeros(shape), index) for index, shape in enumerate(shapes)]
            for between in order:
                position = next(i for i, (_, last) in enumerate(held) if last == between)
                (left, _), (right, last) = held[position : position + 2]
                held[position : position + 2] = [(contracted("ij,jk->ik", left, right), last)]
            tried.append(Number.macs)
        return Cost(macs=min(tried))

    return Entry(aten.linalg_multi_dot.default, cost, (list(matrices),), case=f"of {len(matrices)}")


# Experts


def experts(operator: Any, rows_of: Sequence[int], count: int, case: str, *others: Any, name: str = "mat2") -> Entry:
    """Each row meets the matrix of the one expert it is sent to; read are as many as in the mean of all ways to send the rows."""
    length, width, out = len(rows_of), 4, 2

    def cost() -> Cost:
        Number.macs = 0
        x, weights = drawn(length, width), drawn(count, width, out)
        ways = product(range(count), repeat=length)
        mean = Fraction(sum(len(set(way)) for way in ways), count**length)
        for row, expert in enumerate(rows_of):
            contracted("i,ik->k", x[row], weights[expert])
        touched = Fraction(math.floor(mean * 2**32), 2**32)
        return Cost(macs=Number.macs, reads={name: touched * sum(1 for _ in numbers(weights[0]))})

    x, weights = drawn(length, width), drawn(count, width, out)
    if isinstance(operator, str):
        return Entry(
            operator, cost, (), {"input": x, "weight": weights, "offs": torch.zeros(count)}, drawn(length, out), case
        )
    return Entry(operator, cost, (x, weights, *others), {}, drawn(length, out), case)


def grouped() -> list[Entry]:
    few, many = [0, 1, 2], [0, 1, 2, 0, 1, 2, 0]
    offsets, one, recipe = torch.zeros(5), torch.ones(1), [0]
    stacks = drawn(2, 3, 4), drawn(2, 4, 2)
    entries: list[Entry] = []
    for sent, count, case in ((few, 5, "more experts than rows"), (many, 3, "more rows than experts")):
        entries += [
            experts(aten._grouped_mm.default, sent, count, case, offsets),
            experts(aten._scaled_grouped_mm.default, sent, count, case, one, one, offsets),
            experts(
                aten._scaled_grouped_mm_v2.default, sent, count, case, [one], recipe, recipe, [one], recipe, recipe
            ),
            experts("transformers.grouped_mm_fallback.default", sent, count, case, name="weight"),
        ]
    return [*entries, unknown(aten._grouped_mm.default, *stacks, gives=drawn(2, 3, 2))]


# Einsum


def summation(equation: str, *operands: torch.Tensor, vector: bool = False, case: str = "") -> Entry:
    """Operands from left to right, by loops; where no letter is summed each combination is a product."""

    def definition(_: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        result = contracted(equation, *tensors)
        if vector:
            Number.macs, Number.done = 0, Number.macs
        return result

    return counted(aten.einsum.default, definition, equation, list(operands), case=f"{equation} {case}".strip())


def chained(_: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    x, y, z = tensors
    return contracted("ij,jk->ik", contracted("il,lj->ij", x, y), z)


def complex_outer(_: str, tensors: Sequence[torch.Tensor]) -> Any:
    """(a + bi)(c + di), with no sum."""
    x, y = ([(Number(v.real), Number(v.imag)) for v in t.tolist()] for t in tensors)
    return [[(a * c - b * d, a * d + b * c) for c, d in y] for a, b in x]


def einsums() -> list[Entry]:
    first, second = complex_of(drawn(2)), complex_of(drawn(3))
    return [
        summation("bij,bjk->bik", BATCH, OTHERS),
        summation("ij,jk->ik", A, B),
        summation("bi,bj->bij", drawn(5, 2), drawn(5, 3), vector=True),
        counted(
            aten.einsum.default,
            lambda _, xs: contracted("abij,jk->abik", *xs),
            "...ij,jk->...ik",
            [drawn(2, 2, 2, 3), B],
        ),
        counted(
            aten.einsum.default,
            lambda _, xs: contracted("bij,bjk->bik", xs[0].expand(5, 2, 3), xs[1]),
            "bij,bjk->bik",
            [BATCH[:1], OTHERS],
            case="broadcast",
        ),
        counted(
            aten.einsum.default,
            lambda _, xs: contracted("bij,bjk->bik", xs[0], xs[1].expand(5, 3, 4)),
            "...ij,...jk->...ik",
            [BATCH, OTHERS[:1]],
            case="broadcast",
        ),
        counted(aten.einsum.default, lambda _, xs: contracted("bij,jk->bik", *xs), "...ij,...jk", [BATCH, B]),
        counted(aten.einsum.default, lambda _, xs: contracted("ij,jk->ik", *xs), "ij,jk", [A, B]),
        counted(aten.einsum.default, chained, "il,lj,jk->ik", [A, drawn(3, 5), drawn(5, 2)]),
        counted(
            aten.einsum.default,
            lambda _, xs: complex_macs(*xs),
            "ij,jk->ik",
            [complex_of(A), complex_of(B)],
            case="complex",
        ),
        counted(aten.einsum.default, complex_outer, "i,j->ij", [first, second], case="complex"),
        unknown(aten.einsum.default, "ij,jk->ik", [complex_of(A), B], gives=complex_of(drawn(2, 4)), case="mixed"),
        unknown(aten.einsum.default, "bij->bi", [BATCH]),
        unknown(aten.einsum.default, "bij,b->i", [BATCH, drawn(5)]),
        unknown(aten.einsum.default, "ii->", [drawn(3, 3)], reads={"tensors": 0}),
        unknown(aten.einsum.default, "ii,ij->ij", [drawn(3, 3), drawn(3, 2)], reads={"tensors": 0}),
    ]


# Attention


def attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scores: list[int] | None = None
) -> torch.Tensor:
    """Each query head meets every key, and every value, of the head it shares."""
    shared = query.shape[1] // key.shape[1]
    heads = []
    for batch, head in product(range(query.shape[0]), range(query.shape[1])):
        met = contracted("ij,kj->ik", query[batch, head], key[batch, head // shared])
        if scores is not None:
            scores.append(met.numel())
        likely = (met / math.sqrt(query.shape[-1])).softmax(-1)
        heads.append(contracted("ij,jk->ik", likely, value[batch, head // shared]))
    return torch.stack(heads).reshape(*query.shape[:3], value.shape[-1])


def attention(
    operator: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *rest: Any,
    case: str = "",
    reads: Moved | None = None,
    gives: Any = None,
) -> Entry:
    def cost() -> Cost:
        scores: list[int] = []
        _, macs, _ = work(lambda: attended(query, key, value, scores))
        return Cost(macs=macs, reads=reads or {}, scores=sum(scores))

    def checked() -> Cost:
        torch.testing.assert_close(
            attended(query, key, value), functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        )
        return cost()

    out = attended(query, key, value) if gives is None else gives
    return Entry(operator, checked, (query, key, value, *rest), {}, out, case)


def attentions() -> list[Entry]:
    q, k, v = drawn(2, 4, 3, 5), drawn(2, 4, 6, 5), drawn(2, 4, 6, 7)
    latent, many = drawn(2, 1, 6, 5), drawn(7, 1, 2, 5)
    kinds = {
        aten._scaled_dot_product_attention_math.default: (), aten._scaled_dot_product_flash_attention.default: (),
        aten._scaled_dot_product_flash_attention_for_cpu.default: (),
        aten._scaled_dot_product_efficient_attention.default: (None, False),
        aten._scaled_dot_product_cudnn_attention.default: (None, False),
        aten._scaled_dot_product_fused_attention_overrideable.default: (),
        ATTENTION: (None, None, False, None),
    }  # fmt: skip
    sdpa = aten.scaled_dot_product_attention.default
    return [
        attention(sdpa, q, k, v),
        attention(sdpa, q, k[:, :2].clone(), v[:, :2].clone(), case="of shared heads"),
        # Of latent attention the value is the first three of each key's five, and is read with it.
        attention(sdpa, q, latent, latent[..., :3], case="of values within keys", reads={"value": 0}),
        attention(sdpa, drawn(7, 2, 3, 5), many, many[..., :3], case="of few values within keys", reads={"value": 0}),
        attention(sdpa, q, latent, latent[..., 1:4], case="of values within keys, not first"),
        attention(sdpa, q, latent, latent[..., :3].clone(), case="of values apart"),
        *(attention(operator, q, k, v, *rest) for operator, rest in kinds.items()),
        free(MASK, q, 2, 3, 6, gives=torch.zeros(2, 1, 3, 6, dtype=torch.bool)),
        multi_head(),
        *(encoder_layer(gelu=gelu) for gelu in (True, False)),
    ]


def multi_head() -> Entry:
    module = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64).eval()
    query, memory = drawn(2, 3, 8), drawn(2, 5, 8)
    weights = tuple(
        p.detach() for p in (module.in_proj_weight, module.in_proj_bias, module.out_proj.weight, module.out_proj.bias)
    )

    def cost() -> Cost:
        module.to("meta")
        return Cost(macs=seen(lambda q, m: module(q, m, m, need_weights=False), query, memory))

    return Entry(
        aten._native_multi_head_attention.default,
        cost,
        (query, memory, memory.clone(), 8, 2, *weights),
        {},
        drawn(2, 3, 8),
    )


def encoder_layer(*, gelu: bool) -> Entry:
    """Products as torch's counter sees them; norms, sums and the activation by their definitions."""
    width, hidden = 8, 6
    module = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True, dtype=torch.float64).eval()
    source = drawn(2, 3, width)
    attend, first, second = module.self_attn, module.norm1, module.norm2
    weights = tuple(
        p.detach().clone()
        for p in (attend.in_proj_weight, attend.in_proj_bias, attend.out_proj.weight, attend.out_proj.bias)
    )
    rest = tuple(p.detach().clone() for p in (
        first.weight, first.bias, second.weight, second.bias,
        module.linear1.weight, module.linear1.bias, module.linear2.weight, module.linear2.bias))  # fmt: skip

    def around() -> None:
        inner = drawn(2, 3, hidden)
        for x in numbers(inner):
            _ = gelu_erf(x) if gelu else larger(x, 0)
        for _ in range(2):
            for x in numbers(source):
                _ = x + x  # the sum with what is passed by
            layer_norm(source, None, torch.ones(width), torch.ones(width))

    def cost() -> Cost:
        module.to("meta")
        return Cost(macs=seen(module, source), vector=work(around)[2])

    given = (source, width, 2, *weights, gelu, False, 1e-5, *rest)
    return Entry(aten._transformer_encoder_layer_fwd.default, cost, given, {}, drawn(2, 3, width), f"gelu={gelu}")


ENTRIES = [
    *convolutions(),
    *products(),
    chain(drawn(5, 3), drawn(3, 8), drawn(8, 2)),
    chain(drawn(4), drawn(4, 3), drawn(3, 6), drawn(6, 2), drawn(2, 5)),
    chain(drawn(2, 6), drawn(6, 3), drawn(3, 5), drawn(5)),
    *grouped(),
    *einsums(),
    *attentions(),
]

"""Products whose weights are unpacked as they run: what a kernel reads is what is stored, counted by hand."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs.fusion.models import fused
from fxcost.costs.graph.cost_graph import Edges
from fxcost.dtypes import may_hold_codes
from fxcost.formats.applying import as_stored
from fxcost.formats.composing import scheme_named
from fxcost.formulas.quantities import number

K, N, GROUP, B = 256, 96, 32, 5
GROUPS = N * K // GROUP
ACTIVATIONS = 2 * B * (K + N)
"""Bytes of what a product in fp16 is given and gives."""


class Unpacking(nn.Module):
    """A product whose matrix ``[N, K]`` a function makes of buffers."""

    def __init__(self, unpack: Callable[..., Tensor], **buffers: Tensor) -> None:
        super().__init__()
        self.unpack = unpack
        for name, each in buffers.items():
            self.register_buffer(name, each)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.unpack(**dict(self.named_buffers())))


def nibbles_beside(packed: Tensor) -> Tensor:
    """The low half of each byte, then the high one."""
    return torch.stack((packed & 0xF, packed >> 4), dim=-1).reshape(N, K)


def nibbles_in_halves(packed: Tensor) -> Tensor:
    """All low halves of a row, then the high ones."""
    return torch.cat((packed & 0xF, packed >> 4), dim=1)


def scaled(weights: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    groups = weights.reshape(N, K // GROUP, GROUP).to(scales.dtype)
    return ((groups - zeros.unsqueeze(-1)) * scales.unsqueeze(-1)).reshape(N, K)


def words(packed: Tensor, shifts: Tensor) -> Tensor:
    """Eight numbers of each 32 bits, as GPTQ's layers unpack them."""
    return torch.bitwise_right_shift(packed.unsqueeze(-1), shifts).to(torch.int16).bitwise_and(15)


def by_words(qweight: Tensor, qzeros: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    return scaled(words(qweight, shifts).reshape(N, K), scales, words(qzeros, shifts).reshape(N, K // GROUP))


def half(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float16)


def whole(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.ones(shape, dtype=dtype)


PACKED = {"packed": whole(N, K // 2), "scales": half(N, K // GROUP), "zeros": half(N, K // GROUP)}
CASES: dict[str, tuple[nn.Module, int]] = {
    "int4 of two in a byte": (
        Unpacking(lambda packed, scales, zeros: scaled(nibbles_beside(packed), scales, zeros), **PACKED),
        N * K // 2 + 2 * (2 * GROUPS),
    ),
    "int4 in halves of a row": (
        Unpacking(lambda packed, scales, zeros: scaled(nibbles_in_halves(packed), scales, zeros), **PACKED),
        N * K // 2 + 2 * (2 * GROUPS),
    ),
    "int4 of eight in a word": (
        Unpacking(
            by_words,
            qweight=whole(N, K // 8, dtype=torch.int32),
            qzeros=whole(N, K // GROUP // 8, dtype=torch.int32),
            scales=half(N, K // GROUP),
            shifts=torch.arange(0, 32, 4, dtype=torch.int32),
        ),
        N * K // 2 + GROUPS // 2 + 2 * GROUPS + 4 * 8,
    ),
    "int8 with a scale a row": (
        Unpacking(lambda q, scales: q.to(scales.dtype) * scales, q=whole(N, K, dtype=torch.int8), scales=half(N, 1)),
        N * K + 2 * N,
    ),
    "fp8 with one scale": (
        Unpacking(
            lambda q, scale: q.to(scale.dtype) * scale, q=torch.ones(N, K).to(torch.float8_e4m3fn), scale=half(1)
        ),
        N * K + 2,
    ),
}  # fmt: skip


def traced(module: nn.Module, given: str = f"x: float16[B,{K}]") -> Any:
    return trace(module, inputs=(given,), warn=lambda _: None, isolated=False)


def bytes_moved(costs: Any, at: int = B) -> int:
    found = costs.at({"B": at})
    return int(number(found.total.bytes_moved(found.bits())))


@pytest.mark.parametrize("fusion", ["pointwise", "epilogue"])
@pytest.mark.parametrize("name", CASES)
def test_a_product_reads_weights_as_they_are_stored(name: str, fusion: Any) -> None:
    """Codes, scales and zeros once, what it is given and gives, and no unpacked weight, all in one kernel."""
    module, stored = CASES[name]
    costs = traced(module).fused(fusion)
    assert len(costs.layers) == 1
    assert bytes_moved(costs) == stored + ACTIVATIONS
    assert costs.total.macs == traced(module).total.macs


def test_each_step_of_unpacking_alone_goes_through_memory() -> None:
    """Two halves of a byte each, their places, floats, less zeros, scaled, as eager PyTorch runs it."""
    module, _ = CASES["int4 of two in a byte"]
    all_read = {"and": N * K // 2, "shift": N * K // 2, "stack": N * K, "to": N * K, "sub": 2 * N * K + 2 * GROUPS}
    made = {"and": N * K // 2, "shift": N * K // 2, "stack": N * K, "to": 2 * N * K, "sub": 2 * N * K}
    multiplied = 2 * N * K + 2 * GROUPS + 2 * N * K
    product = 2 * N * K + ACTIVATIONS
    assert bytes_moved(traced(module)) == sum(all_read.values()) + sum(made.values()) + multiplied + product


def test_what_follows_joins_the_same_kernel_of_an_engine() -> None:
    """Under ``epilogue`` an activation is read and written in the product that unpacks."""
    module, stored = CASES["int8 with a scale a row"]
    followed = traced(nn.Sequential(module, nn.SiLU()))
    assert bytes_moved(followed.fused("epilogue")) == stored + ACTIVATIONS
    assert bytes_moved(followed.fused("pointwise")) == stored + ACTIVATIONS + 2 * 2 * B * N


def test_weights_that_are_floats_are_worked_out_and_kept() -> None:
    """A sum of two matrices in fp16 is a kernel of its own, written and read once more."""
    module = Unpacking(lambda one, other: one + other, one=half(N, K), other=half(N, K))
    assert bytes_moved(traced(module).fused("pointwise")) == 2 * (2 * N * K + N * K) + 2 * N * K + ACTIVATIONS


def test_what_a_table_is_read_by_is_no_weight() -> None:
    """Rows of floats that whole numbers of 32 bits pick are gathered, kept, and read by the product."""
    module = Unpacking(lambda table, rows: table[rows.long()], table=half(N, K), rows=whole(N, dtype=torch.int32))
    gathered = 4 * N + 2 * N * K + 2 * N * K
    assert bytes_moved(traced(module).fused("pointwise")) == gathered + 2 * N * K + ACTIVATIONS


def test_which_dtypes_may_stand_for_weights() -> None:
    """Truth values, indices of 64 bits, and formats of schemes do not, whatever is in their names."""
    codes = ("int8", "uint8", "int32", "uint16", "float8_e4m3fn", "float4_e2m1fn_x2", "uint4", "qint8")
    others = ("bool", "int64", "float16", "bfloat16", "int4:g128", "fp8", "int8:channel", "complex32")
    assert [each for each in (*codes, *others) if may_hold_codes(each)] == list(codes)


def test_formats_of_a_scheme_are_not_taken_for_packed_weights() -> None:
    """A sum of two matrices that a scheme stores in int8 is deployed as it was written, where a file told no kernels."""
    costs = traced(Unpacking(lambda one, other: one + other, one=half(N, K), other=half(N, K)))
    without = replace(costs, layers=tuple(replace(each, edges=_without_parts(each.edges)) for each in costs.layers))
    stored = as_stored(without, scheme_named("int8"))
    assert stored.graph is not None
    assert {each.dtype for each in stored.graph.storages} == {"int8"}
    kernels = [layer.name for layer in fused(stored, "pointwise").layers]
    assert kernels == [layer.name for layer in costs.fused("pointwise").layers]
    assert len(kernels) == 2


def _without_parts(edges: Edges) -> Edges:
    return edges._replace(parts=())


def exported(x: Tensor, q: Tensor, scales: Tensor, zeros: Tensor, *, to_int8: bool = True) -> Tensor:
    """A layer of a program that was quantized as a graph: what it is given and its matrix taken back, what it gives quantized."""
    ops = torch.ops.quantized_decomposed
    step = (0.1, 3, -128, 127, torch.int8)
    weight = ops.dequantize_per_channel(q, scales, zeros, 0, -128, 127, torch.int8)
    product = functional.linear(ops.dequantize_per_tensor(x, *step) if x.dtype == torch.int8 else x, weight).relu()
    return ops.quantize_per_tensor(product, *step) if to_int8 else product


EXPORTED = {
    "q": whole(N, K, dtype=torch.int8),
    "scales": torch.ones(N),
    "zeros": torch.zeros(N, dtype=torch.int64),
}  # fmt: skip
STORED = N * K + (4 + 8) * N
"""Bytes of a matrix of int8, and of each row its scale of 32 bits and zero point of 64."""


class Exported(nn.Module):
    """`exported` as a layer."""

    def __init__(self, *, to_int8: bool = True) -> None:
        super().__init__()
        import_module("torch.ao.quantization.fx._decomposed")
        self.to_int8 = to_int8
        for name, each in EXPORTED.items():
            self.register_buffer(name, each)

    def forward(self, x: Tensor) -> Tensor:
        return exported(x, **dict(self.named_buffers()), to_int8=self.to_int8)


def test_weights_of_programs_quantized_as_graphs_are_read_as_int8() -> None:
    """Of the matrix one byte an element; what it is given is of 32 bits, and so is what it gives."""
    costs = traced(Exported(to_int8=False), f"x: float32[B,{K}]")
    product = STORED + 4 * B * (K + N)
    assert bytes_moved(costs.fused("epilogue")) == product
    assert bytes_moved(costs.fused("pointwise")) == product + 2 * 4 * B * N


def test_quantizing_follows_the_product_before_it() -> None:
    """It is worked out of what a product gives: by a compiler with the activation, by an engine in the product."""
    costs = traced(Exported(), f"x: float32[B,{K}]")
    assert bytes_moved(costs.fused("pointwise")) == STORED + 4 * B * (K + N) + (4 + 1) * B * N
    assert bytes_moved(costs.fused("epilogue")) == STORED + 4 * B * K + B * N
    assert len(costs.fused("epilogue").layers) == 1


def test_a_program_as_a_module_is_traced_too() -> None:
    """It has one mode, and refuses to be put in another."""
    program: Any = torch.export.export(Exported(to_int8=False).eval(), (torch.zeros(2, K),))
    costs = trace(program.module(), inputs=(f"x: float32[2,{K}]",), warn=lambda _: None, isolated=False)
    found = costs.fused("epilogue").at()
    assert number(found.total.bytes_moved(found.bits())) == STORED + 4 * 2 * (K + N)

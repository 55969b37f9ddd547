"""Weights that are tensors around others, with operators of their own: recorded on what they wrap, counted as it is stored."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from fxcost.api import trace
from fxcost.formulas.quantities import number

K, N, B = 64, 32, 3


class Scaled(torch.Tensor):
    """A matrix of int8 with a scale for each row, which products read as it is, and other operators as floats."""

    codes: Tensor
    scales: Tensor

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scales"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], _: Any, size: Any, stride: Any) -> Any:
        return around(parts["codes"], parts["scales"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear:
            given, weight = args[0], args[1]
            return functional.linear(given, weight.codes.to(given.dtype)) * weight.scales
        with torch._C.DisableTorchFunctionSubclass():  # pyright: ignore[reportPrivateUsage]
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return around(args[0].codes.detach(), args[0].scales.detach())
        plain = [
            each.codes.to(each.dtype) * each.scales[:, None] if isinstance(each, Scaled) else each for each in args
        ]
        return func(*plain, **(kwargs or {}))


def around(codes: Tensor, scales: Tensor) -> Any:
    make: Any = torch.Tensor._make_wrapper_subclass  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
    made = make(Scaled, codes.shape, dtype=scales.dtype, device=codes.device)
    made.codes, made.scales = codes, scales
    return made


def scaled() -> Any:
    return around(torch.ones((N, K), dtype=torch.int8), torch.ones(N))


def bytes_moved(costs: Any) -> int:
    found = costs.at(B=B)
    return int(number(found.total.bytes_moved(found.bits())))


def traced(module: nn.Module, features: int = K, dtype: str = "float32", *, isolated: bool = False) -> Any:
    return trace(module, inputs=(f"input: {dtype}[B,{features}]",), warn=lambda _: None, isolated=isolated)


def linear() -> nn.Linear:
    module = nn.Linear(K, N, bias=False)
    module.weight = nn.Parameter(scaled(), requires_grad=False)
    return module


class Wrap(nn.Module):
    """Makes the wrapper anew whenever the weight is asked for, as models that are to be exported do."""

    def forward(self, codes: Tensor, scales: Tensor) -> Tensor:
        return around(codes, scales)

    def right_inverse(self, weight: Any) -> tuple[Tensor, Tensor]:
        return weight.codes, weight.scales


def made_anew() -> nn.Linear:
    module = linear()
    parametrize.register_parametrization(module, "weight", Wrap(), unsafe=True)
    return module


PRODUCT = N * K + 4 * N + 4 * B * (K + N)
"""Bytes of codes, scales, and of what a product in float32 is given and gives."""


@pytest.mark.parametrize("make", [linear, made_anew])
def test_a_product_reads_what_is_wrapped(make: Callable[[], nn.Module]) -> None:
    costs = traced(make())
    assert costs.at(B=B).total.macs == B * N * K
    assert bytes_moved(costs.fused("epilogue")) == PRODUCT
    assert costs.total.params == N * K + N


def test_other_operators_of_a_wrapper_are_recorded_on_what_it_wraps() -> None:
    """Transposing asks the wrapper's own dispatch, which makes floats of it first."""

    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(scaled(), requires_grad=False)

        def forward(self, input: Tensor) -> Tensor:
            return input @ self.weight.t()

    costs = traced(Transposed())
    assert costs.at(B=B).total.macs == B * N * K
    assert sum(layer.cost.reads.get("weight", {}).get("int8", 0) for layer in costs.at(B=B).layers) == N * K
    assert bytes_moved(costs.fused("pointwise")) == PRODUCT


def test_a_wrapped_constant_of_the_code_is_read_as_stored() -> None:
    """One that no module holds, and that has memory."""
    constant = scaled()

    class Constant(nn.Module):
        def forward(self, input: Tensor) -> Tensor:
            return functional.linear(input, constant)

    assert bytes_moved(traced(Constant()).fused("epilogue")) == PRODUCT


def test_a_wrapped_weight_is_left_as_it_was() -> None:
    module = linear()
    before = module.weight
    names = [layer.name for layer in traced(module, isolated=True).layers]
    assert names
    assert module.weight is before
    kept: Any = before
    assert kept.codes.device.type == "cpu"


def test_a_wrapped_weight_that_does_not_run_is_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(K, N), linear()

        def forward(self, input: Tensor) -> Tensor:
            return self.used(input)

    assert f"not run: idle ({N * K:,} parameters)" in traced(Idle()).assumptions


def test_scales_do_not_say_what_a_model_computes_in() -> None:
    """Of codes, with a scale of 32 bits for each row, and all else in fp16."""
    costs = traced(linear(), dtype="float16")
    assert costs.dtype == "float16"


# torchao, where it is installed


@pytest.fixture
def torchao() -> Any:
    pytest.importorskip("torchao")
    return import_module("torchao.quantization")


def converted(torchao: Any, config: Any) -> nn.Module:
    layers = nn.Sequential(nn.Linear(256, 512, bias=False), nn.ReLU(), nn.Linear(512, 256, bias=False))
    model = layers.to(torch.bfloat16)
    torchao.quantize_(model, config)
    return model


MATRICES = 2 * 256 * 512
GIVEN = 2 * B * (256 + 512 + 512 + 256)
"""Bytes in bfloat16 of what both layers are given and give, the activation between them in one of their kernels."""


def test_weights_of_int8_are_read_as_such(torchao: Any) -> None:
    """With a scale of 32 bits for each row."""
    costs = traced(converted(torchao, torchao.Int8WeightOnlyConfig()), 256, "bfloat16").fused("epilogue")
    assert costs.dtype == "bfloat16"
    assert bytes_moved(costs) == MATRICES + 4 * (512 + 256) + GIVEN


def test_weights_of_four_bits_that_torchao_keeps_in_bytes_are_read_as_bytes(torchao: Any) -> None:
    """With a scale of 16 bits and a zero point of 8 for each 128."""
    types: Any = torch  # which names no type of four bits to checkers
    groups = import_module("torchao.quantization.granularity").PerGroup(128)
    config = torchao.IntxWeightOnlyConfig(weight_dtype=types.int4, granularity=groups)
    costs = traced(converted(torchao, config), 256, "bfloat16")
    assert not costs.unknown
    assert bytes_moved(costs.fused("epilogue")) == MATRICES + (2 + 1) * MATRICES // 128 + GIVEN


def test_products_of_int8_are_those_that_a_gpu_runs(torchao: Any) -> None:
    """Each row is quantized in one kernel, which gives a scale, and read by the product, which scales what it gives."""
    costs = traced(converted(torchao, torchao.Int8DynamicActivationInt8WeightConfig()), 256, "bfloat16")
    assert not costs.unknown
    assert [layer.op for layer in costs.layers if layer.macs != 0] == ["aten._int_mm.default"] * 2
    assert costs.dtype == "bfloat16"
    quantized = 2 * B * (256 + 512) + B * (256 + 512) + 2 * 4 * B
    products = MATRICES + 4 * (512 + 256) + B * (256 + 512) + 2 * 4 * B + 2 * B * (512 + 256)
    assert bytes_moved(costs.fused("epilogue")) == quantized + products

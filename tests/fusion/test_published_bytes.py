"""Elements that fused kernels move, as PyTorch's own tests of fusion expect them (test/inductor/test_perf.py, float32)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxcost.api import trace
from fxcost.formulas.quantities import number


class Written(nn.Module):
    """A function of up to three tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Any:
        return self.function(*(each for each in (a, b, c) if each is not None))


def elements(function: Callable[..., Any], *inputs: str) -> int:
    """Elements that the kernels of ``pointwise`` read and write."""
    total = trace(Written(function), inputs=inputs).fused("pointwise").total
    return int(sum(number(n) for side in (total.reads, total.writes) for by in side.values() for n in by.values()))


SQUARE = (10, 10)


def concatenated(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.cat((a + 1, b + 2, c + 3)) + 10


def squared(a: Tensor) -> Tensor:
    c = a.cos()
    return torch.mm(c, c).cos()


def scaled_thrice(a: Tensor) -> Tensor:
    for _ in range(3):
        a = a * a.sum(dim=1, keepdim=True)
    return a


def normalized(a: Tensor) -> Any:
    return torch.ops.aten.native_layer_norm.default(a, [10], None, None, 1e-5)


CASES: list[tuple[str, int, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("x.cos()", 20, lambda a: a.cos(), ((10,),)),
    ("x+y", 30, lambda a, b: a + b, ((10,), (10,))),
    ("x+y broadcast", 210, lambda a, b: a + b, (SQUARE, (10,))),
    ("x+x.t()", 200, lambda a: a + a.t(), (SQUARE,)),
    ("sum(1)", 110, lambda a: a.sum(dim=1), (SQUARE,)),
    ("mm(x,x)", 200, lambda a: torch.mm(a, a), (SQUARE,)),
    ("mm(a,b)", 300, torch.mm, (SQUARE, SQUARE)),
    ("cos;mm(c,c);cos", 600, squared, (SQUARE,)),
    ("cat(a.cos,a.sin)", 30, lambda a: torch.cat((a.cos(), a.sin())), ((10,),)),
    ("cat(a+1,b+2,c+3)+10", 600, concatenated, (SQUARE, SQUARE, SQUARE)),
    ("(a.sum(1),a.cos())", 210, lambda a: (a.sum(dim=1), a.cos()), (SQUARE,)),
    ("(a.sum(1),a.amax(1))", 120, lambda a: (a.sum(dim=1), a.amax(dim=1)), (SQUARE,)),
    ("cos;sum(1);cos", 110, lambda a: a.cos().sum(dim=1).cos(), (SQUARE,)),
    ("three times a*=a.sum(1)", 200, scaled_thrice, (SQUARE,)),
    ("softmax(1)", 200, lambda a: a.softmax(dim=1), (SQUARE,)),
    ("layer_norm with statistics kept", 220, normalized, (SQUARE,)),
    ("softmax twice", 200, lambda a: a.softmax(dim=1).softmax(dim=1), (SQUARE,)),
]


@pytest.mark.parametrize(("expected", "function", "shapes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_elements_moved(expected: int, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = (f"{name}: float32[{','.join(map(str, shape))}]" for name, shape in zip("abc", shapes, strict=False))
    assert elements(function, *inputs) == expected


def test_rows_that_are_picked() -> None:
    assert elements(lambda a, b: a[b], "a: float32[10]", "b: int64[10]") == 30


class Block(nn.Module):
    """``x + W3(silu(W1 n) · W2 n)`` with ``n = RMSNorm(x)``, whose last product takes the addition in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(256)
        self.first, self.second = (nn.Linear(256, 704, bias=False) for _ in range(2))
        self.third = nn.Linear(704, 256, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        return x + self.third(nn.functional.silu(self.first(n)) * self.second(n))


def test_a_block_of_a_llama() -> None:
    """3,638,272 bytes by Inductor of torch 2.13, and by hand."""
    costs = trace(Block(), inputs=["x: float32[64,256]"]).fused("pointwise")
    assert costs.total.bytes_moved(costs.bits()) == 3_638_272

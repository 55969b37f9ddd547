"""Sizes that a model computes with floats: a formula gives what Python's own floats give, or there is none."""

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

import fxcost
from fxcost.errors import FxcostError
from fxcost.tracing.sizes.polynomials import Polynomial, Rounded, value_at
from fxcost.tracing.sizes.symbolic import Sizes

Function = Callable[[Any, Any], Any]


class Resized(nn.Module):
    """An image made as high as a function of its height and width says, and then convolved."""

    def __init__(self, height: Function) -> None:
        super().__init__()
        self.height, self.convolution = height, nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(F.interpolate(image, size=(self.height(*image.shape[2:]), 32)))


TWICE: dict[str, tuple[Function, int, int]] = {
    "divided by a rounded quotient": (lambda h, w: math.floor(h / (224 / w)), 70, 48),
    "divided by a rounded quotient of 7": (lambda h, w: math.floor(h / (7 / w)), 175, 50),
    "a sum of rounded quotients": (lambda h, _: math.floor(h / 10 + h / 10 + h / 10), 100, 48),
    "a rounded product": (lambda h, w: math.floor(h * (w / h)), 97, 800),
    "compared": (lambda h, w: 64 if w * (h / w) >= h else 32, 97, 800),
    "the lesser of two": (lambda h, w: math.floor(torch.sym_min(h / (224 / w), h)), 70, 48),
    "a whole quotient of floats": (lambda h, w: math.floor(h // (224 / w)), 70, 48),
    "a float remainder": (lambda h, w: math.floor((h % (7 / w)) * 8) + 8, 175, 50),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_size_that_is_rounded_twice_is_never_given_by_a_formula(name: str) -> None:
    height, h, w = TWICE[name]
    model = Resized(height)
    costs = fxcost.trace(model, inputs=("x: float32[B,3,H,W]",), at={"B": 1, "H": h, "W": w})
    assert {"H", "W"} & set(costs.fixed)
    with torch.device("meta"):
        ran = model.to("meta")(torch.empty(1, 3, h, w)).shape[2]
    assert costs.at(B=1).total.macs == ran * 32 * 8 * 27


@pytest.mark.parametrize(
    "height",
    [lambda h, _: math.floor(h / 3) + 1, lambda h, w: math.ceil(h / w) + 1, lambda h, _: math.floor(h * 0.75 / 5 + 2)],
)
def test_a_size_that_is_rounded_once_keeps_its_formula(height: Function) -> None:
    costs = fxcost.trace(Resized(height), inputs=("x: float32[B,3,H,W]",), at={"H": 96, "W": 40})
    assert not costs.fixed
    for h, w in [(97, 40), (96, 33), (200, 199), (45, 45)]:
        assert costs.at(B=1, H=h, W=w).total.macs == height(h, w) * 32 * 8 * 27


@pytest.mark.parametrize(
    "height", [lambda h, _: round(h * 0.3), lambda h, _: math.floor(h**0.5), lambda h, _: round(h / 7, 2) // 1 + 1]
)
def test_what_no_formula_follows_fixes_the_size_that_it_is_made_of(height: Function) -> None:
    costs = fxcost.trace(
        Resized(lambda h, w: math.floor(height(h, w))), inputs=("x: float32[B,3,H,W]",), at={"H": 50, "W": 40}
    )
    assert (set(costs.symbols), set(costs.fixed)) == ({"B", "W"}, {"H"})
    assert "test_size_arithmetic.py" in costs.fixed["H"].where
    assert costs.at(B=1, W=9).total.macs == math.floor(height(50, 9)) * 32 * 8 * 27


@pytest.mark.parametrize("height", [lambda h, w: abs(h - w) + 1, lambda h, _: h >> 1, lambda h, _: h << 2])
def test_differences_and_shifts_keep_their_formulas(height: Function) -> None:
    costs = fxcost.trace(Resized(height), inputs=("x: float32[B,3,H,W]",), at={"H": 96, "W": 40})
    assert (costs.fixed, costs.conditions) == ({}, ())
    for h, w in [(97, 40), (40, 97), (33, 33)]:
        assert costs.at(B=1, H=h, W=w).total.macs == height(h, w) * 32 * 8 * 27


def _expressions() -> st.SearchStrategy[Function]:
    leaves = st.one_of(
        st.sampled_from([lambda h, _: h, lambda _, w: w]),
        st.sampled_from([2, 3, 7, 10, 49, 224, 0.5, 0.75, 0.3, 1.1]).map(lambda n: lambda _h, _w: n),
    )
    operations = st.sampled_from(
        [operator.add, operator.sub, operator.mul, operator.truediv, torch.sym_max, torch.sym_min]
    )
    alone = st.sampled_from([abs, operator.neg])

    def joined(inner: st.SearchStrategy[Function]) -> st.SearchStrategy[Function]:
        return st.tuples(operations, inner, inner).map(lambda o: lambda h, w: o[0](o[1](h, w), o[2](h, w))) | st.tuples(
            alone, inner
        ).map(lambda o: lambda h, w: o[0](o[1](h, w)))

    return st.recursive(leaves, joined, max_leaves=6)


@pytest.mark.parametrize(
    "height",
    [
        lambda h, w: 40 + math.trunc((w - h) / 2),
        lambda h, _: math.floor(abs(h / 2 - 100)) + 1,
        lambda h, w: math.floor(torch.sym_max(h / 3, w / 2)) + 1,
        lambda h, w: 40 + math.trunc(torch.sym_min(h / 4, 3) - w / 8),
    ],
)
@pytest.mark.parametrize(("h", "w"), [(31, 16), (16, 31), (8, 18), (33, 33)])
def test_what_is_cut_is_cut_as_python_does(height: Function, h: int, w: int) -> None:
    costs = fxcost.trace(Resized(height), inputs=("x: float32[B,3,H,W]",), at={"H": h, "W": w}, warn=lambda _: None)
    for at in [(h, w), (1, 1), (30, 9), (9, 30), (201, 200), (47, 40)]:
        try:
            found = costs.at({"B": 1, **{n: size for n, size in zip("HW", at, strict=True) if n in costs.symbols}})
        except FxcostError:
            continue  # told to be outside
        if all(costs.fixed[name].value == size for name, size in zip("HW", at, strict=True) if name in costs.fixed):
            assert found.total.macs == height(*at) * 32 * 8 * 27


@settings(max_examples=400, deadline=None)
@given(_expressions(), st.integers(1, 400), st.integers(1, 400))
def test_floors_of_any_arithmetic_are_those_of_pythons_floats(expression: Function, h: int, w: int) -> None:
    sizes = Sizes()
    try:
        found = math.floor(expression(sizes.symbol("H", h), sizes.symbol("W", w)))
    except (Rounded, ZeroDivisionError):
        return
    node = found.node if isinstance(found, torch.SymInt) else None
    if node is not None and _has_a_long_factor(node):
        return  # told when it is turned into a formula
    for height in range(max(1, h - 60), h + 60):
        try:
            expected = math.floor(expression(height, w))
        except ZeroDivisionError:
            continue
        if node is not None:
            assert value_at(node, {"H": height, "W": w}, {}) == expected, (height, w)


def _has_a_long_factor(size: Polynomial) -> bool:
    return any(getattr(coefficient, "denominator", 1) > 2**10 for _, coefficient in size.terms) or any(
        _has_a_long_factor(argument)
        for product, _ in size.terms
        for atom in product
        for argument in size.sizes.atoms[atom].arguments
    )

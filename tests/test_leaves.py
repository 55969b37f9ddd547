"""Submodules counted whole, and operators from elsewhere: unknown, with the bytes that they are given and give."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError, UnknownOperatorsError

INPUT = "x: float32[B,4]"


class Middle(nn.Module):
    """Two linear layers around whatever stands between them."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 8), middle, nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x)))


class Picks(nn.Module):
    """Decides by its data how much it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = x * self.scale
        return scaled[scaled.sum(1) > 0]


def test_a_leaf_is_one_unknown_call_with_what_it_is_given_and_gives() -> None:
    model = Middle(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)))
    costs = trace(model, inputs=(INPUT,), leaves=("middle",))
    assert costs.unknown == {"fxcost.leaf.default": ("middle",)}
    at = costs.at(B=5)
    (leaf,) = [layer for layer in at.layers if layer.coverage == "unknown"]
    assert leaf.cost.reads == {"activation": {"float32": 5 * 8}}
    assert leaf.cost.writes == {"activation": {"float32": 5 * 8}}
    assert leaf.params == 8 * 16 + 16 + 16 * 8 + 8
    assert at.total.params == sum(p.numel() for p in model.parameters())
    assert at.total.macs == 5 * (4 * 8 + 8 * 3)


@pytest.mark.parametrize("middle", [nn.Identity(), nn.Dropout()])
def test_a_leaf_that_gives_its_own_input_is_still_unknown(middle: nn.Module) -> None:
    costs = trace(Middle(middle), inputs=(INPUT,), leaves=("middle",))
    assert list(costs.unknown) == ["fxcost.leaf.default"]


def test_a_run_that_cannot_go_through_a_leaf_ends_there() -> None:
    model, said = Middle(Picks()), list[str]()
    with pytest.raises(FxcostError, match="--leaf PATH"):
        trace(model, inputs=(INPUT,))
    costs = trace(model, inputs=(INPUT,), leaves=("middle",), warn=said.append)
    assert "the run ended in the leaf middle" in said[0]
    assert list(costs.unknown) == ["fxcost.leaf.default", "fxcost.unreached.default"]
    at = costs.at(B=5)
    assert at.total.macs == 5 * 4 * 8
    assert {layer.op: layer.params for layer in at.layers} == {
        "aten.linear.default": 4 * 8 + 8,
        "fxcost.leaf.default": 8,
        "fxcost.unreached.default": 8 * 3 + 3,
    }
    with pytest.raises(UnknownOperatorsError):
        trace(model, inputs=(INPUT,), leaves=("middle",), strict=True, warn=said.append)


def test_a_leaf_inside_a_leaf_is_part_of_it() -> None:
    model = Middle(nn.Sequential(nn.Linear(8, 8)))
    costs = trace(model, inputs=(INPUT,), leaves=("middle", "middle.0"))
    assert costs.unknown == {"fxcost.leaf.default": ("middle",)}


class Inside(nn.Module):
    """Its parts are called, but it and its list of them never are."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.coder = Middle(nn.ReLU())
        self.spare = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return self.coder.last(self.coder.middle(self.coder.first(x)))


@pytest.mark.parametrize(
    ("path", "instead"), [("parts", "parts.0"), ("coder", "coder.first"), ("spare", "a submodule")]
)
def test_a_leaf_that_is_never_called_is_refused(path: str, instead: str) -> None:
    with pytest.raises(FxcostError, match=rf"--leaf {path}: Inside never calls {path} itself.*\nName .*{instead}"):
        trace(Inside(), inputs=(INPUT,), leaves=(path,))
    assert trace(Inside(), inputs=(INPUT,), leaves=("parts.0", "coder.first")).unknown == {
        "fxcost.leaf.default": ("parts.0", "coder.first")
    }


def test_a_leaf_that_depends_on_sizes_in_too_many_ways_fixes_them() -> None:
    """Not taken for one that cannot run, after which nothing would be counted."""
    costs = trace("swin_t", leaves=("features.3",), warn=lambda _: None)
    assert (set(costs.symbols), set(costs.fixed)) == ({"B"}, {"H", "W"})
    assert costs.unknown == {"fxcost.leaf.default": ("features.3",)}


def test_a_leaf_is_not_given_what_an_object_among_its_inputs_holds() -> None:
    """A cache that all layers share reaches each of them, and what else is in it need not be read."""

    class Cached(nn.Module):
        def forward(self, x: torch.Tensor, cache: SimpleNamespace) -> torch.Tensor:
            return x + cache.mine

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Cached()

        def forward(self, x: torch.Tensor, mine: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
            return self.inner(x, SimpleNamespace(mine=mine, others=others))

    inputs = ("x: float32[B,4]", "mine: float32[B,4]", "others: float32[B,1000]")
    (leaf,) = trace(Reads(), inputs=inputs, leaves=("inner",)).at(B=1).layers
    assert leaf.cost.reads == {"activation": {"float32": 4}}


class Shared(nn.Module):
    """A linear layer with two names, one of them in another module too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Linear(4, 4)
        self.inner, self.last = nn.Sequential(self.first, nn.ReLU()), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.inner(self.again(self.first(x))))


@pytest.mark.parametrize("name", ["first", "again", "inner.0"])
def test_a_shared_module_is_a_leaf_by_any_of_its_names(name: str) -> None:
    costs = trace(Shared(), inputs=("x: float32[B,4]",), leaves=(name,))
    operators = [layer.op for layer in costs.layers]
    assert operators == ["fxcost.leaf.default"] * 3 + ["aten.relu.default", "aten.linear.default"]
    assert costs.at(B=5).total.macs == 5 * 4 * 4
    assert costs.total.params == 2 * (4 * 4 + 4)


def test_an_unknown_path_is_named() -> None:
    with pytest.raises(FxcostError, match=r"--leaf midle: Middle has no submodule of that path.*middle"):
        trace(Middle(nn.ReLU()), inputs=(INPUT,), leaves=("midle",))


def test_an_operator_that_gives_nothing_but_writes_is_unknown_not_free() -> None:
    library = torch.library.Library("leaves_test", "DEF")
    library.define("fill(Tensor(a!) out, Tensor x) -> ()")
    library.impl("fill", lambda out, x: None, "Meta")

    class Fills(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.empty_like(x)
            torch.ops.leaves_test.fill(out, x)
            return out

    (layer,) = [r for r in trace(Fills(), inputs=(INPUT,)).at(B=3).layers if "fill" in r.op]
    assert layer.coverage == "unknown"
    assert layer.cost.writes == {"activation": {"float32": 12}}


def test_the_command_line(tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3))\n"
    )
    asked: tuple[Any, ...] = ("trace", tmp_path / "net.py:net", "--input", "input: float32[B,4]", "--leaf", "1")
    code, out, err = fxcost_command(*asked)
    assert code == 0, err
    assert "unknown" in out
    assert "fxcost.leaf" in out
    assert "≥" in out
    assert fxcost_command(*asked, "--strict")[0] == 3

"""Which sizes stay free, and which are held, at the size that was asked for and told: views, windows, loops, `int`, multiples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.costs.model import CostModel
from fxcost.tracing import Entangled, TraceError, TraceTimeout
from fxcost.tracing import fallback as ladder
from fxcost.tracing.recording import replay as replaying


class Runs(nn.Module):
    def __init__(self, run: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.run, self.layers = run, nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> Any:
        return self.run(x, *self.layers)


def _agrees(costs: CostModel, model: nn.Module, shape: tuple[int | str, ...], **sizes: int) -> None:
    """Ours at these sizes are the contractions that torch's counter sees."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros([sizes[each] if isinstance(each, str) else each for each in shape]))
    point: dict[str, int] = {name: sizes[name] for name in costs.symbols}
    assert 2 * costs.at(point).total.macs == counter.get_total_flops() > 0


def conv() -> nn.Conv2d:
    return nn.Conv2d(1, 6, 5)


FLATTENED: dict[str, Callable[[Any, Any], Any]] = {
    "flatten": lambda x, layer: layer(x).flatten(1),
    "flatten the places": lambda x, layer: layer(x).flatten(2),
    "view": lambda x, layer: layer(x).view(x.shape[0], -1),
    "reshape": lambda x, layer: layer(x).reshape(x.shape[0], -1),
    "unflatten": lambda x, layer: layer(x).unflatten(1, (2, 3)),
    "view of all": lambda x, layer: layer(x).view(-1),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_views_of_one_pixel_keep_every_size(name: str) -> None:
    model = Runs(FLATTENED[name], conv())
    costs = trace(model, inputs=("x: float32[B,1,H,W]",), at={"H": 5, "W": 5})
    assert {name: each.low for name, each in costs.symbols.items()} == {"B": 1, "H": 5, "W": 5}
    for sizes in ({"B": 1, "H": 5, "W": 5}, {"B": 3, "H": 5, "W": 9}, {"B": 2, "H": 16, "W": 6}):
        _agrees(costs, model, ("B", 1, "H", "W"), **sizes)


def _windows(x: Any, layer: Any) -> Any:
    batch, height, width, channels = x.shape
    parts = x.view(batch, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
    found = int(layer(parts).shape[0] / (height * width / 4 / 4))
    return layer(parts).view(found, height // 4, width // 4, 4, 4, -1).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_whole_quotient_made_an_int_keeps_its_sizes(batch: int) -> None:
    model = Runs(_windows, nn.Linear(8, 8))
    costs = trace(model, inputs=("x: float32[B,H,W,8]",), at={"B": batch, "H": 16, "W": 16})
    assert {name: (each.low, each.multiple_of) for name, each in costs.symbols.items()} == {
        "B": (1, 1),
        "H": (4, 4),
        "W": (4, 4),
    }
    _agrees(costs, model, ("B", "H", "W", 8), B=3, H=8, W=20)


HELD: dict[str, tuple[Callable[[Any, Any], Any], dict[str, int]]] = {
    "a loop over time": (lambda x, layer: [layer(x[:, t]) for t in range(x.shape[1])], {"S": 100}),
    "unbinding": (lambda x, layer: [layer(each) for each in x.unbind(1)], {"S": 100}),
    "iterating": (lambda x, layer: [layer(each) for each in x], {"B": 3}),
    "its length": (lambda x, layer: layer(x) / len(x), {"B": 3}),
    "a list of places": (lambda x, layer: layer(x)[list(range(x.shape[0]))], {"B": 3}),
    "one sample": (lambda x, layer: layer(x) if x.shape[0] == 3 else layer(layer(x)), {"B": 3}),
}


@pytest.mark.parametrize("name", HELD)
def test_what_must_be_held_is_held_at_the_size_asked_for_with_its_place(name: str) -> None:
    run, expected = HELD[name]
    said: list[str] = []
    model = Runs(run, nn.Linear(8, 8))
    costs = trace(model, inputs=("x: float32[B,S,8]",), at={"B": 3, "S": 100}, warn=said.append)
    assert {name: pin.value for name, pin in costs.fixed.items()} == expected
    assert all(pin.where for pin in costs.fixed.values())
    assert said[0].startswith(next(f"{name} is fixed at {size}: " for name, size in expected.items()))
    _agrees(costs, model, ("B", "S", 8), **{"B": 5, "S": 7} | expected)


def test_a_batch_of_one_that_runs_otherwise_is_traced_as_one() -> None:
    model = Runs(lambda x, one, many: one(x) if x.shape[0] == 1 else many(x), nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1))
    said: list[str] = []
    costs = trace(model, inputs=("x: float32[B,3,H,W]",), at={"B": 1, "H": 32, "W": 32}, warn=said.append)
    assert costs.fixed["B"].value == 1
    assert set(costs.symbols) == {"H", "W"}
    assert said[0].startswith("B is fixed at 1: ")
    _agrees(costs, model, ("B", 3, "H", "W"), B=1, H=8, W=9)


# Multiples


class Pyramid(nn.Module):
    """Levels that are halved and added to each other doubled again: every condition is that sizes are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grids = [[x]]
        for layer in self.down:
            grids.append([layer(grids[-1][0])])
        for depth in range(5):
            for level in range(5 - depth):
                grids[level].append(
                    functional.interpolate(grids[level + 1][depth], scale_factor=2) + grids[level][depth]
                )
        return grids[0][-1]


def test_multiples_that_are_declared_leave_no_conditions() -> None:
    costs = trace(Pyramid(), "B,H%32,W%32", inputs=("x: float32[B,4,H,W]",), at={"H": 64, "W": 64})
    assert {name: str(each) for name, each in costs.symbols.items()} == {
        "B": "1 or more",
        "H": "32 or more, a multiple of 32",
        "W": "32 or more, a multiple of 32",
    }
    assert costs.conditions == ()
    _agrees(costs, Pyramid(), ("B", 4, "H", "W"), B=2, H=96, W=32)


def test_images_are_kept_as_multiples_where_all_sizes_are_too_many_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MOST_CONDITIONS", 1)
    said: list[str] = []
    costs = trace(Pyramid(), inputs=("x: float32[B,4,H,W]",), at={"H": 64, "W": 64}, warn=said.append)
    assert set(costs.symbols) == {"B", "H", "W"}
    assert said[0].startswith("H and W kept as multiples of 32: ")
    _agrees(costs, Pyramid(), ("B", 4, "H", "W"), B=2, H=96, W=32)


def test_too_many_ways_are_told_by_the_first_two_and_what_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MOST_CONDITIONS", 0)
    model = Runs(
        lambda x, layer: layer(x) if x.shape[2] >= x.shape[3] and x.shape[2] + x.shape[3] > 9 else x, nn.Conv2d(3, 4, 3)
    )
    said: list[str] = []
    trace(model, inputs=("x: float32[B,3,H,W]",), at={"H": 33, "W": 33}, warn=said.append)
    assert "in too many ways to write down, such as H ≥ W and H + W > 9" in said[0]
    assert (
        "declare multiples (--symbolic H%32,W%32), give sizes that are alike one symbol, or keep fewer symbols"
        in said[0]
    )


def test_windows_of_which_there_is_one_keep_their_number_within_an_einsum() -> None:
    """A multiple of 4 that is one of 28: the number of windows is 1 here and free elsewhere, and torch views them on its way."""

    def run(x: Any, layer: Any) -> Any:
        batch, channels, height, width = x.shape
        windows = x.view(batch, channels, height // 28, 28, width // 28, 28)
        return torch.einsum("bcxpyq,dc->bxypqd", windows, layer.weight)

    model = Runs(run, nn.Linear(8, 8))
    costs = trace(model, "B,H%4,W%4", inputs=("x: float32[B,8,H,W]",), at={"H": 28, "W": 28})
    assert str(costs.symbols["H"]) == "28 or more, a multiple of 28"
    assert costs.conditions == ()
    _agrees(costs, model, ("B", 8, "H", "W"), B=2, H=56, W=84)


# What is left where nothing symbolic holds


@pytest.mark.parametrize("failure", [TraceError("no export"), TraceTimeout("too long")])
def test_sizes_are_fixed_where_export_fails_or_runs_out_of_its_budget(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ladder.record_module

    def record(module: Any, arguments: Any, sizes: Any, symbolic: Any, *rest: Any) -> Any:
        if symbolic:
            raise TraceError("not with symbols")
        return plain(module, arguments, sizes, symbolic, *rest)

    def export(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr(ladder, "record_module", record)
    monkeypatch.setattr(ladder, "trace_module", export)
    costs = trace(nn.Linear(4, 4), inputs=("input: float32[B,4]",), at={"B": 3}, isolated=False, warn=lambda _: None)
    assert {name: pin.value for name, pin in costs.fixed.items()} == {"B": 3}
    assert costs.total.macs == 3 * 16


def test_too_many_answers_are_entangled_and_not_an_error_of_ours() -> None:
    """More questions than are kept, each about another size: an operator that fails for them is told as such."""

    def run(x: Any, layer: Any) -> Any:
        for size in range(200):
            if x.shape[1] + size * x.shape[0] == 100_003:
                return x
        return layer(x)

    said: list[str] = []
    costs = trace(Runs(run, nn.Linear(8, 8)), inputs=("x: float32[B,S,8]",), at={"B": 2, "S": 16}, warn=said.append)
    assert issubclass(Entangled, TraceError)
    assert set(costs.fixed) & {"B", "S"}
    assert "in too many ways to write down" in said[0]

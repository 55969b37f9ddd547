"""Submodules that no operation uses a parameter of, by their largest whole."""

from typing import Any

import torch
from torch import nn

from fxcost.api import trace
from fxcost.costs.model import NOT_RUN, cautions


class Parts(nn.Module):
    def __init__(self, *used: str) -> None:
        super().__init__()
        self.used = used
        self.left = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4, bias=False)))
        self.right = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.right.weight
        self.alone = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.used:
            x = self.get_submodule(name)(x)
        return x


def said_of(module: nn.Module) -> tuple[str, ...]:
    told: list[str] = []
    costs = trace(module, inputs=("x: float32[B,4]",), warn=told.append)
    assert tuple(told) == cautions(costs)
    return cautions(costs)


def test_the_largest_whole_is_named_once() -> None:
    assert said_of(Parts("right")) == (f"{NOT_RUN}left (36 parameters)",)


def test_of_a_module_in_part_used_only_the_rest() -> None:
    assert said_of(Parts("right", "left.0")) == (f"{NOT_RUN}left.1 (16 parameters)",)


def test_what_shares_a_parameter_that_is_used_ran() -> None:
    assert said_of(Parts("left", "tied")) == ()
    assert said_of(Parts("left", "right")) == ()


def test_a_weight_that_is_used_without_its_module_ran() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.inner.weight, self.inner.bias)

    assert said_of(Functional()) == ()


def test_many_are_summed_up() -> None:
    module: Any = nn.ModuleDict({f"part{i}": nn.Linear(4, i, bias=False) for i in range(1, 7)})
    module.forward = lambda x: x * 2
    (note,) = said_of(module)
    assert note == (
        f"{NOT_RUN}part6 (24 parameters), part5 (20 parameters), part4 (16 parameters), 3 more (24 parameters)"
    )

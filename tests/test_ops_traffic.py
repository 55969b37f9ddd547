"""What operations move: views are free and copies are not, told by storage; elements worked out in words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.costs.model import UNUSED, CostModel, LayerCost

Costs = Callable[..., CostModel]
IMAGE = "x: float32[B,8,H,W]"
SIZES = {"B": 3, "H": 9, "W": 7}
WHOLE = 3 * 8 * 9 * 7
"""Elements of an image batch of these sizes."""


def only(costs: CostModel) -> LayerCost:
    (layer,) = costs.layers
    return layer


def activations(layer: LayerCost) -> tuple[int, int]:
    """Elements read and written, of any dtype."""
    sides = (layer.cost.reads, layer.cost.writes)
    assert all(set(side) <= {"activation"} for side in sides)
    read, written = (sum(int(n) for by_dtype in side.values() for n in by_dtype.values()) for side in sides)
    return read, written


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x[:, :3],
        lambda x: x.chunk(2, 1),
        lambda x: x.split(3, 1),
        lambda x: x.unsqueeze(0).squeeze(0),
        lambda x: x.flatten(1),
        lambda x: x.reshape(x.shape[0], 4, -1),
        lambda x: x.view(x.shape[0], -1),
        lambda x: x[:, None].expand(-1, 5, -1, -1, -1),
        lambda x: x.detach(),
        lambda x: x.contiguous(),
        lambda x: x.transpose(2, 3).transpose(2, 3).contiguous(),
        lambda x: x.to(torch.float32),
        lambda x: x.unfold(2, 3, 1),
        nn.Dropout(0.5),
        nn.Identity(),
    ],
)
def test_views_are_free(costs_of: Costs, view: Any) -> None:
    costs = costs_of(view, IMAGE, **SIZES)
    assert costs.layers == ()
    assert costs.unknown == {}


@pytest.mark.parametrize(
    ("copy", "moved"),
    [
        pytest.param(copy, moved, id=name)
        for name, copy, moved in [
            ("contiguous of a transposed one", lambda x: x.transpose(2, 3).contiguous(), (WHOLE, WHOLE)),
            ("reshape of a transposed one", lambda x: x.transpose(2, 3).reshape(x.shape[0], -1), (WHOLE, WHOLE)),
            ("clone", lambda x: x.clone(), (WHOLE, WHOLE)),
            ("a slice reads itself alone", lambda x: x[:, :3].clone(), (WHOLE // 8 * 3, WHOLE // 8 * 3)),
            ("an expanded one", lambda x: x[:, None].expand(-1, 5, -1, -1, -1).contiguous(), (WHOLE, 5 * WHOLE)),
            ("a list's tensor twice", lambda x: torch.cat([x, x], 1), (WHOLE, 2 * WHOLE)),
            ("parts of a list", lambda x: torch.cat([x[:, :2], x[:, 6:]], 1), (WHOLE // 2, WHOLE // 2)),
            ("another dtype", lambda x: x.half(), (WHOLE, WHOLE)),
            ("relu", lambda x: x.relu(), (WHOLE, WHOLE)),
            ("relu of a slice", lambda x: x[:, :3].relu(), (WHOLE // 8 * 3, WHOLE // 8 * 3)),
            ("in place", lambda x: x.relu_(), (WHOLE, WHOLE)),
            ("one input twice", lambda x: x * x, (WHOLE, WHOLE)),
            ("two halves", lambda x: torch.mul(*x.chunk(2, 1)), (WHOLE, WHOLE // 2)),
            ("a scalar", lambda x: x + 1, (WHOLE, WHOLE)),
            ("broadcast over channels", lambda x: x + x[:, :1], (WHOLE + WHOLE // 8, WHOLE)),
            ("overwritten", lambda x: x[:, :2].copy_(x[:, 2:4]), (WHOLE // 4, WHOLE // 4)),
            ("filled", torch.zeros_like, (0, WHOLE)),
            ("allocated", torch.empty_like, (0, 0)),
            ("sum", lambda x: x.sum((2, 3)), (WHOLE, 3 * 8)),
        ]
    ],
)  # fmt: skip
def test_elements_moved(costs_of: Costs, copy: Any, moved: tuple[int, int]) -> None:
    assert activations(only(costs_of(copy, IMAGE, **SIZES))) == moved


def test_an_expanded_operand_is_read_at_its_stored_size(costs_of: Costs) -> None:
    shapes = ("x: float32[B,S,8]", "y: float32[B,1,8]")
    layer = only(costs_of(lambda x, y: x + y.expand_as(x), *shapes, B=3, S=5))
    assert activations(layer) == (3 * 5 * 8 + 3 * 8, 3 * 5 * 8)


def test_dtypes_are_kept_apart(costs_of: Costs) -> None:
    """A comparison reads four bytes an element and writes one; another precision needs no new trace."""
    costs = costs_of(lambda x: x > 0, IMAGE, **SIZES)
    cost = only(costs).cost
    assert (cost.reads, cost.writes) == ({"activation": {"float32": WHOLE}}, {"activation": {"bool": WHOLE}})
    assert cost.bytes_moved(costs.bits()) == (4 + 1) * WHOLE
    assert cost.bytes_moved(costs.bits(16)) == (2 + 1) * WHOLE


def test_an_embedding_reads_the_rows_it_picks(costs_of: Costs) -> None:
    """15 rows of 16, not the table of 1000; and 15 indices of eight bytes each."""
    costs = costs_of(nn.Embedding(1000, 16), "i: int64[B,S]", B=3, S=5)
    layer = only(costs)
    assert layer.params == 1000 * 16
    assert layer.cost.reads == {"weight": {"float32": 15 * 16}, "activation": {"int64": 15}}
    assert layer.cost.writes == {"activation": {"float32": 15 * 16}}
    assert layer.cost.bytes_moved(costs.bits(16)) == 2 * 15 * 16 + 8 * 15 + 2 * 15 * 16


def test_a_gather_reads_the_elements_it_picks(costs_of: Costs) -> None:
    layer = only(costs_of(lambda x, i: x.index_select(1, i), IMAGE, "i: int64[K]", **SIZES, K=5))
    picked = 3 * 5 * 9 * 7
    assert layer.cost.reads == {"activation": {"float32": picked, "int64": 5}}
    assert layer.cost.writes == {"activation": {"float32": picked}}


def test_a_convolution_reads_input_and_weights_and_writes_its_output(costs_of: Costs) -> None:
    """Kernel 3, stride 2, padding 1 leaves every other position: 5 by 4 of 9 by 7. Weights and biases are read once."""
    layer = only(costs_of(nn.Conv2d(8, 4, 3, stride=2, padding=1), IMAGE, **SIZES))
    assert layer.cost.reads == {"activation": {"float32": WHOLE}, "weight": {"float32": 4 * 8 * 9 + 4}}
    assert layer.cost.writes == {"activation": {"float32": 3 * 4 * 5 * 4}}


# Parameters


class Tied(nn.Module):
    """An embedding whose table is the output layer's weight too, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.spare = nn.Parameter(torch.zeros(3, 5))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


def test_tied_weights_count_once_and_unused_ones_are_listed(costs_of: Costs) -> None:
    costs = costs_of(Tied(), "i: int64[B,S]", B=3, S=5)
    rows = {layer.name: (layer.params, layer.shared, layer.op == UNUSED) for layer in costs.layers}
    assert rows == {"embed": (40, False, False), "head": (0, True, False), "spare": (15, False, True)}
    assert costs.total.params == 40 + 15


def test_a_module_called_twice_counts_its_parameters_once(costs_of: Costs) -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(x))

    first, second = costs_of(Twice(), IMAGE, **SIZES).layers
    assert (first.params, first.shared) == (8 * 8 * 9 + 8, False)
    assert (second.params, second.shared) == (0, True)
    assert second.flops == first.flops


def test_indexed_writes(costs_of: Costs) -> None:
    """In place only what is picked is written; a mask may pick all; out of place everything is copied."""

    def masked(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        y = x * 1
        y[m] = 0.0
        return y

    def picked(x: torch.Tensor, i: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return x.index_put((i,), v)

    by_mask = costs_of(masked, "x: float32[B,6,8]", "m: bool[B,6]", B=5).layers[-1]
    assert by_mask.op.startswith("aten.index_put_")
    assert by_mask.cost.writes == {"activation": {"float32": 5 * 6 * 8}}
    copied = costs_of(picked, "x: float32[B,8]", "i: int64[3]", "v: float32[3,8]", B=5).layers[-1]
    assert copied.cost.reads == {"activation": {"float32": 5 * 8 + 3 * 8, "int64": 3}}
    assert copied.cost.writes == {"activation": {"float32": 5 * 8}}

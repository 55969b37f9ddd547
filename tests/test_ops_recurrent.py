"""Recurrent networks against a plain loop over steps that counts, and against torch's own counter."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.model import CostModel, LayerCost
from fxcost.graph import TensorSpec
from fxcost.ops import Call, rule_of

Costs = Callable[..., CostModel]


class Tally:
    """Scalar multiply-adds, and other scalar operations."""

    def __init__(self) -> None:
        self.macs = 0
        self.others = 0

    def product(self, matrix: Any, vector: list[float], bias: Any) -> list[float]:
        """Start from the bias; one multiply-add for each weight."""
        out = [float(b) for b in bias]
        for row, weights in enumerate(matrix.tolist()):
            for weight, value in zip(weights, vector, strict=True):
                out[row] += weight * value
                self.macs += 1
        return out

    def does(self, operations: int, value: float) -> float:
        self.others += operations
        return value

    def sigmoid(self, x: float) -> float:
        return self.does(4, 1 / (1 + math.exp(-x)))  # negate, exp, add, divide

    def tanh(self, x: float) -> float:
        return self.does(1, math.tanh(x))


Weights = tuple[Any, Any, Any, Any]


def lstm_step(tally: Tally, x: list[float], state: list[Any], weights: Weights) -> list[Any]:
    hidden, cell = state
    w_ih, w_hh, b_ih, b_hh = weights
    sums = [a + b for a, b in zip(tally.product(w_ih, x, b_ih), tally.product(w_hh, hidden, b_hh), strict=True)]
    size = len(sums) // 4
    new_hidden, new_cell = [], []
    for i in range(size):
        take, forget, out = (tally.sigmoid(sums[i + gate * size]) for gate in (0, 1, 3))
        value = tally.tanh(sums[i + 2 * size])
        kept = tally.does(3, forget * cell[i] + take * value)
        new_cell.append(kept)
        new_hidden.append(tally.does(1, out * tally.tanh(kept)))
    return [new_hidden, new_cell]


def gru_step(tally: Tally, x: list[float], state: list[Any], weights: Weights) -> list[Any]:
    (hidden,) = state
    w_ih, w_hh, b_ih, b_hh = weights
    ours, theirs = tally.product(w_ih, x, b_ih), tally.product(w_hh, hidden, b_hh)
    size, new_hidden = len(ours) // 3, []
    for i in range(size):
        reset, update = (tally.sigmoid(ours[i + gate * size] + theirs[i + gate * size]) for gate in (0, 1))
        # Here the two products cannot be one sum: the second is scaled first, by a product and an addition.
        value = tally.tanh(tally.does(2, ours[i + 2 * size] + reset * theirs[i + 2 * size]))
        new_hidden.append(tally.does(3, value + update * (hidden[i] - value)))
    return [new_hidden]


def plain_step(tally: Tally, x: list[float], state: list[Any], weights: Weights) -> list[Any]:
    (hidden,) = state
    w_ih, w_hh, b_ih, b_hh = weights
    sums = zip(tally.product(w_ih, x, b_ih), tally.product(w_hh, hidden, b_hh), strict=True)
    return [[tally.tanh(a + b) for a, b in sums]]


STEPS = {nn.LSTM: (lstm_step, 2), nn.GRU: (gru_step, 1), nn.RNN: (plain_step, 1)}


def unrolled(network: Any, x: torch.Tensor) -> tuple[torch.Tensor, Tally]:
    """What a batch-first network gives, row by row, layer by layer, direction by direction, step by step."""
    step, states = STEPS[type(network)]
    tally, rows = Tally(), []
    for sequence in x.tolist():
        values = sequence
        for layer in range(network.num_layers):
            directions = []
            for suffix in ("", "_reverse")[: 1 + network.bidirectional]:
                names = [f"{kind}_l{layer}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
                weights: Any = tuple(getattr(network, name).detach() for name in names)
                state, outs = [[0.0] * network.hidden_size] * states, []
                for value in reversed(values) if suffix else values:
                    state = step(tally, value, state, weights)
                    outs.append(state[0])
                directions.append(outs[::-1] if suffix else outs)
            values = [[x for part in parts for x in part] for parts in zip(*directions, strict=True)]
        rows.append(values)
    return torch.tensor(rows), tally


def recurrent_layer(costs: CostModel) -> LayerCost:
    (layer,) = [layer for layer in costs.layers if layer.unit == "matrix"]
    return layer


NETWORKS = [
    nn.LSTM(3, 2, batch_first=True),
    nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True),
    nn.GRU(3, 2, batch_first=True),
    nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True),
    nn.RNN(3, 2, num_layers=2, batch_first=True),
]


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_a_network_step_by_step(costs_of: Costs, network: Any) -> None:
    network.double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    out, tally = unrolled(network, x)
    torch.testing.assert_close(out.double(), network(x)[0].detach(), rtol=1e-4, atol=1e-5)
    layer = recurrent_layer(costs_of(network, "x: float64[B,S,3]", B=2, S=5))
    assert layer.macs == tally.macs
    assert layer.flops == 2 * tally.macs + tally.others


@pytest.mark.parametrize(
    "network",
    [
        *NETWORKS,
        nn.LSTM(3, 4, num_layers=2, bias=False, bidirectional=True, proj_size=2),
        nn.RNN(3, 4, nonlinearity="relu"),
    ],
    ids=repr,
)
def test_multiply_adds_equal_torchs_own_count(costs_of: Costs, network: Any) -> None:
    """On tensors without memory torch takes the network apart into products, which its counter sees."""
    x = torch.zeros(4, 6, 3, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.float().to("meta")(x)
    layer = recurrent_layer(costs_of(network, "x: float32[P,Q,3]", P=4, Q=6))
    assert 2 * layer.macs == counter.get_total_flops() > 0


@pytest.mark.parametrize(("cell", "others"), [(nn.LSTMCell, 18), (nn.GRUCell, 14), (nn.RNNCell, 1)])
def test_cells(costs_of: Costs, cell: Any, others: int) -> None:
    """A cell is one step: so many operations for each hidden element beside the products, as the loops above count."""
    module = cell(3, 2, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(5, 3, device="meta"))
    layer = recurrent_layer(costs_of(module, "x: float32[B,3]", B=5))
    assert 2 * layer.macs == counter.get_total_flops() > 0
    assert layer.flops - 2 * layer.macs == others * 5 * 2


def test_projections_hold_the_hidden_size(costs_of: Costs) -> None:
    """A projection narrows what is passed on, not the gates: 18 for each of 4 hidden elements, not for 2."""
    layer = recurrent_layer(costs_of(nn.LSTM(3, 4, proj_size=2), "x: float32[S,B,3]", S=6, B=5))
    assert layer.flops - 2 * layer.macs == 18 * 4 * 6 * 5


def test_a_packed_batch_takes_the_steps_it_holds() -> None:
    """Sequences of 4, 2 and 1 steps are 7 rows, not 3 times 4: each meets 8 by 3 and 8 by 2 weights."""
    one = sympy.Integer(1)

    def spec(*shape: int) -> TensorSpec:
        return TensorSpec(tuple(map(sympy.Integer, shape)), (one,) * len(shape), "float32", 0, sympy.Integer(0))

    arguments = {
        "data": spec(7, 3), "batch_sizes": spec(4), "hx": (spec(1, 3, 2), spec(1, 3, 2)),
        "params": (spec(8, 3), spec(8, 2), spec(8), spec(8)), "num_layers": 1, "bidirectional": False,
    }  # fmt: skip
    rule = rule_of("aten.lstm.data")
    assert rule is not None
    call = Call("aten.lstm.data", arguments, (spec(7, 2),), frozenset())
    assert rule.macs(call) == 7 * (8 * 3 + 8 * 2)
    assert rule.vector(call) == 7 * 18 * 2


def test_weights_are_read_once_however_many_steps(costs_of: Costs) -> None:
    network = nn.LSTM(3, 2, batch_first=True)
    layer = recurrent_layer(costs_of(network, "x: float32[B,S,3]", B=2, S=50))
    assert layer.cost.reads["weight"] == {"float32": sum(p.numel() for p in network.parameters())}
    # The sequence and two first states in, the outputs and two last states out.
    assert layer.cost.reads["activation"] == {"float32": 2 * 50 * 3 + 2 * 2 * 2}
    assert layer.cost.writes["activation"] == {"float32": 2 * 50 * 2 + 2 * 2 * 2}

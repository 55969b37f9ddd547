"""Recurrent networks against torch's own counter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.model import CostModel, LayerCost

Costs = Callable[..., CostModel]


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


def test_weights_are_read_once_however_many_steps(costs_of: Costs) -> None:
    network = nn.LSTM(3, 2, batch_first=True)
    layer = recurrent_layer(costs_of(network, "x: float32[B,S,3]", B=2, S=50))
    assert layer.cost.reads["weight"] == {"float32": sum(p.numel() for p in network.parameters())}
    # The sequence and two first states in, the outputs and two last states out.
    assert layer.cost.reads["activation"] == {"float32": 2 * 50 * 3 + 2 * 2 * 2}
    assert layer.cost.writes["activation"] == {"float32": 2 * 50 * 2 + 2 * 2 * 2}

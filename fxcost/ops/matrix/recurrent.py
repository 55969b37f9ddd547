"""Recurrent networks: every step of every row meets every weight matrix; the gates' own arithmetic comes on top."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from dataclasses import dataclass

import sympy
import torch
from torch._ops import OpOverloadPacket

from fxcost.graph import TensorSpec
from fxcost.ops.rules import Call, Rule, register

aten = torch.ops.aten


@dataclass(frozen=True)
class RecurrentCell:
    """One kind of recurrent cell, and what a hidden element costs a step beside the matrix products."""

    gates: int
    """Matrices of ``hidden`` rows stacked in each weight."""
    pointwise: int
    reason: str


LSTM = RecurrentCell(4, 18, "three sigmoids of 4, tanh of the new value and of the state, f·c + i·g, and o · tanh(c)")
GRU = RecurrentCell(3, 14, "two sigmoids of 4, n = tanh(a + r·b), and n + z·(h − n)")
TANH = RecurrentCell(1, 1, "tanh")
RELU = RecurrentCell(1, 1, "a comparison")


def _rows(call: Call) -> sympy.Expr:
    """Steps of all sequences; a packed batch has one row for each, and pads none."""
    data: TensorSpec = call.tensors[0][1]
    return data.elements / data.shape[-1]


def _weights(call: Call) -> tuple[TensorSpec, ...]:
    if "params" in call.arguments:
        return call["params"]
    return call["w_ih"], call["w_hh"]


def _macs(call: Call) -> sympy.Expr:
    matrices = (weight.elements for weight in _weights(call) if len(weight.shape) == 2)
    return _rows(call) * sympy.Add(*matrices)


def _input_weights(call: Call) -> tuple[TensorSpec, ...]:
    """The first weight of each direction of each layer, whose rows are the gates."""
    weights = _weights(call)
    networks = call.arguments.get("num_layers", 1) * (1 + bool(call.arguments.get("bidirectional")))
    return weights[:: len(weights) // networks]


def _drops(call: Call) -> bool:
    return bool(call.arguments.get("train")) and call["dropout"] != 0


def _cell(kind: RecurrentCell, *operators: OpOverloadPacket) -> None:
    def pointwise(call: Call) -> sympy.Expr:
        gates = sympy.Add(*(weight.shape[0] for weight in _input_weights(call)))
        return kind.pointwise * _rows(call) * gates / kind.gates

    reason = (
        "each step of each sequence meets every weight matrix once, biases not counted; on top of the multiply-adds "
        f"{kind.pointwise} for each hidden element and step: {kind.reason}. Weights are read once, not once a step; "
        "the state between steps and layers stays inside"
    )
    rule = Rule(
        "recurrence", reason, macs=_macs, vector=pointwise,
        unknown_when=_drops, unknown_why="dropout between recurrent layers in training has no formula here",
    )  # fmt: skip
    register(rule, *operators)


_cell(LSTM, aten.lstm, aten.lstm_cell)
_cell(GRU, aten.gru, aten.gru_cell)
_cell(TANH, aten.rnn_tanh, aten.rnn_tanh_cell)
_cell(RELU, aten.rnn_relu, aten.rnn_relu_cell)

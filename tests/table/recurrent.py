"""Recurrent networks: step by step, in loops that count and give torch's value."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.table.counting import Number, drawn, larger, mac, tanh
from tests.table.entries import Entry, counted, unknown
from tests.table.pointwise import sigmoid

aten = torch.ops.aten
State = list[list[float]]


def sums(matrix: torch.Tensor, vector: Sequence[float]) -> list[float]:
    result = []
    for row in matrix.tolist():
        held = 0.0
        for weight, value in zip(row, vector, strict=True):
            held = mac(held, weight, value)
        result.append(held)
    return result


def lstm(x: list[float], state: State, weights: Sequence[torch.Tensor]) -> State:
    """Input, forget, value and output gates; a projection, the third weight, narrows what is passed on."""
    hidden, cell = state
    gates = [a + b for a, b in zip(sums(weights[0], x), sums(weights[1], hidden), strict=True)]
    size = len(cell)
    take, forget, value, out = (numbers_of(gates[i * size : (i + 1) * size]) for i in range(4))
    kept = [sigmoid(f) * Number(c) + sigmoid(i) * tanh(v) for f, c, i, v in zip(forget, cell, take, value, strict=True)]
    given = [sigmoid(o) * tanh(c) for o, c in zip(out, kept, strict=True)]
    return [sums(weights[2], given) if len(weights) > 2 else given, kept]  # pyright: ignore[reportReturnType]


def gru(x: list[float], state: State, weights: Sequence[torch.Tensor]) -> State:
    """The reset gate scales the second product of the value, so that the two are no sum."""
    (hidden,) = state
    ours, theirs = sums(weights[0], x), sums(weights[1], hidden)
    size = len(hidden)
    result = []
    for i in range(size):
        reset, update = (sigmoid(Number(ours[i + g * size] + theirs[i + g * size])) for g in (0, 1))
        value = tanh(ours[i + 2 * size] + reset * theirs[i + 2 * size])
        result.append(value + update * (hidden[i] - value))
    return [result]


def plain(activate: Callable[[float], float]) -> Callable[..., State]:
    def step(x: list[float], state: State, weights: Sequence[torch.Tensor]) -> State:
        met = zip(sums(weights[0], x), sums(weights[1], state[0]), strict=True)
        return [[activate(a + b) for a, b in met]]

    return step


def numbers_of(values: Sequence[float]) -> list[Number]:
    return [Number(value) for value in values]


CELLS: dict[str, tuple[Callable[..., State], int, int]] = {
    "lstm": (lstm, 4, 2), "gru": (gru, 3, 1), "rnn_tanh": (plain(tanh), 1, 1),
    "rnn_relu": (plain(lambda x: larger(x, 0)), 1, 1),
}  # fmt: skip
"""One step, the gates, and the states that it keeps."""
WIDTH, HIDDEN = 3, 2


def parameters(gates: int, layers: int = 1, directions: int = 1, projected: int = 0) -> list[torch.Tensor]:
    """Without biases, which are not counted."""
    passed = projected or HIDDEN
    result: list[torch.Tensor] = []
    for layer in range(layers):
        for _ in range(directions):
            width = directions * passed if layer else WIDTH
            result += [drawn(gates * HIDDEN, width) / 4, drawn(gates * HIDDEN, passed) / 5]
            result += [drawn(projected, HIDDEN) / 3] if projected else []
    return result


def unrolled(kind: str, x: torch.Tensor, params: Sequence[torch.Tensor], layers: int, directions: int) -> torch.Tensor:
    """Steps first, then rows: row by row, layer by layer, direction by direction, step by step from states of zero."""
    step, _, states = CELLS[kind]
    each = len(params) // (layers * directions)
    columns = []
    for sequence in x.transpose(0, 1).tolist():
        values = sequence
        for layer in range(layers):
            sides = []
            for direction in range(directions):
                first = (layer * directions + direction) * each
                weights = params[first : first + each]
                passed = weights[1].shape[1]
                state: State = [[0.0] * passed, [0.0] * HIDDEN][:states]
                outs = []
                for value in reversed(values) if direction else values:
                    state = step(value, state, weights)
                    outs.append(state[0])
                sides.append(outs[::-1] if direction else outs)
            values = [[x for part in parts for x in part] for parts in zip(*sides, strict=True)]
        columns.append([[float(v) for v in value] for value in values])
    return torch.tensor(columns, dtype=torch.float64).transpose(0, 1)


def network(kind: str, layers: int = 1, directions: int = 1, projected: int = 0) -> Entry:
    _, gates, states = CELLS[kind]
    params = parameters(gates, layers, directions, projected)
    x, blank = drawn(4, 2, WIDTH) / 3, torch.zeros(layers * directions, 2, projected or HIDDEN, dtype=torch.float64)
    cell = torch.zeros(layers * directions, 2, HIDDEN, dtype=torch.float64)
    start: Any = [blank, cell] if states == 2 else blank
    rest = params, False, layers, 0.0, False, directions == 2, False
    case = f"{layers} layers, {directions} directions, {projected} projected"
    operator = getattr(aten, kind).input
    return counted(operator, lambda x, _, p, *__: unrolled(kind, x, p, layers, directions), x, start, *rest, case=case)


def cell(kind: str) -> Entry:
    step, gates, states = CELLS[kind]
    x, (w_ih, w_hh) = drawn(5, WIDTH) / 3, parameters(gates)
    blank = torch.zeros(5, HIDDEN, dtype=torch.float64)

    def once(x: torch.Tensor, *_: Any) -> list[list[float]]:
        return [step(row, [[0.0] * HIDDEN] * states, (w_ih, w_hh))[0] for row in x.tolist()]

    return counted(getattr(aten, f"{kind}_cell").default, once, x, [blank, blank] if states == 2 else blank, w_ih, w_hh)


def packed(kind: str) -> Entry:
    """Sequences of 3, 2 and 1 steps, packed: at each step those that still run."""
    step, gates, states = CELLS[kind]
    params, data, batch = parameters(gates), drawn(6, WIDTH) / 3, [3, 2, 1]
    blank = torch.zeros(1, 3, HIDDEN, dtype=torch.float64)

    def run(data: torch.Tensor, *_: Any) -> list[list[float]]:
        held: list[State] = [[[0.0] * HIDDEN] * states for _ in range(3)]
        left, result = iter(data.tolist()), []
        for running in batch:
            for row in range(running):
                held[row] = step(next(left), held[row], params)
                result.append(held[row][0])
        return result

    start: Any = [blank, blank] if states == 2 else blank
    rest = params, False, 1, 0.0, False, False
    return counted(getattr(aten, kind).data, run, data, torch.tensor(batch), start, *rest, case="packed")


def networks() -> list[Entry]:
    entries = [entry for kind in CELLS for entry in (network(kind), network(kind, 2, 2), cell(kind), packed(kind))]
    weights = parameters(3, 2)
    dropping = aten.gru.input, drawn(4, 2, WIDTH), torch.zeros(2, 2, HIDDEN).double(), weights, False, 2
    still = (0.0, True, False, False), (0.5, False, False, False)
    return [
        *entries,
        network("lstm", 1, 1, 1),
        network("lstm", 2, 2, 1),
        unknown(*dropping, 0.5, True, False, False, case="with dropout in training"),
        *(
            counted(dropping[0], lambda x, _, p, *__: unrolled("gru", x, p, 2, 1), *dropping[1:], *rest, case=str(rest))
            for rest in still
        ),
    ]


ENTRIES = networks()

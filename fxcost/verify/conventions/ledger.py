"""One operation as the rules of other counters look at it, and what such a rule answers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from torch import nn

from fxcost.costs.model import EvaluatedModel, LayerCost, operator_name
from fxcost.formulas.algebra import Exact

PlainShape = tuple[int, ...]


@dataclass(frozen=True)
class Resize:
    """What a call of ``interpolate`` was asked for: a size, or how many times as large; for all sides, or for each."""

    size: int | PlainShape | None
    scale: float | tuple[float, ...] | None


@dataclass(frozen=True)
class Row:
    """One operation at known sizes, and the modules around it."""

    op: str
    """``conv2d``; in place or not."""
    overload: str
    """``padding`` of ``conv2d.padding``."""
    owner: nn.Module
    """The module whose forward called it."""
    path: str
    """Of the owner; of a shared one the first."""
    above: tuple[nn.Module, ...]
    """The modules around the owner, outermost first."""
    inputs: tuple[PlainShape, ...]
    """Every tensor argument, weights and biases too."""
    outputs: tuple[PlainShape, ...]
    macs: int
    paths: int
    """By how many paths counters reach the owner from the root: more than one for a module that several modules hold."""
    is_complex: bool = False
    by_name: bool = False
    """Whether it is called by a name that counters replace: ``torch.add(x, y)``, and not ``x + y``."""
    result: PlainShape = ()
    """What the owner's call gives, where this is the last operation of one; else empty."""
    asked: "Resize | str | None" = None
    """What an ``interpolate`` or, by its equation, an ``einsum`` was asked for, where it is called by name."""

    @property
    def taken(self) -> int:
        """Elements of the first input."""
        return prod(self.inputs[0]) if self.inputs else 0

    @property
    def given(self) -> int:
        """Elements of the first output."""
        return prod(self.outputs[0]) if self.outputs else 0

    def owned_by(self, *kinds: type[nn.Module]) -> bool:
        """Whether the owner is of one of these very classes; subclasses are others, as hooks by type have it."""
        return type(self.owner) in kinds


@dataclass(frozen=True)
class Counted:
    """What a counter finds in one operation."""

    macs: int = 0
    """Of the multiply-adds of a contraction."""
    extras: tuple[tuple[str, int], ...] = ()
    """What else it adds, in its own unit, with the reason."""
    instead: str = ""
    """Why its multiply-adds differ from those of the operation."""


NOTHING = Counted()
Convention = Callable[[Row], Counted]
"""A counter's rule for one operation."""

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


def extra(reason: str, amount: int) -> Counted:
    """Something that is no contraction, counted."""
    return Counted(0, ((reason, amount),))


def through_the_tree(count: Counted, row: Row, factor: int, power: int = 1) -> Counted:
    """As counters find it that add up all children of all modules: a shared module once for each path to it.

    With a ``power`` of 2 they hook it once for each path too.
    """
    if row.paths == 1:
        return count
    again = (row.paths**power - 1) * (factor * count.macs + sum(amount for _, amount in count.extras))
    reason = f"a shared {type(row.owner).__name__} is counted {row.paths**power} times for its {row.paths} places in the model"
    return Counted(count.macs, (*count.extras, (reason, again)), count.instead)


def product_of_shapes(row: Row) -> Counted:
    """A matrix product as counters compute it: all of the first input by the last dimension of the second."""
    counted = row.taken * row.inputs[1][-1]
    return Counted(counted, instead="matmul is counted as all of the first input by the last dimension of the second")


def einsum(row: Row, factor: int) -> Counted:
    """An einsum by what numpy reports of the FLOPs of its best order: of two operands 1 more than they are, in 4 digits."""
    counted = _reported(row) * factor // 2
    order = " of the best order of its operands" if len(row.inputs) > 2 else ""
    return Counted(
        row.macs, ((f"einsum is counted by numpy's report{order}, of 4 digits", counted - factor * row.macs),)
    )


def _reported(row: Row) -> int:
    if not isinstance(row.asked, str):
        return int(float(f"{2 * row.macs + 1:.3e}"))
    operands = [np.broadcast_to(np.float64(0), shape) for shape in row.inputs]
    said = np.einsum_path(row.asked, *operands, optimize="optimal")[1]
    return int(float(next(line for line in said.splitlines() if "optimized flop" in line.lower()).rpartition(":")[2]))


def resized(row: Row) -> Counted:
    """An ``interpolate`` by its outputs; asked for a scale, by its inputs times that, not rounded as each side is."""
    amount = row.given
    if isinstance(row.asked, Resize) and row.asked.size is None and row.asked.scale is not None:
        scale, sides = row.asked.scale, len(row.inputs[0]) - 2
        amount = int(row.taken * (prod(scale) if isinstance(scale, tuple) else scale**sides))
    each = "1 for each output" if amount == row.given else "its inputs times the scale, not rounded"
    return extra(f"{row.op} is counted, {each}", amount)


def with_bias(row: Row) -> Counted:
    """A product or convolution, and an addition for each output where it was given a third tensor."""
    return Counted(row.macs, (("biases are counted", row.given if len(row.inputs) > 2 else 0),))


def rows_of(costs: EvaluatedModel, model: nn.Module) -> list[Row]:
    """The ledger of evaluated costs; parameters that nothing uses are left out."""
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # torch leaves its result open
    paths: dict[int, list[str]] = {}
    for path, module in _walked(model):
        paths.setdefault(id(module), []).append(path)
    return [_row(layer, modules, paths) for layer in costs.used_layers]


def _walked(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Each module by each path that counters take to it: those that add up ``children()`` meet one that has two names in one parent once."""
    yield path, module
    for name, child in module.named_children():
        yield from _walked(child, f"{path}.{name}" if path else name)


def _row(layer: LayerCost[Exact], modules: Mapping[str, nn.Module], paths: Mapping[int, list[str]]) -> Row:
    owner = modules.get(layer.module, modules[""])
    parts = layer.module.split(".") if layer.module else []
    above = tuple(modules[path] for n in range(len(parts)) if (path := ".".join(parts[:n])) in modules)
    inputs, outputs = (tuple(tuple(int(d) for d in s) for s in each) for each in (layer.inputs, layer.outputs))
    return Row(
        operator_name(layer.op).rstrip("_"), layer.op.rpartition(".")[2], owner, paths[id(owner)][0], above,
        inputs, outputs, int(layer.macs), len(paths[id(owner)]),
        any("complex" in dtype for by in layer.cost.reads.values() for dtype in by),
    )  # fmt: skip


def reasons_of(rows: Iterable[Row], convention: Convention, factor: int) -> dict[str, int]:
    """How a counter's total differs from our multiply-adds by its rule; one is ``factor`` of the counter's unit."""
    reasons: dict[str, int] = {}
    for row in rows:
        for reason, amount in _differences(row, convention, factor):
            reasons[reason] = reasons.get(reason, 0) + amount
    return {reason: amount for reason, amount in reasons.items() if amount}


def _differences(row: Row, convention: Convention, factor: int) -> Iterator[tuple[str, int]]:
    if row.is_complex:
        yield (
            "complex multiply-adds are counted as one each, not as four real ones",
            factor * (row.macs // 4 - row.macs),
        )
        row = replace(row, macs=row.macs // 4, is_complex=False)
    count = convention(row)
    yield count.instead or _missed(row), factor * (count.macs - row.macs)
    yield from count.extras


def _missed(row: Row) -> str:
    if row.op == "scaled_dot_product_attention":
        return "fused attention is not counted"
    return f"{row.op} called in {type(row.owner).__name__} is not counted"


def recurrent(row: Row, per_unit: Mapping[str, int], biased: int) -> Counted:
    """A recurrent module: its matrix products, and so much for each hidden element, step, layer and direction."""
    owner: Any = row.owner
    kind = row.op.partition("_")[0]
    if kind not in GATES:
        return NOTHING
    networks = getattr(owner, "num_layers", 1) * (2 if getattr(owner, "bidirectional", False) else 1)
    units = prod(row.inputs[0][:-1]) * owner.hidden_size * networks
    amount = per_unit[kind] + (biased * GATES[kind] if owner.bias else 0)
    return Counted(row.macs, (("the gates' arithmetic and biases of recurrent layers are counted", amount * units),))


GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def is_affine(module: nn.Module, *attributes: str) -> bool:
    """Whether a normalization scales and shifts, by the attributes that a counter asks for."""
    return any(bool(getattr(module, name, False)) for name in attributes)


NORMALIZATIONS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
CONVOLUTION_MODULES = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED_MODULES = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
MAXIMUM_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
ADAPTIVE_AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ADAPTIVE_MAXIMA = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)

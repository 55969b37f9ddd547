"""What operators hold while they run, beside what they are given and give.

Read in ATen of torch 2.13 (``aten/src/ATen/native``: ``Pooling.cpp``, ``Normalization.cpp``, ``layer_norm.cpp``,
``transformers/attention.cpp``, ``LinearAlgebra.cpp``), and held against the allocator by ``make check-memory``. Of a CPU
alone are the copies that oneDNN's convolutions make in layouts of their own (``mkldnn/Conv.cpp``).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fxcost.costs.fusion.kernels import lie_evenly
from fxcost.costs.fusion.kinds import kind_of
from fxcost.costs.graph.cost_graph import CostGraph, StoredTensor
from fxcost.costs.model import LayerCost, operator_name
from fxcost.formulas.algebra import ONE, Formula, multiply

TemporaryKind = Literal["library", "eager", "cpu"]
"""Held by a library's kernel; only where each operation runs alone; only on a CPU."""
Stored = int | Literal["like"]
"""Bits of an element, or ``like``: those of the tensor that it is a copy of."""


@dataclass(frozen=True)
class Temporary:
    """Elements that one call holds while it runs."""

    kind: TemporaryKind
    what: str
    elements: Formula
    bits: Stored
    like: int
    """The tensor that it is a copy of, or stands beside."""


class _Arguments:
    """The tensors of one call, by the names of its arguments."""

    def __init__(self, layer: LayerCost, graph: CostGraph, channels_last: Collection[int]) -> None:
        self.graph, self.channels_last = graph, channels_last
        self.given = dict(layer.edges.inputs)
        self.outputs = layer.edges.outputs

    def tensor(self, place: int) -> StoredTensor:
        return self.graph.tensors[place]

    def elements(self, place: int) -> Formula:
        return multiply(ONE, *self.tensor(place).shape)


def temporaries(layer: LayerCost, graph: CostGraph, channels_last: Collection[int] = ()) -> tuple[Temporary, ...]:
    """What a call of an operator holds while it runs; ``channels_last`` are the storages that `with_channels_last` finds."""
    rule = _RULES.get(operator_name(layer.op))
    return tuple(rule(_Arguments(layer, graph, channels_last))) if rule and layer.edges.outputs else ()


def with_channels_last(layers: Iterable[LayerCost], graph: CostGraph) -> set[int]:
    """Storages that a CPU's operators write with channels last, since what they are given has them last.

    A trace writes what a convolution gives with its channels first, whatever it is given.
    """
    found: set[int] = set()
    for layer in layers:
        is_convolution = operator_name(layer.op) in CONVOLUTIONS
        if not layer.edges.outputs or not (is_convolution or kind_of(layer, graph) == "pointwise"):
            continue
        made = layer.edges.outputs[0]
        rank = len(graph.tensors[made].shape)
        told = (tensor for name, tensor in layer.edges.inputs if not is_convolution or name == "input")
        whole = [tensor for tensor in told if len(graph.tensors[tensor].shape) == rank]
        if whole and all(_has_channels_last(graph.tensors[tensor], found) for tensor in whole):
            found.add(graph.tensors[made].storage)
    return found


def _places_of_maxima(call: _Arguments) -> Iterator[Temporary]:
    """`max_pool2d` finds the places of its maxima too, and lets go of them."""
    made = call.outputs[0]
    yield Temporary("eager", "indices of a pool", call.elements(made), 64, made)


def _statistics_of_channels(call: _Arguments) -> Iterator[Temporary]:
    if (channels := call.given.get("running_mean")) is not None:
        yield Temporary("eager", "statistics of a norm", 2 * call.elements(channels), 32, channels)


def _statistics_of_rows(call: _Arguments) -> Iterator[Temporary]:
    """A mean and a deviation of each row, which has as many elements as the weight."""
    given, weight = call.given.get("input"), call.given.get("weight")
    if given is not None and weight is not None:
        yield Temporary("eager", "statistics of a norm", 2 * call.elements(given) / call.elements(weight), 32, given)


def _attention(call: _Arguments) -> Iterator[Temporary]:
    """A sum of exponentials for each query and head, and a mask of booleans as numbers that are added."""
    query, mask = call.given.get("query"), call.given.get("attn_mask")
    if query is not None:
        yield Temporary("library", "log-sum-exp of attention", multiply(ONE, *call.tensor(query).shape[:-1]), 32, query)
    if mask is not None and query is not None and call.tensor(mask).dtype == "bool":
        yield Temporary("library", "mask of attention as numbers", call.elements(mask), "like", query)


def _product(call: _Arguments) -> Iterator[Temporary]:
    """Operands whose matrices do not lie at one distance from each other are copied."""
    sides = [
        call.given[name] for name in ("self", "input", "tensor1", "mat2", "other", "tensor2") if name in call.given
    ]
    if len(sides) != 2:
        return
    made = call.tensor(call.outputs[0])
    for side in sides:
        found = call.tensor(side)
        if len(made.shape) > 3 and len(found.shape) > 3 and not lie_evenly(found.shape[:-2], found.strides[:-2]):
            yield Temporary("library", "copy of a factor", call.elements(side), "like", side)


def _convolution(call: _Arguments) -> Iterator[Temporary]:
    """Copies of what it is given, and then one of what it gives: the greater counts. With channels last only of the weight."""
    given, weight, made = call.given.get("input"), call.given.get("weight"), call.outputs[0]
    if given is None or weight is None:
        return
    if _has_channels_last(call.tensor(given), call.channels_last):
        times = 1 if all(size == 1 for size in call.tensor(weight).shape[2:]) else 2
        yield Temporary("cpu", "convolution's copies", times * call.elements(weight), "like", made)
    else:
        for copied in (call.elements(given) + call.elements(weight), call.elements(made)):
            yield Temporary("cpu", "convolution's copies", copied, "like", made)


def _has_channels_last(tensor: StoredTensor, known: Collection[int]) -> bool:
    if len(tensor.shape) < 4 or all(size == 1 for size in tensor.shape[2:]):
        return False
    return tensor.strides[1] == 1 or (tensor.storage in known and tensor.strides[-1] == 1)


def _transposed_convolution(call: _Arguments) -> Iterator[Temporary]:
    made = call.outputs[0]
    yield Temporary("cpu", "convolution's copies", 2 * call.elements(made), "like", made)


CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
TemporaryRule = Callable[[_Arguments], Iterator[Temporary]]
_RULES: Mapping[str, TemporaryRule] = {
    "max_pool2d": _places_of_maxima,
    "max_pool3d": _places_of_maxima,
    "batch_norm": _statistics_of_channels,
    "layer_norm": _statistics_of_rows,
    "scaled_dot_product_attention": _attention,
    "matmul": _product,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
}

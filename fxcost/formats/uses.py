"""What the rules of a scheme are asked of a model's storages: role, name, place among layers, and what operations do with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from fxcost.costs.graph.cost_graph import HELD, CostGraph, Storage
from fxcost.costs.model import CostModel, LayerCost, operator_name
from fxcost.formats.number_format import Matrices
from fxcost.formats.schemes import Numbered, StorageUse
from fxcost.formulas.algebra import Constant, Formula

_SECOND = ("mat2", "other", "batch2", "vec2")
"""Arguments of products whose rows are the inputs, where the first dimension of a weight given to `linear` is the outputs."""


@dataclass
class _Found:
    """What operations do with one storage."""

    operators: set[str] = field(default_factory=set[str])
    multiplied_at: int | None = None
    """The place of the last contraction that multiplies by it."""
    inputs_first: bool = False
    """Whether a product is given it with its rows as the inputs."""


def operations_of(model: CostModel) -> Iterator[LayerCost]:
    """The operations of a model, those too whose rows are kernels."""
    for layer in model.layers:
        yield from layer.members or (layer,)


def makers(model: CostModel, graph: CostGraph) -> Mapping[int, LayerCost]:
    """The operation that gave each storage first."""
    found: dict[int, LayerCost] = {}
    for layer in operations_of(model):
        for tensor in layer.edges.outputs:
            found.setdefault(graph.tensors[tensor].storage, layer)
    return found


def storage_uses(model: CostModel, graph: CostGraph) -> Iterator[StorageUse]:
    """What rules know of each storage, in their order."""
    found, made = _found(model, graph), makers(model, graph)
    numbers = _numbered(each.name for each in graph.storages)
    factors = {
        place: each.multiplied_at
        for place, each in found.items()
        if each.multiplied_at is not None and len(_sizes(graph.storages[place]) or ()) > 1
    }
    last = max(factors.values(), default=None)
    for place, storage in enumerate(graph.storages):
        if storage.role in HELD:
            use = found.get(place, _Found())
            yield StorageUse(
                storage.role,
                storage.name,
                len(_sizes(storage) or ()),
                frozenset(use.operators),
                is_factor=place in factors,
                is_last_factor=place in factors and factors[place] == last,
                numbered=numbers.get(storage.name),
                matrices=_matrices(storage, use),
            )
        else:
            maker = made.get(place)
            operators = frozenset({operator_name(maker.op)} if maker else ())
            is_product = maker is not None and maker.cost.matrix != 0
            yield StorageUse(storage.role, storage.name, operators=operators, is_factor=is_product)


def _found(model: CostModel, graph: CostGraph) -> Mapping[int, _Found]:
    found: dict[int, _Found] = {}
    for order, layer in enumerate(operations_of(model)):
        for argument, place in layer.edges.inputs:
            tensor = graph.tensors[place]
            use = found.setdefault(tensor.storage, _Found())
            use.operators.add(operator_name(layer.op))
            if layer.cost.matrix != 0 and argument != "bias":
                use.multiplied_at = order
                use.inputs_first |= argument in _SECOND and tensor.strides[-1:] == (1,)
    return found


def _numbered(names: Iterable[str]) -> Mapping[str, Numbered]:
    """The place of each name among those that differ in their first number alone or in what follows it."""
    split: dict[str, tuple[str, int]] = {}
    for name in names:
        parts = name.split(".")
        at = next((n for n, part in enumerate(parts) if part.isdecimal()), None)
        if at is not None:
            split[name] = (".".join(parts[:at]), int(parts[at]))
    counts: dict[str, int] = {}
    for prefix, index in split.values():
        counts[prefix] = max(counts.get(prefix, 0), index + 1)
    return {name: Numbered(index, counts[prefix]) for name, (prefix, index) in split.items()}


def _sizes(storage: Storage) -> tuple[int, ...] | None:
    """The shape of a storage, where it is known and of whole numbers."""
    shape = (storage.elements,) if storage.shape is None and storage.role in HELD else storage.shape
    sizes = None if shape is None else tuple(map(_size, shape))
    return sizes if sizes is None or None not in sizes else None  # pyright: ignore[reportReturnType]


def _size(size: Formula) -> int | None:
    return size.value if isinstance(size, Constant) and isinstance(size.value, int) else None


def _matrices(storage: Storage, use: _Found) -> Matrices | None:
    """How a weight lies in memory: of a convolution a row for each output channel."""
    sizes = _sizes(storage)
    if sizes is None:
        return None
    if any("conv" in name for name in use.operators) and len(sizes) > 2:
        first, second, *kernel = sizes
        if any("transpose" in name for name in use.operators):
            return Matrices(1, second, first * prod(kernel))
        return Matrices(1, first, second * prod(kernel))
    matrices = Matrices.of(sizes)
    return matrices.transposed if use.inputs_first else matrices

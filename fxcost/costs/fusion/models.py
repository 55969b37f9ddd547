"""A model whose rows are fused kernels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fxcost.costs.graph.cost_graph import FUSED, GIVEN, Access, CostGraph, Edges
from fxcost.costs.model import Cost, CostModel, LayerCost, mixed_products, operator_name
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ZERO, Formula, greatest_of, least_of
from fxcost.formulas.ranges.interval_arithmetic import is_never_negative
from fxcost.request import Fusion

WHOLE_MODEL = "(whole model)"
LONGEST_NAME = 4
"""Members of a kernel that its name tells; of more, the first, and how many."""


def fused(model: CostModel, fusion: Fusion, place: str = "") -> CostModel:
    """The model with a row for each kernel under ``fusion``; under ``ideal`` one row, in which all that stays on chip moves nothing.

    Raises `FxcostError` for a model whose file tells no edges, which has no kernels but its operations.
    """
    if fusion == "none":
        return model
    if model.graph is None:
        raise FxcostError(
            f"{place or model.ref} was saved before files held who feeds whom, so its kernels are not known; "
            "ask with --fusion none, or trace the model again and save it with -o FILE.json"
        )
    if fusion not in model.known_kernels:
        model.known_kernels[fusion] = _fused(model, model.graph, fusion)
    return model.known_kernels[fusion]


def _fused(model: CostModel, graph: CostGraph, fusion: Fusion) -> CostModel:
    layers = model.used_layers
    if fusion == "ideal":
        rows: Iterable[LayerCost] = [_whole(layers, graph)] if layers else []
    else:
        rows = _rows(layers, graph, FUSED.index(fusion))
    return replace(model, layers=(*rows, *model.unused_layers))


def fused_along(along: Mapping[int, CostModel], fusion: Fusion) -> dict[int, CostModel]:
    """The same by size, each model fused once however many sizes share it."""
    known = {id(each): each for each in along.values()}
    found = {key: fused(each, fusion) for key, each in known.items()}
    return {size: found[id(each)] for size, each in along.items()}


def _rows(layers: Sequence[LayerCost], graph: CostGraph, which: int) -> Iterator[LayerCost]:
    if any(not layer.edges.parts for layer in layers):
        from fxcost.costs.fusion.groups import with_parts  # for files that were saved before they held them

        layers = with_parts(layers, graph)
    members: dict[int, list[LayerCost]] = {}
    known: dict[object, Cost] = {}
    for index, layer in enumerate(layers):
        members.setdefault(index - layer.edges.parts[which].back, []).append(layer)
    for place, group in members.items():
        leader = layers[place]
        part = leader.edges.parts[which]
        others = [each for each in group if each is not leader]
        row = _row(_name(leader, others), leader, group, Edges(accesses=part.accesses), graph, part.launches)
        # Kernels that repeat share their cost, as operations do.
        cost = row.cost
        key = (*(id(each.cost) for each in group), id(cost.reads), id(cost.writes))
        yield replace(row, cost=known.setdefault(key, cost))


def _row(
    name: str, main: LayerCost, members: Sequence[LayerCost], edges: Edges, graph: CostGraph, launches: int
) -> LayerCost:
    reads, writes = graph.counts(edges)
    work = Cost.sum(member.cost for member in members)
    return replace(
        main,
        name=name,
        coverage="unknown" if any(member.coverage == "unknown" for member in members) else "counted",
        cost=replace(work, reads=reads, writes=writes),
        edges=edges,
        members=tuple(members),
        launches=launches,
        mixed=mixed_products(members),
        shared=any(member.shared for member in members),
    )


def _name(first: LayerCost, others: Sequence[LayerCost]) -> str:
    """``layer1.0.conv1 + bn1 + relu``."""
    if len(others) >= LONGEST_NAME:
        return f"{first.name} + … + {_short(others[-1], first)} ({len(others) + 1} operations)"
    return " + ".join((first.name, *(_short(each, first) for each in others)))


def _short(layer: LayerCost, beside: LayerCost) -> str:
    """Its name within the modules that it shares with another; its operator, where it stands in a list of modules."""
    parts, beside_parts = layer.name.split("."), beside.name.split(".")
    alike = 0
    while alike < min(len(parts), len(beside_parts)) - 1 and parts[alike] == beside_parts[alike]:
        alike += 1
    return operator_name(layer.op).strip("_") if parts[-1].isdecimal() else ".".join(parts[alike:])


# What moves when nothing but weights, inputs, outputs and the cache does


def _whole(layers: Sequence[LayerCost], graph: CostGraph) -> LayerCost:
    reads: dict[int, dict[int, Formula]] = {}
    writes: dict[int, dict[int, Formula]] = {}
    written: dict[int, Formula] = {}
    for access in (access for layer in layers for access in layer.edges.accesses):
        tensor = graph.tensors[access.tensor]
        if graph.storages[tensor.storage].role not in GIVEN:
            continue
        if access.read != 0:
            # What was written here is there already; all else comes from memory.
            made = written.get(tensor.storage, ZERO)
            read = access.read if made == 0 else greatest_of(ZERO, access.read - made)
            _most(reads.setdefault(tensor.storage, {}), access.tensor, read)
        if access.written != 0:
            written[tensor.storage] = written.get(tensor.storage, ZERO) + access.written
            _most(writes.setdefault(tensor.storage, {}), access.tensor, access.written)
    for each in dict.fromkeys(graph.outputs):
        storage = graph.tensors[each].storage
        if graph.storages[storage].role == "output":
            writes.setdefault(storage, {})[each] = graph.storages[storage].elements
    once = _at_most(_once(reads, graph, "read"), layers, graph)
    accesses = [*once, *_once(writes, graph, "written")]
    main = next((layer for layer in layers if layer.cost.matrix != 0), layers[0])
    return _row(WHOLE_MODEL, main, layers, Edges(accesses=tuple(accesses)), graph, 1)


def _at_most(accesses: Iterable[Access], layers: Sequence[LayerCost], graph: CostGraph) -> Iterator[Access]:
    """No more of each storage than the kernels of any fusion read of it."""
    by_fusion: list[dict[int, Formula]] = []
    for which in range(len(FUSED)) if all(layer.edges.parts for layer in layers) else ():
        read: dict[int, Formula] = {}
        for access in (access for layer in layers for access in layer.edges.parts[which].accesses):
            storage = graph.tensors[access.tensor].storage
            read[storage] = read.get(storage, ZERO) + access.read
        by_fusion.append(read)
    for access in accesses:
        storage = graph.tensors[access.tensor].storage
        limits = {read.get(storage, ZERO) for read in by_fusion}
        less = [limit for limit in limits if not is_never_negative(limit - access.read, {})]
        yield access._replace(read=least_of(access.read, *less)) if less else access


def _most(known: dict[int, Formula], tensor: int, amount: Formula) -> None:
    before = known.get(tensor, amount)
    known[tensor] = amount if before == amount else greatest_of(before, amount)


def _once(moved: Mapping[int, Mapping[int, Formula]], graph: CostGraph, side: str) -> Iterator[Access]:
    """What is moved of each storage: of several tensors on one that may overlap, the largest."""
    for storage, amounts in moved.items():
        whole = graph.storages[storage].elements
        tensor = next(iter(amounts))
        different = list(dict.fromkeys(amounts.values()))
        amount = whole if whole in different else different[0] if len(different) == 1 else greatest_of(*different)
        yield Access(tensor)._replace(**{side: amount})

"""A model's cost graph as text: each operation with the tensors that it is given and gives, and what it does and moves."""

from collections.abc import Iterator

from fxcost.costs.files.frame import quantity_text
from fxcost.costs.graph.cost_graph import CostGraph, edges_known
from fxcost.costs.model import CostModel, LayerCost
from fxcost.formulas.expressions import to_text


def cost_graph_text(model: CostModel, place: str) -> str:
    """A line for each storage that is there before the model runs, and for each operation; under it its work and accesses.

    A tensor is ``float32[B,64] @3``: dtype, shape, and its storage, with a prime for each write in place that went before.
    Raises `FxcostError` naming the place of a model that was saved without a cost graph.
    """
    graph = edges_known(model.graph, place)
    lines = [
        f"@{place}: {each.dtype}[{to_text(each.elements)}]  {each.role} {each.name}"
        for place, each in enumerate(graph.storages)
        if each.name
    ]
    for layer in model.layers:
        lines += ["", *_operation(graph, layer)]
    return "\n".join([*lines, "", f"gives {_tensors(graph, graph.outputs)}"])


def _operation(graph: CostGraph, layer: LayerCost) -> Iterator[str]:
    edges = layer.edges
    given = ", ".join(f"{name}={_tensor(graph, tensor)}" for name, tensor in edges.inputs)
    yield f"{layer.name}: {_tensors(graph, edges.outputs)} = {layer.op}({given})"
    yield f"    in {layer.place or 'the model'} ({layer.module_type})"
    work = {"matrix": layer.cost.matrix, "vector": layer.cost.vector}
    told = [f"{unit} {quantity_text(flops)} FLOPs" for unit, flops in work.items() if flops != 0]
    for each in edges.accesses:
        moved = {"reads": each.read, "writes": each.written}
        told += [f"{verb} {to_text(n)} of @{graph.tensors[each.tensor].storage}" for verb, n in moved.items() if n != 0]
    yield from (f"    {line}" for line in told)


def _tensors(graph: CostGraph, tensors: tuple[int, ...]) -> str:
    return ", ".join(_tensor(graph, each) for each in tensors) or "no tensor"


def _tensor(graph: CostGraph, place: int) -> str:
    tensor = graph.tensors[place]
    shape = ",".join(map(to_text, tensor.shape))
    return f"{tensor.dtype}[{shape}] @{tensor.storage}" + "'" * tensor.version

"""From an annotated graph to the rows of a `CostModel`."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from importlib.metadata import version
from math import prod
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node

from fxcost.costs.fusion.groups import with_parts
from fxcost.costs.graph.building import build_graph
from fxcost.costs.graph.cost_graph import CostGraph, Edges
from fxcost.costs.model import Cost, CostModel, LayerCost, State, names_of, unused_parameter
from fxcost.dtypes import may_hold_codes
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Constant, Formula
from fxcost.formulas.evaluation import total
from fxcost.formulas.expressions import to_text
from fxcost.formulas.quantities import Counts
from fxcost.formulas.with_sympy import from_sympy
from fxcost.graph import LAYER, OUTPUTS, STATE, WEIGHT, operations, placeholders
from fxcost.graph.pipeline import Pass, PipelineError
from fxcost.passes.flops import FLOPS
from fxcost.passes.parameters import PARAMETERS, unused_parameters
from fxcost.passes.verdict import VERDICT
from fxcost.tracing import Traced
from fxcost.tracing.source import Source


def collect(
    source: Source, traced: Traced, sizes: Mapping[str, int], assumptions: tuple[str, ...], extra: tuple[Pass[Any], ...]
) -> CostModel:
    """The costs of a graph that all passes have run over: a row for each operation that is not free."""
    nodes = [node for node in operations(traced.graph) if FLOPS[node].coverage != "free"]
    names = names_of([(LAYER[node].module, str(node.target)) for node in nodes], traced.modules)
    _refuse_no_amounts(extra, nodes, names)
    graph, edges = build_graph(traced.graph)
    rows = [_row(node, name, graph, edges[node], extra) for node, name in zip(nodes, names, strict=True)]
    unused = [unused_parameter(name, shape, traced.modules) for name, shape in unused_parameters(traced.graph).items()]
    layers = (*with_parts(rows, graph, _axes(nodes)), *unused)
    state = _state(source, traced.graph)
    return CostModel(
        ref=source.ref,
        layers=layers,
        symbols=traced.symbols,
        defaults={name: sizes[name] for name in traced.symbols},
        fixed=traced.fixed,
        conditions=traced.conditions,
        assumptions=assumptions,
        modules=_modules(nodes, traced.modules),
        mode="as exported" if source.program else "decode" if state else "eval",
        rung="fixed" if any(name in traced.fixed for name in source.arguments.symbols()) else traced.rung,
        dtype=_own_dtype(traced.graph),
        free=sum(1 for _ in operations(traced.graph)) - len(nodes),
        tool={"fxcost": version("fxcost"), "torch": torch.__version__.partition("+")[0]},
        state=state,
        graph=graph,
    )


def _axes(nodes: list[Node]) -> dict[int, int]:
    """The axis that each softmax runs over, by its place among the operations."""
    calls = ((index, VERDICT[node].call) for index, node in enumerate(nodes) if "softmax" in str(node.target))
    axes = ((index, call.arguments.get("dim")) for index, call in calls if call is not None)
    return {index: axis for index, axis in axes if isinstance(axis, int)}


def _refuse_no_amounts(extra: tuple[Pass[Any], ...], nodes: list[Node], names: list[str]) -> None:
    """Raise `PipelineError` naming every pass that found something which is no exact number or formula, and the first such layer of each."""
    faults: list[str] = []
    for each in extra:
        values = ((name, each.provides[node]) for node, name in zip(nodes, names, strict=True))
        strange = next(((name, value) for name, value in values if not _is_amount(value)), None)
        if strange:
            faults.append(f"pass {each.name} gives {strange[1]!r:.80} for {strange[0]}")
    if faults:
        raise PipelineError(f"{'; '.join(faults)}: wanted are whole numbers, fractions and formulas of sympy")


def _is_amount(value: Any) -> bool:
    if isinstance(value, (int, Fraction)):
        return True
    try:
        return isinstance(value, sympy.Expr) and bool(to_text(from_sympy(value)))
    except FxcostError:
        return False


def _state(source: Source, graph: Graph) -> State | None:
    """The cache that the model is called with, if it is called with one."""
    per_token: Counter[str] = Counter()
    for spec in source.arguments.specs():
        if spec.state:
            per_token[spec.dtype] += prod(dim for dim in spec.dims if isinstance(dim, int))
    whole: dict[str, list[Formula]] = {}
    for node in placeholders(graph):
        if node in STATE:
            (tensor,) = OUTPUTS[node]
            whole.setdefault(tensor.dtype, []).append(from_sympy(tensor.elements))
    return State(per_token, {dtype: total(parts) for dtype, parts in whole.items()}) if whole else None


def _row(node: Node, name: str, graph: CostGraph, edges: Edges, extra: tuple[Pass[Any], ...]) -> LayerCost:
    work = FLOPS[node]
    return LayerCost(
        name=name,
        module=LAYER[node].module,
        module_type=LAYER[node].module_type,
        called_as=LAYER[node].called_as,
        op=str(node.target),
        coverage=work.coverage,
        rule=work.rule,
        reason=work.reason,
        shared=PARAMETERS[node].shared,
        cost=_cost(node, name, *graph.counts(edges)),
        inputs=graph.shapes(tuple(tensor for _, tensor in edges.inputs)),
        outputs=graph.shapes(edges.outputs),
        edges=edges,
        extra={each.provides.name: _formula(each.provides[node]) for each in extra},
    )


def _formula(value: int | Fraction | sympy.Expr) -> Formula:
    return from_sympy(value) if isinstance(value, sympy.Expr) else Constant(value)


def _cost(node: Node, name: str, reads: Counts, writes: Counts) -> Cost:
    work = FLOPS[node]
    try:
        return Cost(from_sympy(work.matrix), from_sympy(work.vector), PARAMETERS[node].count, reads, writes)
    except FxcostError as error:
        raise FxcostError(f"the rule {work.rule!r} of {node.target}, in layer {name}: {error}") from error


def _modules(nodes: list[Node], own: Mapping[str, str]) -> dict[str, str]:
    """The class at each path, those too by which shared modules were called."""
    found = dict(own)
    for layer in dict.fromkeys(LAYER[node] for node in nodes):
        path, called_as = layer.module, layer.called_as
        while path and called_as:
            found.setdefault(called_as, own.get(path, ""))
            path, called_as = path.rpartition(".")[0], called_as.rpartition(".")[0]
    return found


def _own_dtype(graph: Graph) -> str:
    """The floating-point dtype that most of the model's weights have, by elements; where most are codes, which have none, that of what it computes."""
    elements: Counter[str] = Counter()
    codes = 0
    for node in placeholders(graph):
        for tensor in OUTPUTS[node]:
            held = int(tensor.elements) if node in WEIGHT and tensor.elements.is_Integer else 0
            if _is_floating(tensor.dtype):
                elements[tensor.dtype] += held or 1
            codes += held if may_hold_codes(tensor.dtype) else 0
    computed = _computed_dtype(graph) if codes > elements.total() else ""
    return computed or (elements.most_common(1)[0][0] if elements else "float32")


def _computed_dtype(graph: Graph) -> str:
    """The floating-point dtype that most contractions give, or where none gives any the results; empty without."""
    products = [node for node in operations(graph) if FLOPS[node].matrix != 0]
    returned = [each for node in graph.nodes if node.op == "output" for each in node.all_input_nodes if each in OUTPUTS]
    for nodes in (products, returned):
        found = Counter(each.dtype for node in nodes for each in OUTPUTS[node] if _is_floating(each.dtype))
        if found:
            return found.most_common(1)[0][0]
    return ""


def _is_floating(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))

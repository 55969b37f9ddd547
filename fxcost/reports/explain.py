"""One layer's cost told in full: formula, substitution step by step, rule, assumptions, and where it holds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fxcost.costs.fusion.models import fused
from fxcost.costs.graph.cost_graph import FUSED
from fxcost.costs.model import UNUSED, CostModel, LayerCost
from fxcost.costs.roles import ROLES
from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.algebra import Formula, factors_of, terms_of
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.expressions import to_pretty
from fxcost.formulas.quantities import Quantity
from fxcost.reports.costs import Alike, alike, row_name
from fxcost.reports.parts.numbers import formula, shape, sizes_text, symbol_lines
from fxcost.reports.parts.tables import Cell, Column, Report


def find_layers(model: CostModel, name: str) -> tuple[LayerCost, ...]:
    """The layers that a name in `fxcost trace` stands for: one, those of a merged row, of a module or of an operator."""
    rows: dict[Alike, list[LayerCost]] = {}
    for layer in model.layers:
        rows.setdefault(alike(layer), []).append(layer)
    named = {row_name(layers): layers for layers in rows.values()}
    found = [layer for layer in model.layers if layer.name == name] or named.get(name) or _inside(model, name)
    found = found or [layer for layer in model.layers if layer.op == name]
    if not found:  # a table of modules prints the last part of their paths
        paths = {path for path in _modules(model) if path.rpartition(".")[2] == name}
        inside = {layer.name for path in paths for layer in _inside(model, path)}
        found = [layer for layer in model.layers if layer.name in inside]
    if not found:  # a kernel's name, as `fxcost crossover` prints it
        kernels = (each for fusion in FUSED if model.graph for each in fused(model, fusion).layers)
        held = {member.name for kernel in kernels if kernel.name == name for member in kernel.members}
        found = [layer for layer in model.layers if layer.name in held]
    if not found:
        names = {*(layer.name for layer in model.layers), *named, *_modules(model)}
        raise FxcostError(
            f"{model.ref} has no layer {name!r}{near_matches(name, names)}; `fxcost trace {model.ref}` lists them"
        )
    return tuple(found)


def _inside(model: CostModel, path: str) -> list[LayerCost]:
    """All that runs inside the module of that path; the reference of the model stands for all of it."""
    if path in ("", model.ref):
        return list(model.layers)
    return [each for each in model.layers if any(f"{at}.".startswith(f"{path}.") for at in (each.module, each.place))]


def _modules(model: CostModel) -> list[str]:
    """The paths of the modules that something runs in, in their order."""
    return [path for path in model.by_module() if path]


class _Told(NamedTuple):
    """Something about a layer: what, and what is told of it."""

    what: str
    told: str


def explain_report(model: CostModel, name: str, at: Mapping[str, int] | None) -> Report[Any]:
    """Each quantity of the layer as a formula, with its numbers put in, and as a value."""
    point = model.point(at)
    whole = model.with_fixed(point)
    rows_of: dict[Alike, list[LayerCost]] = {}
    for layer in find_layers(model, name):
        rows_of.setdefault(alike(layer), []).append(layer)
    rows = tuple(row for layers in rows_of.values() for row in _told(model, layers, point))
    columns: tuple[Column[_Told], ...] = (
        Column("", "what", lambda line: Cell(line.what), numeric=False),
        Column("", "told", lambda line: Cell(line.told), numeric=False, overflow="fold"),
    )
    notes = (*symbol_lines(model), f"assumed  {'; '.join(model.assumptions)}")
    return Report(columns, rows, (f"{model.ref} at {sizes_text(whole)}",), notes, {"model": model.ref, "at": whole})


def _units(layer: LayerCost) -> str:
    both = layer.cost.matrix != 0 and layer.cost.vector != 0
    return "contractions on the matrix unit, the rest on the vector unit" if both else f"{layer.unit} unit"


def _told(model: CostModel, layers: Sequence[LayerCost], point: Mapping[str, int]) -> list[_Told]:
    """The lines of a layer, and of those that are like it, which are told once."""
    layer = layers[0]
    moved = layer.cost.bytes_moved(model.bits())
    is_unknown = layer.coverage == "unknown"
    least = "≥ " if is_unknown else ""
    lines = [
        ("layer", row_name(layers) + (f", ×{len(layers)}: each of {_listed(layers)}" if len(layers) > 1 else "")),
        ("module", f"{layer.module or model.ref}, a {layer.module_type}" if layer.module_type else layer.module),
        ("operator", layer.op),
        ("rule", f"{layer.rule or 'none'} ({layer.coverage}, {_units(layer)}): {layer.reason}"),
        ("inputs", ", ".join(map(shape, layer.inputs))),
        ("outputs", ", ".join(map(shape, layer.outputs))),
        *([("FLOPs", "unknown")] if is_unknown else _steps("FLOPs", layer.flops, point)),
        *([("MACs", "unknown")] if is_unknown else _steps("MACs", layer.macs, point)),
        ("parameters", f"{layer.params:,}"),
    ]
    for side, counts in (("reads", layer.cost.reads), ("writes", layer.cost.writes)):
        for role, by_dtype in counts.items():
            lines += [
                (f"{side}", f"{least}{formula(n)} {dtype} elements of {ROLES.get(role, role)}")
                for dtype, n in by_dtype.items()
            ]
    lines += _steps(f"bytes moved, {model.dtype}", moved, point, least)
    lines += _kernels(model, layer)
    for found, value in layer.extra.items():
        lines += _steps(found, value, point)
    return [_Told(*line) for line in (*lines, ("", ""))]


WHY = {
    "leads": "it leads it",
    "inlined": "worked out where it is read, it is no kernel of its own",
    "merged": "it runs over the same elements and shares what it moves with what leads",
    "follows": "nothing else reads what the contraction before it makes, so that this takes it in",
}
"""Why an operation is in its kernel."""


def _kernels(model: CostModel, layer: LayerCost) -> list[tuple[str, str]]:
    """The kernel that a layer is part of under each fusion, and why."""
    if model.graph is None or layer.op == UNUSED:
        return []
    lines: list[tuple[str, str]] = []
    for fusion in FUSED:
        row, member = next(
            (row, each) for row in fused(model, fusion).layers for each in row.members if each.name == layer.name
        )
        why = "alone in it" if len(row.members) == 1 else WHY[member.edges.parts[FUSED.index(fusion)].joined]
        moved = row.cost.bytes_moved(model.bits())
        lines.append((f"kernel, {fusion}", f"{row.name}: {why}; it moves {formula(moved)} bytes"))
    return lines


def _listed(layers: Sequence[LayerCost]) -> str:
    names = [layer.name for layer in layers]
    return ", ".join(names if len(names) <= 4 else [*names[:2], "…", names[-1]])


def _steps(what: str, quantity: Quantity, point: Mapping[str, int], least: str = "") -> list[tuple[str, str]]:
    """The formula, the sizes in the place of symbols, each factor's value, and the result; ``least`` marks a lower bound."""
    if not isinstance(quantity, Formula) or not quantity.names:
        return [(what, least + formula(quantity))]
    pretty = to_pretty(quantity)
    names = "|".join(map(re.escape, point))
    inserted = re.sub(rf"(?<![A-Za-z_\d])({names})(?![A-Za-z_\d])", lambda match: str(point[match[1]]), pretty)
    told = [pretty, inserted, _factors(quantity, point), f"{evaluate(quantity, point):,}"]
    lines = list(dict.fromkeys(told))
    return [(what, least + lines[0]), *(("", f"= {line}") for line in lines[1:])]


def _factors(formula: Formula, point: Mapping[str, int]) -> str:
    """A sum of products with every factor evaluated."""
    terms = (factors_of(term) for term in terms_of(formula))
    return " + ".join("·".join(str(evaluate(factor, point)) for factor in factors) for factors in terms)

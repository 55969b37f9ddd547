"""Costs by layer, by module and by operator."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fxcost.costs.files.frame import quantity_text
from fxcost.costs.model import UNUSED, Cost, CostModel, Costs, EvaluatedModel, LayerCost
from fxcost.costs.roles import ROLES, bytes_by_role
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Exact, Formula
from fxcost.formulas.quantities import Quantity, Widths, number
from fxcost.machines.sheets import PRECISION_BITS
from fxcost.options import By
from fxcost.reports.parts.numbers import (
    decimal,
    formula,
    merged_name,
    prefix_for,
    scaled,
    shape,
    share,
    sizes_text,
    symbol_lines,
)
from fxcost.reports.parts.tables import KEPT, Cell, Column, Report, frame

if TYPE_CHECKING:
    from fxcost.formats.schemes import Scheme
    from fxcost.formats.storing import Placement

READING = "MACs count the multiply-adds of contractions alone"

ROWS_ARE = (
    "every number and formula of a row is of all its `count` layers together, which `layers` names; parameters that "
    "several layers share are those of the first"
)
EACH = "params and FLOPs are of each layer of a row, other columns of all of them"


@dataclass(frozen=True)
class _Line:
    """One row: the same cost as formulas and as numbers."""

    name: str
    kind: str
    count: int
    where: str
    formulas: Cost[Any]
    values: Cost[Exact]
    least: str = ""
    """``≥`` where operators without a rule are part of it."""
    first: LayerCost[Any] | None = None
    layers: tuple[str, ...] = ()
    """The names of all layers that it stands for."""
    extra_at: Mapping[str, Exact] = field(default_factory=dict[str, Exact])
    times: int = 1
    """How many layers cost as much as the formulas and the numbers say, each."""
    is_total: bool = False

    def all(self, each: Quantity) -> Any:
        """What all layers of the row take together."""
        return each * self.times

    @property
    def flops(self) -> Any:
        return self.all(self.values.flops)

    def formula(self, each: Quantity) -> Cell:
        # The notes have those of the total, in a line of their own.
        return Cell("" if self.is_total else self.least + formula(each), quantity_text(self.all(each)))


def cost_report(
    model: CostModel | EvaluatedModel,
    at: Mapping[str, int] | None = None,
    *,
    by: By = "layer",
    depth: int | None = None,
    top: int | None = None,
    precision: "Scheme | None" = None,
) -> Report[Any]:
    """The model's costs as formulas and at one point, rows by layer, module tree, or operator.

    Bytes are those of the model's own dtype, or of the formats of a ``precision`` in its place.
    """
    held = None
    if precision is not None and not isinstance(model, EvaluatedModel):
        from fxcost.formats.applying import as_stored

        held = _stored(model, precision)
        model = model if precision.uniform else as_stored(model, precision)
    evaluated = model if isinstance(model, EvaluatedModel) else model.at(at)
    point = model.with_fixed(evaluated.sizes)
    builders = {"layer": _layers, "module": _modules, "op": _operators}
    lines = builders[by](model, evaluated, depth)
    least = "≥ " * bool(model.unknown)
    count = sum(line.count for line in lines)
    total = _Line("total", "", count, "", model.total, evaluated.total, least, is_total=True)
    if top is not None:
        lines = sorted(lines, key=lambda line: number(line.values.flops) * line.count, reverse=True)[:top]
    width = PRECISION_BITS[precision.uniform] if precision and precision.uniform else None
    bits, stored = evaluated.bits(width), precision.name if precision else model.dtype
    return Report(
        _columns(by, lines, evaluated, bits),
        tuple(lines),
        # The first row of the tree of modules is the whole model.
        total=total if by != "module" else None,
        heading=(
            f"{model.ref}  ({model.mode}, {model.dtype})  at {sizes_text(point)}",
            _rung_line(model),
            *symbol_lines(model),
        ),
        notes=(
            *_total_lines(model, evaluated, bits, stored),
            *_stored_lines(held),
            "; ".join([READING, *([EACH] * (by == "layer")), f"assumed: {'; '.join(model.assumptions)}"]),
        ),
        facts={
            "model": model.ref,
            "rung": model.rung,
            "at": point,
            "fixed": {n: p.value for n, p in model.fixed.items()},
            "rows_are": ROWS_ARE,
            "bytes_in": stored,
            **({} if held is None else {"stored_bytes": held.stored_bytes}),
            **_state_facts(evaluated, bits),
        },
    )


def _stored(model: CostModel, precision: "Scheme") -> "Placement | None":
    """The weights as a precision stores them; of a file that tells them in sums alone, nothing."""
    from fxcost.formats.storing import placed

    return None if precision.uniform and model.graph is None else placed(model, precision)


def _stored_lines(held: "Placement | None") -> tuple[str, ...]:
    if held is None:
        return ()
    parts = ", ".join(f"{_si(size)}B {kept}" for kept, size in held.bytes_by_format.items())
    return (f"stored in {held.scheme.name}: {held.stored_bytes:,} B of parameters and saved buffers ({parts})",)


def _rung_line(model: Costs[Any]) -> str:
    """How sure the formulas are, and of what."""
    held = ", ".join(f"{name}={pin.value}" for name, pin in model.fixed.items()) or "its sizes"
    meaning = {
        "exact": "exported with its sizes symbolic",
        "replayed": "plain runs at its own and the lowest sizes call the same operators and shapes",
        "fixed": f"the operators that run at {held}",
    }
    return f"rung     {model.rung}: {meaning[model.rung]}"


def _state_facts(evaluated: EvaluatedModel, bits: Widths) -> dict[str, Any]:
    state = evaluated.state
    if state is None:
        return {}
    return {"cache_bytes_per_token": state.bytes_per_token(bits), "cache_bytes": state.bytes_held(bits)}


def _total_lines(model: Costs[Any], evaluated: EvaluatedModel, bits: Widths, stored: str) -> tuple[str, ...]:
    """The totals, as formulas and at the point, and what is missing from them."""
    sums, values = model.total, evaluated.total
    least = "≥ " if model.unknown else ""
    moved = values.bytes_moved(bits)
    figures = (
        f"{least}{_si(values.flops)}FLOPs, {least}{_si(values.macs)}MACs, "
        f"{least}{_si(moved)}B moved in {stored}, {values.params:,} params"
    )
    lines = [
        f"total at {sizes_text(model.with_fixed(evaluated.sizes))}: {figures}",
        *_state_lines(evaluated, bits),
    ]
    if model is not evaluated and model.symbols:
        lines += [f"FLOPs = {least}{formula(sums.flops)}", f"MACs = {least}{formula(sums.macs)}"]
    counts = model.coverage
    lines.append(f"operations: {counts['counted']} counted, {counts['free']} free, {counts['unknown']} unknown")
    lines += [
        f"unknown: {op} ×{len(names)} in {', '.join(names[:3])}{', …' if len(names) > 3 else ''}: its arithmetic is missing above"
        for op, names in model.unknown.items()
    ]
    return tuple(lines)


def _state_lines(evaluated: EvaluatedModel, bits: Widths) -> tuple[str, ...]:
    """How large the cache of a model that decodes is, and its share of the bytes moved."""
    state = evaluated.state
    if state is None:
        return ()
    per_token, held = state.bytes_per_token(bits), state.bytes_held(bits)
    least = "≥ " if evaluated.unknown else ""
    shares = ", ".join(
        f"{least}{_si(moved)}B {ROLES[role]}" for role, moved in bytes_by_role(evaluated.total, bits).items()
    )
    return (
        f"cache per token and sequence: {per_token:,} B in {', '.join(state.per_token)}; all of it {_si(held)}B",
        f"moved: {shares}",
    )


def _si(value: Quantity) -> str:
    factor, prefix = prefix_for(value)
    return f"{scaled(value, factor) or 0} {prefix}"


def _layers(model: Costs[Any], evaluated: EvaluatedModel, depth: int | None) -> list[_Line]:
    if depth is not None:
        raise FxcostError("--depth cuts the module tree; add --by module")
    groups: dict[Alike, list[tuple[LayerCost[Any], LayerCost[Exact]]]] = {}
    for layer, values in zip(model.layers, evaluated.layers, strict=True):
        groups.setdefault(alike(layer), []).append((layer, values))
    return [_layer_line(group) for group in groups.values()]


Alike = tuple[Any, ...]


def alike(layer: LayerCost[Any]) -> Alike:
    """Equal for layers that repeat exactly: the same operator on the same shapes at the same cost."""
    cost = layer.cost
    counts = (tuple((role, tuple(by.items())) for role, by in side.items()) for side in (cost.reads, cost.writes))
    return (
        *(layer.op, layer.module_type, layer.coverage, layer.shared, layer.outputs, layer.inputs),
        *(cost.flops, cost.macs, cost.params, *counts, *layer.extra.items()),
    )


def _layer_line(group: list[tuple[LayerCost[Any], LayerCost[Exact]]]) -> _Line:
    first, values = group[0]
    return _Line(
        row_name([layer for layer, _ in group]),
        first.kind,
        len(group),
        shape(values.outputs[0]) if values.outputs else "",
        first.cost,
        values.cost,
        "≥ " if first.coverage == "unknown" else "",
        first,
        tuple(layer.name for layer, _ in group),
        values.extra,
        len(group),
    )


def row_name(layers: Sequence[LayerCost[Any]]) -> str:
    """What the row of layers that repeat is called."""
    marks = " (shared)" if layers[0].shared else " (unused)" if layers[0].op == UNUSED else ""
    return merged_name([layer.name for layer in layers]) + marks


def _modules(model: Costs[Any], evaluated: EvaluatedModel, depth: int | None) -> list[_Line]:
    sums, values = model.by_module(depth), evaluated.by_module(depth)
    missing = {layer.place for layer in model.layers if layer.coverage == "unknown"}
    lines: list[_Line] = []
    for path in sorted(sums, key=_tree_order(model)):
        indent = "  " * (path.count(".") + 1 if path else 0)
        partial = any(m == path or m.startswith(f"{path}.") or not path for m in missing)
        name = indent + path.rpartition(".")[2] if path else model.ref
        lines.append(
            _Line(name, model.modules.get(path, ""), 1, path, sums[path], values[path], "≥ " if partial else "")
        )
    return lines


def _tree_order(model: Costs[Any]) -> Any:
    """Parents before children, children in the order they first run."""
    first: dict[str, int] = {}
    for index, layer in enumerate(model.layers):
        parts = layer.place.split(".") if layer.place else []
        for length in range(len(parts) + 1):
            first.setdefault(".".join(parts[:length]), index)

    def order(path: str) -> list[tuple[int, str]]:
        parts = path.split(".") if path else []
        return [(first[".".join(parts[: n + 1])], parts[n]) for n in range(len(parts))]

    return order


def _operators(model: Costs[Any], evaluated: EvaluatedModel, depth: int | None) -> list[_Line]:
    if depth is not None:
        raise FxcostError("--depth cuts the module tree; add --by module")
    sums, values = model.by_op(), evaluated.by_op()
    calls = {op: [layer for layer in model.layers if layer.op == op] for op in sums}
    return [
        _Line(
            op,
            calls[op][0].rule,
            len(calls[op]),
            calls[op][0].unit,
            sums[op],
            values[op],
            "≥ " if op in model.unknown else "",
            layers=tuple(layer.name for layer in calls[op]),
        )
        for op in sums
    ]


TITLES: Mapping[By, tuple[str, str, str]] = {
    "layer": ("layer", "type", "output"),
    "module": ("module", "type", "path"),
    "op": ("operator", "rule", "unit"),
}


def _columns(by: By, lines: Sequence[_Line], evaluated: EvaluatedModel, bits: Widths) -> tuple[Column[_Line], ...]:
    titles, each = TITLES[by], " each" if by == "layer" else ""
    flop_factor, flop_prefix = prefix_for(max((line.flops for line in lines), default=0))
    byte_factor, byte_prefix = prefix_for(max((line.all(line.values.bytes_moved(bits)) for line in lines), default=0))
    whole, at_most = evaluated.total.flops, "≤ " if evaluated.unknown else ""

    def count(line: _Line) -> Cell:
        return Cell(str(line.count) if by == "op" else times_text(line.times), line.count)

    def operator(line: _Line) -> Cell:
        return Cell(line.first.op if line.first else line.name if by == "op" else "")

    def flops_share(line: _Line) -> Cell:
        """Of a total that is a lower bound a share is at most so large, and it is not known of unknown rows."""
        if line.least:
            return Cell("–")
        return Cell(at_most + share(line.flops, whole), percent(line.flops, whole))

    def of_role(role: str) -> Column[_Line]:
        return _exact(f"{role} bytes", f"{role}_bytes_at", lambda cost: bytes_by_role(cost, bits)[role])

    columns: tuple[Column[_Line], ...] = (
        Column(titles[0], titles[0], lambda line: Cell(line.name), numeric=False, overflow="spill"),
        Column(titles[1], titles[1], lambda line: Cell(line.kind), numeric=False, priority=2),
        Column("×N" if by != "op" else "calls", "count", count, hidden=by == "module"),
        Column(titles[2], titles[2], lambda line: Cell(line.where), numeric=False, priority=1, hidden=by == "module"),
        Column("operator", "operator", operator, numeric=False, hidden=True),
        Column("coverage", "coverage", _coverage, numeric=False, hidden=True),
        Column(f"params{each}", "params", _params, priority=3),
        Column(f"FLOPs{each}", "flops", _flops, numeric=False, priority=0, overflow="ellipsis"),
        Column("MACs", "macs", lambda line: line.formula(line.formulas.macs), numeric=False, hidden=True),
        _amount(f"{flop_prefix}FLOPs", "flops_at", lambda cost: cost.flops, flop_factor),
        _amount(f"{flop_prefix}MACs", "macs_at", lambda cost: cost.macs, flop_factor, priority=4),
        _exact("bytes read", "bytes_read_at", lambda cost: cost.bytes_read(bits)),
        _exact("bytes written", "bytes_written_at", lambda cost: cost.bytes_written(bits)),
        *map(of_role, ROLES),
        _amount(f"{byte_prefix}B moved", "bytes_moved_at", lambda cost: cost.bytes_moved(bits), byte_factor),
        Column("% FLOPs", "flops_share_percent", flops_share, priority=5),
        Column("layers", "layers", lambda line: Cell("", list(line.layers)), numeric=False, hidden=True),
    )
    if by != "layer":
        return columns
    found = _found_by_passes(evaluated, {column.key for column in columns})
    return (*columns, *(column for name in found for column in _extra_columns(name)))


def _amount(
    title: str, key: str, value: Callable[[Cost[Exact]], Any], factor: int, priority: int = KEPT
) -> Column[_Line]:
    """A column of what all layers of a row come to, in units of ``factor``."""

    def cell(line: _Line) -> Cell:
        whole = line.all(value(line.values))
        return Cell(line.least + (scaled(whole, factor) or "0" * bool(line.least)), whole)

    return Column(title, key, cell, priority=priority)


def _exact(title: str, key: str, value: Callable[[Cost[Exact]], Any]) -> Column[_Line]:
    """The same of CSV and JSON alone."""
    return Column(title, key, lambda line: Cell("", line.all(value(line.values))), hidden=True)


def _coverage(line: _Line) -> Cell:
    return Cell("unknown" if line.least else line.first.coverage if line.first else "")


def _params(line: _Line) -> Cell:
    return Cell(f"{line.values.params:,}" if line.values.params else "", line.all(line.values.params))


def _flops(line: _Line) -> Cell:
    return line.formula(line.formulas.flops)


def times_text(count: int) -> str:
    """How many layers a row stands for, where it is not one."""
    return f"×{count}" if count > 1 else ""


def _found_by_passes(model: Costs[Any], taken: Collection[str]) -> tuple[str, ...]:
    """The names of what passes of third parties found. Raises `FxcostError` for one that a column has already."""
    names = tuple(dict.fromkeys(name for layer in model.layers for name in layer.extra))
    for name in names:
        if {name, f"{name}_at"} & {*taken}:
            raise FxcostError(f"a pass calls its values {name!r}, as a column is called already; rename its key")
    return names


def _extra_columns(name: str) -> tuple[Column[_Line], Column[_Line]]:
    """What a pass found as a formula and as a value, of one layer: only the pass knows whether values add up."""

    def found(line: _Line) -> Cell:
        return Cell("", quantity_text(line.first.extra[name]) if line.first and name in line.first.extra else "")

    def found_at(line: _Line) -> Cell:
        if line.first is None or name not in line.first.extra:
            return Cell("")
        value = number(line.extra_at[name])
        return Cell(f"{int(value):,}" if value.denominator == 1 else decimal(value, 3), value)

    return Column(name, name, found, hidden=True), Column(f"{name} each", f"{name}_at", found_at, priority=6)


def percent(part: Quantity, whole: Quantity) -> float | None:
    """The share as CSV and JSON carry it; None of nothing."""
    return round(float(100 * number(part) / number(whole)), 4) if number(whole) else None


PANDAS = {
    *("layer", "module", "module_type", "op", "unit", "coverage"),
    *("params", "flops", "macs", "bytes_read", "bytes_written"),
}


def to_pandas(model: Costs[Any]) -> Any:
    """A pandas DataFrame with a row for each layer: formulas as sympy expressions, or numbers once evaluated."""
    bits = model.bits()
    _found_by_passes(model, PANDAS)
    return frame(
        {
            "layer": layer.name,
            "module": layer.module,
            "module_type": layer.module_type,
            "op": layer.op,
            "unit": layer.unit,
            "coverage": layer.coverage,
            "params": layer.params,
            "flops": _as_sympy(layer.flops),
            "macs": _as_sympy(layer.macs),
            "bytes_read": _as_sympy(layer.cost.bytes_read(bits)),
            "bytes_written": _as_sympy(layer.cost.bytes_written(bits)),
            **{name: _as_sympy(value) for name, value in layer.extra.items()},
        }
        for layer in model.layers
    )


def _as_sympy(quantity: Quantity) -> Any:
    return quantity.sympy() if isinstance(quantity, Formula) else quantity

"""The saved file: a `CostModel` as JSON, formulas as text that only the safe parser reads."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from fxcost.costs.model import Cost, CostModel, LayerCost, Rung, State
from fxcost.costs.roles import ROLES
from fxcost.costs.versioned_json import Document, Record, as_json, parsed, validated
from fxcost.errors import FxcostError, near_matches, printable
from fxcost.files import read_file, write_file
from fxcost.formulas.algebra import Formula
from fxcost.formulas.domain import Condition, Pinned, SymbolRange
from fxcost.formulas.evaluation import total
from fxcost.formulas.expressions import ExpressionError, parse, to_text
from fxcost.formulas.quantities import DTYPE_BITS, MULTIPLY_ADD, Mapper, Quantity, fault_of, number

SCHEMA_VERSION = 1

SavedCounts = dict[str, dict[str, str]]
Shapes = list[list[str]]
SymbolName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]


SavedAmount = Annotated[int, Field(ge=0, lt=10**30)]
Line = Annotated[str, AfterValidator(printable)]
"""What is shown as it stands, in messages too."""


class SavedRange(Record):
    min: int = Field(default=1, ge=1, lt=2**63)
    max: int | None = Field(default=None, ge=1, lt=2**63)
    multiple_of: int = Field(default=1, ge=1, lt=2**63)
    usual: int | None = Field(default=None, ge=0, lt=2**63)  # an empty batch is usual to whom it was traced for


class SavedSymbol(SavedRange):
    where: Line = ""


class SavedPin(Record):
    value: int = Field(ge=-(2**63), lt=2**63)
    where: Line


class SavedCondition(Record):
    left: str
    relation: Literal["==", "!=", ">=", ">"]
    right: str
    where: Line = ""


class SavedHeader(Record):
    ref: Line
    mode: Line
    rung: Rung
    dtype: Line


class SavedLayer(Record):
    name: Line
    module: Line
    module_type: Line
    op: Line
    unit: Literal["matrix", "vector"]
    coverage: Literal["counted", "free", "unknown"]
    rule: Line
    reason: Line = ""
    shared: bool = False
    flops: str
    macs: str
    params: SavedAmount
    reads: SavedCounts = Field(default={})
    writes: SavedCounts = Field(default={})
    inputs: Shapes = Field(default=[])
    outputs: Shapes = Field(default=[])
    extra: dict[Line, str] = Field(default={})
    called_as: Line = ""


class SavedTotals(Record):
    flops: str
    macs: str
    params: SavedAmount


class SavedCoverage(Record):
    counted: int = Field(ge=0)
    free: int = Field(ge=0)
    unknown: list[Line]


class SavedState(Record):
    """The cache of a model that decodes: elements by dtype."""

    per_token: dict[str, SavedAmount]
    whole: dict[str, str]


class SavedModel(Document):
    """The file's form."""

    KIND: ClassVar[str] = "saved model"
    VERSION: ClassVar[tuple[str, int]] = ("schema_version", SCHEMA_VERSION)

    schema_version: Literal[1]
    tool: dict[Line, Line]
    model: SavedHeader
    symbols: dict[SymbolName, SavedSymbol]
    fixed: dict[SymbolName, SavedPin] = Field(default={})
    conditions: list[SavedCondition] = Field(default=[])
    assumptions: list[Line] = Field(default=[])
    modules: dict[Line, Line] = Field(default={})
    layers: list[SavedLayer]
    totals: SavedTotals
    coverage: SavedCoverage
    state: SavedState | None = None


def save(model: CostModel, path: str | Path) -> None:
    """Write the model; the file is complete or, when interrupted, as it was before."""
    write_file(Path(path), as_json(to_record(model).model_dump(mode="json")))


def as_text(model: CostModel) -> bytes:
    """The model as a file holds it, for `from_text` alone."""
    return to_record(model).model_dump_json().encode()


def from_text(text: bytes, place: str) -> CostModel:
    """The model of a text that `as_text` made of a trace, whose amounts are checked already."""
    return _Reader(place, _document(text, place)).model()


def _document(text: bytes, place: str) -> SavedModel:
    return validated(parsed(text, SavedModel.KIND, place), SavedModel, place)


def to_record(model: CostModel) -> SavedModel:
    """The model as a file holds it."""
    totals = model.total
    return SavedModel(
        schema_version=SCHEMA_VERSION,
        tool=dict(model.tool),
        model=SavedHeader(ref=model.ref, mode=model.mode, rung=model.rung, dtype=model.dtype),
        symbols={
            name: SavedSymbol(
                min=r.low, max=r.high, multiple_of=r.multiple_of, usual=model.defaults.get(name), where=r.where
            )
            for name, r in model.symbols.items()
        },
        fixed={name: SavedPin(value=pin.value, where=pin.where) for name, pin in model.fixed.items()},
        conditions=[
            SavedCondition(left=quantity_text(c.left), relation=c.relation, right=quantity_text(c.right), where=c.where)
            for c in model.conditions
        ],
        assumptions=list(model.assumptions),
        modules=dict(model.modules),
        layers=[_saved_layer(layer) for layer in model.layers],
        totals=SavedTotals(flops=quantity_text(totals.flops), macs=quantity_text(totals.macs), params=totals.params),
        coverage=SavedCoverage(
            counted=model.coverage["counted"], free=model.coverage["free"], unknown=sorted(model.unknown)
        ),
        state=_saved_state(model.state),
    )


def _saved_state(state: State | None) -> SavedState | None:
    if state is None:
        return None
    return SavedState(
        per_token=dict(state.per_token), whole={dtype: quantity_text(n) for dtype, n in state.whole.items()}
    )


def _saved_layer(layer: LayerCost) -> SavedLayer:
    return SavedLayer(
        name=layer.name,
        module=layer.module,
        module_type=layer.module_type,
        op=layer.op,
        unit=layer.unit,
        coverage=layer.coverage,
        rule=layer.rule,
        reason=layer.reason,
        shared=layer.shared,
        flops=quantity_text(layer.flops),
        macs=quantity_text(layer.macs),
        params=layer.params,
        reads={role: {d: quantity_text(n) for d, n in by.items()} for role, by in layer.cost.reads.items()},
        writes={role: {d: quantity_text(n) for d, n in by.items()} for role, by in layer.cost.writes.items()},
        inputs=[[quantity_text(size) for size in shape] for shape in layer.inputs],
        outputs=[[quantity_text(size) for size in shape] for shape in layer.outputs],
        extra={name: quantity_text(value) for name, value in layer.extra.items()},
        called_as=layer.called_as,
    )


def quantity_text(quantity: Quantity) -> str:
    """A formula or number as the saved file writes it."""
    return to_text(quantity) if isinstance(quantity, Formula) else str(quantity)


def load(path: str | Path) -> CostModel:
    """Read a saved model. Raises `FxcostError` naming the file and the place when it is broken, newer, or hostile."""
    return to_model(_document(read_file(Path(path), SavedModel.KIND), str(path)), str(path))


def to_model(saved: SavedModel, place: str) -> CostModel:
    """The model that a file holds; raises `FxcostError` naming ``place`` for a text that is no formula, or no amount."""
    reader = _Reader(place, saved)
    model = reader.model()
    if model.free < 0:
        raise FxcostError(f"{place}: coverage.free is {saved.coverage.free}, fewer than its layers that are free")
    model.check(lambda layer: f"{place}: layer {layer.name!r}")
    totals = reader.totals()
    for point in model.points_to_check():
        for name, quantity in totals.items():
            fault = fault_of(number(Mapper(point)(quantity)), point, whole=name.startswith("totals"))
            if fault:
                raise FxcostError(f"{place}: {name} {fault}")
    return model


class _Reader:
    def __init__(self, path: str, saved: SavedModel) -> None:
        self.path, self.saved, self.names = path, saved, frozenset(saved.symbols)

    def model(self) -> CostModel:
        saved = self.saved
        self._refuse_strange("dtype", [saved.model.dtype], DTYPE_BITS, "model")
        return CostModel(
            ref=saved.model.ref,
            layers=tuple(map(self._layer, saved.layers)),
            symbols={n: SymbolRange(s.min, s.max, s.multiple_of, s.where) for n, s in saved.symbols.items()},
            defaults={n: s.usual for n, s in saved.symbols.items() if s.usual is not None},
            fixed={n: Pinned(p.value, p.where) for n, p in saved.fixed.items()},
            conditions=tuple(
                Condition(self._parse(c.left, "conditions"), c.relation, self._parse(c.right, "conditions"), c.where)
                for c in saved.conditions
            ),
            assumptions=tuple(saved.assumptions),
            modules=saved.modules,
            mode=saved.model.mode,
            rung=saved.model.rung,
            dtype=saved.model.dtype,
            free=saved.coverage.free
            - sum(layer.coverage == "free" and layer.op != "(unused)" for layer in saved.layers),
            tool=saved.tool,
            state=self._state(saved.state),
        )

    def totals(self) -> dict[str, Quantity]:
        """What the file says of all layers together, by where it stands."""
        totals, state = self.saved.totals, self._state(self.saved.state)
        held = {} if state is None else {f"state.whole.{dtype}": n for dtype, n in state.whole.items()}
        return {
            f"totals.{name}": self._parse(getattr(totals, name), f"totals.{name}") for name in ("flops", "macs")
        } | held

    def _state(self, state: SavedState | None) -> State | None:
        if state is None:
            return None
        self._refuse_strange("dtype", (*state.per_token, *state.whole), DTYPE_BITS, "state")
        return State(state.per_token, {d: self._parse(n, f"state.whole.{d}") for d, n in state.whole.items()})

    def _parse(self, text: str, place: str) -> Formula:
        try:
            return parse(text, self.names)
        except ExpressionError as error:
            raise FxcostError(f"{self.path}: {place}: {error}") from error

    def _counts(self, counts: SavedCounts, place: str) -> Mapping[str, Mapping[str, Quantity]]:
        for role, by in counts.items():
            self._refuse_strange("role", [role], ROLES, place)
            self._refuse_strange("dtype", by, DTYPE_BITS, f"{place}.{role}")
        return {role: {d: self._parse(n, f"{place}.{role}.{d}") for d, n in by.items()} for role, by in counts.items()}

    def _refuse_strange(self, what: str, names: Iterable[str], known: Iterable[str], place: str) -> None:
        for name in names:
            if name not in known:
                raise FxcostError(f"{self.path}: {place}: unknown {what} {name[:40]!r}{near_matches(name[:40], known)}")

    def _shapes(self, shapes: Shapes, place: str) -> tuple[tuple[Quantity, ...], ...]:
        return tuple(tuple(self._parse(size, place) for size in shape) for shape in shapes)

    def _layer(self, layer: SavedLayer) -> LayerCost:
        at = f"layer {layer.name!r}"
        matrix = MULTIPLY_ADD * self._parse(layer.macs, f"{at}.macs")
        cost = Cost(
            matrix,
            total((self._parse(layer.flops, f"{at}.flops"), -matrix)),
            layer.params,
            self._counts(layer.reads, f"{at}.reads"),
            self._counts(layer.writes, f"{at}.writes"),
        )
        return LayerCost(
            name=layer.name,
            module=layer.module,
            module_type=layer.module_type,
            op=layer.op,
            coverage=layer.coverage,
            rule=layer.rule,
            reason=layer.reason,
            shared=layer.shared,
            cost=cost,
            inputs=self._shapes(layer.inputs, f"{at}.inputs"),
            outputs=self._shapes(layer.outputs, f"{at}.outputs"),
            extra={name: self._parse(value, f"{at}.extra.{name}") for name, value in layer.extra.items()},
            called_as=layer.called_as,
        )

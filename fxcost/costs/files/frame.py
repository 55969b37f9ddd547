"""What a file of any version says of a model beside its operations, written, read and checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fxcost.costs.files.module_tree import Line
from fxcost.costs.files.versioned_json import Document, Record
from fxcost.costs.graph.cost_graph import CostGraph
from fxcost.costs.model import CostModel, LayerCost, Rung, State
from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.algebra import Formula
from fxcost.formulas.expressions import ExpressionError, parse, to_text
from fxcost.formulas.quantities import DTYPE_BITS, Mapper, Quantity, fault_of, number
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange

VERSION_FIELD = "schema_version"
SymbolName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
MOST_PARAMETERS = 10**30
SavedAmount = Annotated[int, Field(ge=0, lt=MOST_PARAMETERS)]


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


class Frame(Document):
    """What is said of a whole model."""

    KIND: ClassVar[str] = "saved model"

    tool: dict[Line, Line]
    model: SavedHeader
    symbols: dict[SymbolName, SavedSymbol]
    fixed: dict[SymbolName, SavedPin] = Field(default={})
    conditions: list[SavedCondition] = Field(default=[])
    assumptions: list[Line] = Field(default=[])
    totals: SavedTotals
    coverage: SavedCoverage
    state: SavedState | None = None


def frame_of(model: CostModel) -> dict[str, Any]:
    """What a file says of the whole model, by its fields."""
    totals = model.total
    return {
        "tool": dict(model.tool),
        "model": SavedHeader(ref=model.ref, mode=model.mode, rung=model.rung, dtype=model.dtype),
        "symbols": {
            name: SavedSymbol(
                min=r.low, max=r.high, multiple_of=r.multiple_of, usual=model.defaults.get(name), where=r.where
            )
            for name, r in model.symbols.items()
        },
        "fixed": {name: SavedPin(value=pin.value, where=pin.where) for name, pin in model.fixed.items()},
        "conditions": [
            SavedCondition(left=quantity_text(c.left), relation=c.relation, right=quantity_text(c.right), where=c.where)
            for c in model.conditions
        ],
        "assumptions": list(model.assumptions),
        "totals": SavedTotals(flops=quantity_text(totals.flops), macs=quantity_text(totals.macs), params=totals.params),
        "coverage": SavedCoverage(
            counted=model.coverage["counted"], free=model.coverage["free"], unknown=sorted(model.unknown)
        ),
        "state": _saved_state(model.state),
    }


def _saved_state(state: State | None) -> SavedState | None:
    if state is None:
        return None
    return SavedState(
        per_token=dict(state.per_token), whole={dtype: quantity_text(n) for dtype, n in state.whole.items()}
    )


def quantity_text(quantity: Quantity) -> str:
    """A formula or number as the saved file writes it."""
    return to_text(quantity) if isinstance(quantity, Formula) else str(quantity)


class FrameReader:
    """Reads the formulas of a file; errors name the place."""

    def __init__(self, place: str, saved: Frame) -> None:
        self.place, self.names = place, frozenset(saved.symbols)

    def parse(self, text: str, where: str) -> Formula:
        """The formula of a text that stands somewhere in the file."""
        try:
            return parse(text, self.names)
        except ExpressionError as error:
            raise FxcostError(f"{self.place}: {where}: {error}") from error

    def refuse_strange(self, what: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
        """Raise `FxcostError` for a name that is none of those known."""
        for name in names:
            if name not in known:
                near = near_matches(name[:40], known)
                raise FxcostError(f"{self.place}: {where}: unknown {what} {name[:40]!r}{near}")

    def conditions(self, saved: Iterable[SavedCondition]) -> tuple[Condition, ...]:
        """The relations between sizes."""
        return tuple(
            Condition(self.parse(c.left, "conditions"), c.relation, self.parse(c.right, "conditions"), c.where)
            for c in saved
        )

    def state(self, state: SavedState | None) -> State | None:
        """The cache."""
        if state is None:
            return None
        self.refuse_strange("dtype", (*state.per_token, *state.whole), DTYPE_BITS, "state")
        return State(state.per_token, {d: self.parse(n, f"state.whole.{d}") for d, n in state.whole.items()})


def model_of(
    saved: Frame,
    layers: Sequence[LayerCost],
    free: int,
    modules: Mapping[str, str],
    graph: CostGraph | None,
    place: str,
) -> CostModel:
    """The model of a file whose layers, so many of them free, are read."""
    reader = FrameReader(place, saved)
    reader.refuse_strange("dtype", [saved.model.dtype], DTYPE_BITS, "model")
    return CostModel(
        ref=saved.model.ref,
        layers=layers,
        symbols={n: SymbolRange(s.min, s.max, s.multiple_of, s.where) for n, s in saved.symbols.items()},
        defaults={n: s.usual for n, s in saved.symbols.items() if s.usual is not None},
        fixed={n: Pinned(p.value, p.where) for n, p in saved.fixed.items()},
        conditions=reader.conditions(saved.conditions),
        assumptions=tuple(saved.assumptions),
        modules=modules,
        mode=saved.model.mode,
        rung=saved.model.rung,
        dtype=saved.model.dtype,
        free=saved.coverage.free - free,
        tool=saved.tool,
        state=reader.state(saved.state),
        graph=graph,
    )


def checked(model: CostModel, saved: Frame, place: str) -> CostModel:
    """The model of a file; raises `FxcostError` naming ``place`` for what is no amount."""
    if model.free < 0:
        raise FxcostError(f"{place}: coverage.free is {saved.coverage.free}, fewer than its layers that are free")
    model.check(lambda layer: f"{place}: layer {layer.name!r}")
    reader = FrameReader(place, saved)
    told: dict[str, Quantity] = {
        f"totals.{name}": reader.parse(getattr(saved.totals, name), f"totals.{name}") for name in ("flops", "macs")
    }
    held = {} if model.state is None else {f"state.whole.{dtype}": n for dtype, n in model.state.whole.items()}
    for point in model.points_to_check():
        for name, quantity in {**told, **held}.items():
            fault = fault_of(number(Mapper(point)(quantity)), point, whole=name.startswith("totals"))
            if fault:
                raise FxcostError(f"{place}: {name} {fault}")
    return model

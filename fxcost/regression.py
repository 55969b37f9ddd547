"""A model's formulas as a file that a test keeps, and what a test says when they change."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field, ValidationError

from fxcost.api import trace
from fxcost.costs.files.frame import SavedCondition, SavedPin, SavedRange, quantity_text
from fxcost.costs.files.records import SavedModel, to_model, to_record
from fxcost.costs.files.versioned_json import Record
from fxcost.costs.model import CostModel, LayerCost
from fxcost.drift.diff import amounts, compare
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Exact, formula_of
from fxcost.reports.differences import differences_report
from fxcost.reports.parts.change_lines import summary
from fxcost.reports.parts.tables import render

if TYPE_CHECKING:
    import torch
    from pytest_regressions.data_regression import DataRegressionFixture


class GuardedLayers(Record):
    """Layers that cost the same: formulas of each, and one value."""

    layers: list[str]
    op: str
    module_type: str
    coverage: Literal["counted", "free", "unknown"]
    flops: str
    flops_at: int
    macs: str
    bytes: str
    params: int = Field(ge=0)


class GuardedTotals(Record):
    flops: str
    macs: str
    bytes: str
    params: int
    flops_at: int
    macs_at: int
    bytes_at: int


class Guarded(Record):
    """What the file holds; it leaves out what no cost depends on: the model's name, the lines of code that set a condition."""

    dtype: str
    at: dict[str, int]
    symbols: dict[str, SavedRange]
    fixed: dict[str, int]
    conditions: list[SavedCondition]
    total: GuardedTotals
    layers: list[GuardedLayers]


def guarded(costs: CostModel) -> Guarded:
    """The file's content for a model's costs, evaluated at its usual sizes."""
    saved, point = to_record(costs), costs.at()
    groups: dict[tuple[Any, ...], list[str]] = {}
    for layer, value in zip(costs.layers, point.layers, strict=True):
        groups.setdefault(_row(costs, layer, value), []).append(layer.name)
    keys = list(GuardedLayers.model_fields)[1:]
    total, values = amounts(costs, costs.total), amounts(point, point.total)
    return Guarded(
        dtype=costs.dtype,
        at=dict(costs.point()),
        symbols={name: SavedRange(**each.model_dump(exclude={"where"})) for name, each in saved.symbols.items()},
        fixed={name: pin.value for name, pin in costs.fixed.items()},
        conditions=[condition.model_copy(update={"where": ""}) for condition in saved.conditions],
        total=GuardedTotals(
            flops=quantity_text(total.flops),
            macs=quantity_text(total.macs),
            bytes=quantity_text(total.bytes),
            params=costs.total.params,
            flops_at=_int(values.flops),
            macs_at=_int(values.macs),
            bytes_at=_int(values.bytes),
        ),
        layers=[GuardedLayers(layers=names, **dict(zip(keys, row, strict=True))) for row, names in groups.items()],
    )


def _row(costs: CostModel, layer: LayerCost, value: LayerCost[Exact]) -> tuple[Any, ...]:
    formulas = amounts(costs, layer.cost)
    told = (layer.op, layer.module_type, layer.coverage, quantity_text(formulas.flops), _int(value.flops))
    return (*told, quantity_text(formulas.macs), quantity_text(formulas.bytes), layer.params)


def _int(value: Any) -> int:
    return int(formula_of(value))


def costs_in(kept: Guarded, place: str) -> CostModel:
    """The costs that a file holds, as far as a comparison needs them."""
    layers = [(name, group) for group in kept.layers for name in group.layers]
    values: dict[str, Any] = {
        "schema_version": 1,
        "tool": {},
        "model": {"ref": place, "mode": "", "rung": "exact", "dtype": kept.dtype},
        "symbols": {name: each.model_dump() for name, each in kept.symbols.items()},
        "fixed": {name: SavedPin(value=value, where="") for name, value in kept.fixed.items()},
        "conditions": kept.conditions,
        "layers": [_layer(name, group) for name, group in layers],
        "totals": {"flops": "0", "macs": "0", "params": 0},
        "coverage": {"counted": 0, "free": 0, "unknown": []},
    }
    return to_model(SavedModel.model_validate(values), place)


def _layer(name: str, group: GuardedLayers) -> dict[str, Any]:
    same = group.model_dump(include={"op", "module_type", "coverage", "flops", "macs", "params"})
    # Elements of one byte each come to the bytes that were moved in any dtype.
    moved = {"activation": {"uint8": group.bytes}}
    return {"name": name, "module": "", "unit": "vector", "rule": "", "reads": moved, **same}


class CostRegression:
    """The fixture's object: keeps a model's formulas in a file beside the test, as pytest-regressions keeps data."""

    def __init__(self, data_regression: "DataRegressionFixture") -> None:
        self._data_regression = data_regression

    def check(
        self,
        model: "str | torch.nn.Module | CostModel",
        inputs: Iterable[Any] = (),
        symbolic: str | None = None,
        *,
        basename: str | None = None,
        **options: Any,
    ) -> None:
        """Fail when the model's costs are not those of the file, naming the layers that changed and by how much.

        ``inputs``, ``symbolic`` and ``options`` are those of `fxcost.trace`; a `CostModel` is taken as it is.
        ``--force-regen`` writes the file anew.
        """
        __tracebackhide__ = True
        costs = model if isinstance(model, CostModel) else trace(model, symbolic, inputs=inputs, **options)
        name = basename or self._name()
        try:
            self._data_regression.check(guarded(costs).model_dump(mode="json"), basename=name)
        except AssertionError as error:
            told = _told(costs, self._data_regression.original_datadir / f"{name}.yml")
            raise AssertionError(told or str(error)) from None

    def _name(self) -> str:
        node = self._data_regression.request.node
        return re.sub(r"\W", "_", f"{node.cls.__name__}_{node.name}" if node.cls else node.name)


def _told(costs: CostModel, path: Path) -> str:
    """The change as a table; nothing where the file is of another form, or all that changed is how formulas are written."""
    try:
        kept = Guarded.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        difference = compare(costs_in(kept, str(path)), costs_in(guarded(costs), "now"))
    except (FxcostError, ValidationError, yaml.YAMLError, OSError):
        return ""
    if not difference.changes and len(summary(costs.ref, difference)) == 1:
        return ""
    report = differences_report(f"costs differ from {path}", {costs.ref: difference}, [ACCEPT])
    return render(report, "table")


ACCEPT = "If this is meant, accept it with: pytest --force-regen"

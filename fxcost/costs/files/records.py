"""A `CostModel` as records, one for each layer: how a lock holds it, and a saved file of version 1."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from fxcost.costs.files.frame import (
    VERSION_FIELD,
    Frame,
    FrameReader,
    SavedAmount,
    checked,
    frame_of,
    model_of,
    quantity_text,
)
from fxcost.costs.files.module_tree import Line
from fxcost.costs.files.versioned_json import Record
from fxcost.costs.model import UNUSED, Cost, CostModel, LayerCost
from fxcost.costs.roles import ROLES
from fxcost.formulas.algebra import Formula
from fxcost.formulas.evaluation import total
from fxcost.formulas.quantities import DTYPE_BITS
from fxcost.work import MULTIPLY_ADD

SavedCounts = dict[str, dict[str, str]]
Shapes = list[list[str]]


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


class SavedModel(Frame):
    """A file of version 1."""

    VERSION: ClassVar[tuple[str, int]] = (VERSION_FIELD, 1)

    schema_version: Literal[1]
    modules: dict[Line, Line] = Field(default={})
    layers: list[SavedLayer]


def to_record(model: CostModel) -> SavedModel:
    """The model as a lock holds it."""
    layers = [_saved_layer(layer) for layer in model.layers]
    return SavedModel(schema_version=1, **frame_of(model), modules=dict(model.modules), layers=layers)


def _saved_layer(layer: LayerCost) -> SavedLayer:
    return SavedLayer(
        **_as_it_is(layer),
        unit=layer.unit,
        flops=quantity_text(layer.flops),
        macs=quantity_text(layer.macs),
        params=layer.params,
        reads={role: {d: quantity_text(n) for d, n in by.items()} for role, by in layer.cost.reads.items()},
        writes={role: {d: quantity_text(n) for d, n in by.items()} for role, by in layer.cost.writes.items()},
        inputs=[[quantity_text(size) for size in shape] for shape in layer.inputs],
        outputs=[[quantity_text(size) for size in shape] for shape in layer.outputs],
        extra={name: quantity_text(value) for name, value in layer.extra.items()},
    )


AS_IT_IS = ("name", "module", "module_type", "op", "coverage", "rule", "reason", "shared", "called_as")
"""What a record says of a layer in the layer's own words."""


def _as_it_is(layer: LayerCost | SavedLayer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in AS_IT_IS}


def to_model(saved: SavedModel, place: str) -> CostModel:
    """The model that a file holds; raises `FxcostError` naming ``place`` for a text that is no formula, or no amount."""
    reader = _LayerReader(place, saved)
    layers = tuple(map(reader.layer, saved.layers))
    free = sum(layer.coverage == "free" and layer.op != UNUSED for layer in layers)
    return checked(model_of(saved, layers, free, saved.modules, None, place), saved, place)


class _LayerReader(FrameReader):
    def _counts(self, counts: SavedCounts, place: str) -> Mapping[str, Mapping[str, Formula]]:
        for role, by in counts.items():
            self.refuse_strange("role", [role], ROLES, place)
            self.refuse_strange("dtype", by, DTYPE_BITS, f"{place}.{role}")
        return {role: {d: self.parse(n, f"{place}.{role}.{d}") for d, n in by.items()} for role, by in counts.items()}

    def _shapes(self, shapes: Shapes, place: str) -> tuple[tuple[Formula, ...], ...]:
        return tuple(tuple(self.parse(size, place) for size in shape) for shape in shapes)

    def layer(self, layer: SavedLayer) -> LayerCost:
        at = f"layer {layer.name!r}"
        matrix = MULTIPLY_ADD * self.parse(layer.macs, f"{at}.macs")
        cost = Cost(
            matrix,
            total((self.parse(layer.flops, f"{at}.flops"), -matrix)),
            layer.params,
            self._counts(layer.reads, f"{at}.reads"),
            self._counts(layer.writes, f"{at}.writes"),
        )
        return LayerCost(
            **_as_it_is(layer),
            cost=cost,
            inputs=self._shapes(layer.inputs, f"{at}.inputs"),
            outputs=self._shapes(layer.outputs, f"{at}.outputs"),
            extra={name: self.parse(value, f"{at}.extra.{name}") for name, value in layer.extra.items()},
        )

"""The saved file: a `CostModel` as JSON, formulas as text that only the safe parser reads."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import sympy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fxcost.conditions import Condition, Pinned, SymbolRange
from fxcost.costs import Cost, CostModel, LayerCost, Quantity
from fxcost.errors import FxcostError
from fxcost.expressions import ExpressionError, parse, to_text

SCHEMA_VERSION = 1
LARGEST_FILE = 256 * 2**20
"""Bytes; a 126-layer model takes about 10 MB."""

Counts = dict[str, dict[str, str]]
Shapes = list[list[str]]
SymbolName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedSymbol(_Record):
    min: int = Field(default=1, ge=1)
    max: int | None = Field(default=None, ge=1)
    multiple_of: int = Field(default=1, ge=1)
    usual: int | None = Field(default=None, ge=1)


class SavedPin(_Record):
    value: int
    where: str


class SavedCondition(_Record):
    left: str
    relation: Literal["==", "!=", ">=", ">"]
    right: str
    where: str = ""


class SavedHeader(_Record):
    ref: str
    mode: str
    rung: str
    dtype: str


class SavedLayer(_Record):
    name: str
    module: str
    module_type: str
    op: str
    unit: Literal["matrix", "vector"]
    coverage: Literal["counted", "free", "unknown"]
    rule: str
    reason: str = ""
    shared: bool = False
    flops: str
    macs: str
    params: int = Field(ge=0)
    reads: Counts = {}
    writes: Counts = {}
    inputs: Shapes = []
    outputs: Shapes = []
    extra: dict[str, str] = {}


class SavedTotals(_Record):
    flops: str
    macs: str
    params: int


class SavedCoverage(_Record):
    counted: int
    free: int
    unknown: list[str]


class SavedModel(_Record):
    """The file's form; its ``schema_version`` is looked at before anything else."""

    schema_version: Literal[1]
    tool: dict[str, str]
    model: SavedHeader
    symbols: dict[SymbolName, SavedSymbol]
    fixed: dict[str, SavedPin] = {}
    conditions: list[SavedCondition] = []
    assumptions: list[str] = []
    modules: dict[str, str] = {}
    layers: list[SavedLayer]
    totals: SavedTotals
    coverage: SavedCoverage


def save(model: CostModel, path: str | Path) -> None:
    """Write the model; the file is complete or, when interrupted, as it was before."""
    text = json.dumps(to_document(model), indent=1, ensure_ascii=False)
    write_aside(Path(path), text.encode())


def write_aside(path: Path, content: bytes) -> None:
    """Write a file under another name beside it, then rename it into place."""
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.")
    except OSError as error:
        raise FxcostError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).chmod(0o666 & ~_umask())
        Path(aside).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(aside).unlink()
        if isinstance(error, OSError):
            raise FxcostError(f"cannot write {path}: {error.strerror}") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_document(model: CostModel) -> dict[str, Any]:
    """The model as the JSON values of the saved file."""
    totals = model.total
    saved = SavedModel(
        schema_version=SCHEMA_VERSION,
        tool=dict(model.tool),
        model=SavedHeader(ref=model.ref, mode=model.mode, rung=model.rung, dtype=model.dtype),
        symbols={
            name: SavedSymbol(min=r.low, max=r.high, multiple_of=r.multiple_of, usual=model.defaults.get(name))
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
    )
    return saved.model_dump(mode="json")


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
    )


def quantity_text(quantity: Quantity) -> str:
    """A formula or number as the saved file writes it."""
    return to_text(quantity) if isinstance(quantity, sympy.Expr) else str(quantity)


def load(path: str | Path) -> CostModel:
    """Read a saved model. Raises `FxcostError` naming the file and the place when it is broken, newer, or hostile."""
    document = _document(Path(path))
    try:
        saved = SavedModel.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise FxcostError(f"{path} is not a saved model: {place}: {first['msg']}") from error
    return _Reader(str(path), saved).model()


def _document(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise FxcostError(f"{path} is larger than {LARGEST_FILE // 2**20} MiB; no saved model is")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FxcostError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FxcostError(f"{path} is not a saved model: {str(error)[:120] or type(error).__name__}") from error
    version = cast("dict[str, Any]", document).get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise FxcostError(f"{path} is not a saved model: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise FxcostError(
            f"{path} has schema_version {version}, newer than {SCHEMA_VERSION}, the newest this fxcost reads; update fxcost"
        )
    return cast("dict[str, Any]", document)


class _Reader:
    def __init__(self, path: str, saved: SavedModel) -> None:
        self.path, self.saved, self.names = path, saved, frozenset(saved.symbols)

    def model(self) -> CostModel:
        saved = self.saved
        return CostModel(
            ref=saved.model.ref,
            layers=tuple(map(self._layer, saved.layers)),
            symbols={n: SymbolRange(s.min, s.max, s.multiple_of) for n, s in saved.symbols.items()},
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
        )

    def _parse(self, text: str, place: str) -> sympy.Expr:
        try:
            return parse(text, self.names)
        except ExpressionError as error:
            raise FxcostError(f"{self.path}: {place}: {error}") from error

    def _counts(self, counts: Counts, place: str) -> Mapping[str, Mapping[str, Quantity]]:
        return {role: {d: self._parse(n, f"{place}.{role}.{d}") for d, n in by.items()} for role, by in counts.items()}

    def _shapes(self, shapes: Shapes, place: str) -> tuple[tuple[Quantity, ...], ...]:
        return tuple(tuple(self._parse(size, place) for size in shape) for shape in shapes)

    def _layer(self, layer: SavedLayer) -> LayerCost:
        at = f"layer {layer.name!r}"
        cost = Cost(
            self._parse(layer.flops, f"{at}.flops"),
            self._parse(layer.macs, f"{at}.macs"),
            layer.params,
            self._counts(layer.reads, f"{at}.reads"),
            self._counts(layer.writes, f"{at}.writes"),
        )
        return LayerCost(
            name=layer.name,
            module=layer.module,
            module_type=layer.module_type,
            op=layer.op,
            unit=layer.unit,
            coverage=layer.coverage,
            rule=layer.rule,
            reason=layer.reason,
            shared=layer.shared,
            cost=cost,
            inputs=self._shapes(layer.inputs, f"{at}.inputs"),
            outputs=self._shapes(layer.outputs, f"{at}.outputs"),
            extra={name: self._parse(value, f"{at}.extra.{name}") for name, value in layer.extra.items()},
        )

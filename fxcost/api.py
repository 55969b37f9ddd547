"""What people call from Python: a model traced or loaded, and its costs saved, placed on machines and shown."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from fxcost.costs import model as data
from fxcost.costs.files import saved
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Exact, Formula
from fxcost.formulas.quantities import Q, number
from fxcost.request import Attention, Mode, Request

if TYPE_CHECKING:
    import torch

    from fxcost.memory.footprint import Footprint, MemoryUse
    from fxcost.request import Fusion
    from fxcost.roofline.crossover import Crossover
    from fxcost.roofline.points import LayerPoint
    from fxcost.roofline.rate import Machine

Called = TypeVar("Called", bound=data.Costs[Any])

# Torch is imported by `trace` alone, reports and machines by what asks for them: each takes long.


class _Shown(data.Costs[Q]):
    """Costs as people see them."""

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each layer; needs pandas."""
        from fxcost.reports.costs import to_pandas

        return to_pandas(self)

    def __str__(self) -> str:
        return self._rendered("table")

    def _repr_html_(self) -> str:
        return self._rendered("html")

    def _rendered(self, form: Literal["table", "html"]) -> str:
        from fxcost.reports.costs import cost_report
        from fxcost.reports.parts.tables import render

        costs: Any = self
        return render(cost_report(costs), form)


class CostModel(data.CostModel, _Shown[Formula]):
    """The costs of a model's layers as formulas of its symbols, and what can be asked of them."""

    def at(self, sizes: Mapping[str, int] | None = None, **more: int) -> "EvaluatedModel":
        """The costs as exact numbers at these sizes; symbols not given take their usual size."""
        return _as_called(super().at(sizes, **more), EvaluatedModel)

    def crossovers(
        self,
        platform: str,
        *,
        precision: str | None = None,
        fusion: "Fusion" = "pointwise",
        over: str = "B",
        at: Mapping[str, int] | None = None,
    ) -> "tuple[Crossover, ...]":
        """As ``on(platform, precision=precision, fusion=fusion).crossovers(over, at)``."""
        return self.on(platform, precision=precision, fusion=fusion).crossovers(over, at)

    def on(self, platform: str, *, precision: str | None = None, fusion: "Fusion" = "pointwise") -> "Placed":
        """The model on a platform, named or read from a file, at a precision, or at its own dtype when none is named.

        ``fusion`` says what runs as one kernel: ``none`` each operation, ``pointwise`` what torch.compile joins,
        ``epilogue`` contractions with what follows them too, ``ideal`` all.
        """
        from fxcost.costs.fusion.models import fused
        from fxcost.machines.sheets import load_platform
        from fxcost.roofline.rate import machine_for

        machine = machine_for(self, load_platform(platform), precision)
        return Placed(_as_called(fused(self, fusion), CostModel), machine, self, fusion)

    def fused(self, fusion: "Fusion" = "pointwise") -> "CostModel":
        """The model with a row for each kernel under ``fusion``, as in `on`."""
        from fxcost.costs.fusion.models import fused

        return _as_called(fused(self, fusion), CostModel)

    def bytes_moved(
        self,
        at: Mapping[str, int] | None = None,
        *,
        fusion: "Fusion" = "pointwise",
        precision: str | None = None,
        **sizes: int,
    ) -> Fraction:
        """Bytes that the kernels of one call read and write under ``fusion``, stored as a precision or scheme has it, exact."""
        from fxcost.costs.fusion.models import fused
        from fxcost.formats.applying import as_stored
        from fxcost.formats.composing import scheme_named
        from fxcost.machines.sheets import PRECISION_BITS

        scheme = None if precision is None else scheme_named(precision)
        rows = fused(self, fusion)
        if scheme and not scheme.uniform:
            rows = as_stored(rows, scheme)
        evaluated = rows.at({**(at or {}), **sizes})
        width = PRECISION_BITS[scheme.uniform] if scheme and scheme.uniform else None
        return Fraction(number(evaluated.total.bytes_moved(evaluated.bits(width))))

    def stored_bytes(self, precision: str | None = None) -> int:
        """Bytes of all parameters, and of the buffers that operations use and checkpoints hold, scales included, exact.

        ``precision`` is a scheme of `fxcost precisions`, composed or from a file; None stores all as the model has it.
        Headers of files are not counted. Raises `FxcostError` for a model saved before files held its storages.
        """
        from fxcost.formats.composing import scheme_named
        from fxcost.formats.schemes import UNCHANGED
        from fxcost.formats.storing import placed

        return placed(self, UNCHANGED if precision is None else scheme_named(precision)).stored_bytes

    def footprint(self, *, precision: str | None = None, fusion: "Fusion" = "pointwise") -> "Footprint":
        """What a call holds in memory as formulas in bytes: ``.peak``, its parts, and one `Moment` for each that may be the most.

        ``precision`` is as in `stored_bytes`, ``fusion`` as in `on`. Raises `FxcostError` for a model saved before files
        held who feeds whom.
        """
        from fxcost.formats.composing import scheme_named
        from fxcost.memory.footprint import footprint

        return footprint(self, None if precision is None else scheme_named(precision), fusion)

    def memory(
        self,
        at: Mapping[str, int] | None = None,
        *,
        precision: str | None = None,
        fusion: "Fusion" = "pointwise",
        **sizes: int,
    ) -> "MemoryUse":
        """Bytes that a call holds at these sizes: weights, buffers, cache state, inputs, activations, and their ``peak``.

        Arguments and errors as `footprint`. What libraries and drivers take for themselves is not counted.
        """
        return self.footprint(precision=precision, fusion=fusion).at({**(at or {}), **sizes})

    def save(self, path: str | Path) -> None:
        """Write the model as JSON that ``fxcost.load`` and every command read."""
        saved.save(self, path)


class EvaluatedModel(data.EvaluatedModel, _Shown[Exact]):
    """The costs of a model's layers as numbers: shown and summed as formulas are, and asked for no other sizes."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        raise FxcostError(
            f"these are the costs of {self.ref} at {at or 'its only sizes'}; ask the model that they are of for other sizes"
        )

    at = crossovers = on = save = _refuse


@dataclass(frozen=True)
class Placed:
    """A model on a machine at one precision, its operations run as the kernels of one fusion."""

    model: CostModel
    """With a row for each kernel."""
    machine: "Machine"
    traced: CostModel
    """With a row for each operation."""
    fusion: "Fusion" = "pointwise"

    def rows(self, at: Mapping[str, int] | None = None, **sizes: int) -> "tuple[LayerPoint, ...]":
        """FLOPs, bytes, intensity, bound and roofline time in seconds of each kernel at these sizes, all exact."""
        from fxcost.roofline.points import layer_points

        return layer_points(self.model, self.machine, {**(at or {}), **sizes})

    def roofline_seconds(self, at: Mapping[str, int] | None = None, **sizes: int) -> Fraction:
        """What one call takes at peak rates, its kernels one after the other; neither a bound nor an estimate.

        Operators without a rule add only what is known of them: ``costs.unknown`` names them.
        """
        return sum((row.seconds for row in self.rows(at, **sizes)), Fraction(0))

    def bound(self, at: Mapping[str, int] | None = None, **sizes: int) -> Fraction:
        """Seconds that no call takes less than, whatever runs as one kernel."""
        from fxcost.roofline.bound import bound_seconds

        return bound_seconds(self.traced, self.machine, {**(at or {}), **sizes})

    def bytes_moved(self, at: Mapping[str, int] | None = None, **sizes: int) -> Fraction:
        """Bytes read and written in one call, as far as they are known: ``costs.unknown`` names the rest."""
        return sum((row.bytes_moved for row in self.rows(at, **sizes)), Fraction(0))

    def crossovers(self, over: str = "B", at: Mapping[str, int] | None = None) -> "tuple[Crossover, ...]":
        """For each kernel, the sizes of ``over`` at which it is compute-bound."""
        from fxcost.roofline.crossover import crossovers

        return crossovers(self.model, self.machine, over, at)

    @cached_property
    def footprint(self) -> "Footprint":
        """What a call holds in memory, as formulas in bytes; errors as `CostModel.footprint`."""
        from fxcost.roofline.held import footprint_on

        return footprint_on(self.traced, self.machine, self.fusion)

    def memory(self, at: Mapping[str, int] | None = None, **sizes: int) -> "MemoryUse":
        """Bytes that a call holds at these sizes, as `CostModel.memory`."""
        return self.footprint.at({**(at or {}), **sizes})

    def largest(
        self,
        over: str = "B",
        at: Mapping[str, int] | None = None,
        *,
        memory: float | Fraction | str = 1,
        **sizes: int,
    ) -> int | None:
        """The greatest size of a symbol at which a call fits so large a share of the machine's memory; None where none does.

        Raises `FxcostError` for a machine that publishes no capacity, and where what is held does not grow with the symbol.
        """
        from fxcost.memory.fitting import largest, usable_bytes

        limit = usable_bytes(self.machine.platform, memory)
        return largest(self.footprint, over, limit, {**(at or {}), **sizes}).size

    def to_pandas(self, at: Mapping[str, int] | None = None, **sizes: int) -> Any:
        """A pandas DataFrame of `rows`, as ``fxcost roofline -f csv`` has them; needs pandas."""
        from fxcost.reports.roofline import roofline_frame

        return roofline_frame(self.model, self.machine, {**(at or {}), **sizes})


def load(path: str | Path) -> CostModel:
    """Read a saved model. Raises `FxcostError` naming the file and the place when it is broken, newer, or hostile."""
    return _as_called(saved.load(path), CostModel)


def trace(
    model: "str | torch.nn.Module",
    symbolic: str | None = None,
    *,
    inputs: Iterable[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    at: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
    budget: float = Request.budget,
    attention: Attention = Request.attention,
    causal_skip: bool = Request.causal_skip,
    strict: bool = Request.strict,
    leaves: Iterable[str] = (),
    mode: Mode = Request.mode,
    isolated: bool = True,
    warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> CostModel:
    """Trace a model, by reference or as a module, and cost each of its layers.

    A module is traced in a forked child process, so that whatever it keeps stays as it was. With ``isolated=False``,
    and where forks are not safe, which is told, it is traced in this process, and what its modules hold is put back;
    tables that it keeps elsewhere, such as globals and `functools.lru_cache`, are not.

    For a module, ``inputs`` and ``kwargs`` hold its arguments: tensors (dimensions are named by convention: ``B,C,H,W``
    for images, ``B,S`` for integer tokens, ``B`` first for others) or texts such as ``"x: float32[B,80,T]"``.

    ``mode="decode"`` costs one step of a decoder-only language model of transformers: one new token for each of ``B``
    sequences against a cache of ``P`` positions, whose reads and writes have the role ``state``.
    """
    from fxcost.costs.analysis import trace_given

    request = Request(symbolic, at, budget, attention, causal_skip, strict, leaves=tuple(leaves), mode=mode)
    return _as_called(
        trace_given(model, tuple(inputs), kwargs or {}, settings, request, warn, isolated=isolated), CostModel
    )


def _as_called(costs: data.Costs[Any], kind: type[Called]) -> Called:
    return kind(**{each.name: getattr(costs, each.name) for each in fields(costs)})

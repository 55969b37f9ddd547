"""Torch's symbolic sizes as the user's symbols: their names, the ranges and conditions they were traced under."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import linecache
import os
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from fractions import Fraction
from functools import partial
from pathlib import Path
from traceback import FrameSummary
from typing import Any, cast

import sympy
import torch
from torch._guards import SLoc
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxcost.errors import FxcostError
from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange
from fxcost.formulas.ranges.interval_arithmetic import Ends
from fxcost.formulas.ranges.propagation import tighten
from fxcost.formulas.with_sympy import apply, condition, settled, symbol
from fxcost.inputs import Dimension

SMALLEST_EXAMPLE = 2
"""Sizes 0 and 1 are special to tracing: broadcasting would be taken for a fact about the model."""


class TraceError(FxcostError):
    """The model cannot be traced with these inputs."""


class Refusal(TraceError):
    """What a run with real data does not do, or does by values that a trace does not have: no other way to trace helps."""


def place_of(sloc: Any) -> str:
    location = sloc.framework_loc
    if location is None or isinstance(location, str) or location.filename in TorchFiles():
        return ""
    return line_of(location.filename, location.lineno or 0)


def user_place(error: BaseException) -> str:
    """Where in code outside torch the error arose: `` (roi_heads.py:702, in postprocess)``."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in TorchFiles():
            place = f" ({_short(code.co_filename)}:{trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return place


def _short(filename: str) -> str:
    return str(Path(*Path(filename).parts[-3:]))


def line_of(filename: str, number: int) -> str:
    """A line of the user's code as conditions and pins tell it: its place, and what it says."""
    said = linecache.getline(filename, number).strip()
    return f"{_short(filename)}:{number}" + (f": {said}" if said else "")


def guard_places(_environment: ShapeEnv, framework_loc: str | None = None) -> SLoc:
    """Where a guard comes from: the line outside torch, and the place in torch that asked.

    Stands in for torch's own search, which stops at the first of the two.
    """
    frame, origin = sys._getframe(1), None  # pyright: ignore[reportPrivateUsage]  # as traceback.extract_stack does
    plumbing = symbolic_shapes.uninteresting_files()
    while frame is not None and frame.f_code.co_filename in TorchFiles():
        if origin is None and frame.f_code.co_filename not in plumbing:
            origin = f"{frame.f_code.co_filename.removeprefix(TorchFiles.root)} {frame.f_code.co_name}"
        frame = frame.f_back
    user = FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) if frame else None
    return SLoc(user, origin or framework_loc)


IN_A_KERNEL = ("_ops.py __call__", "_decomp/decompositions.py matmul")
"""Where guards come from that an operator's own kernel asked for, once the operator itself is recorded."""


IN_CONVOLUTION = "_subclasses/fake_impls.py conv"
"""Where a guard comes from that the choice of a convolution's CPU kernel asked for."""


def _is_about_layout(guard: Any, origin: str | None, batches: AbstractSet[sympy.Symbol]) -> bool:
    """Whether a guard is about the strides of a result, not about what runs.

    Kernels ask whether a size is 1, and convolutions on the CPU whether the batch is below 16.
    """
    if origin == IN_CONVOLUTION:
        return guard.free_symbols <= batches
    return origin in IN_A_KERNEL and isinstance(guard, (sympy.Gt, sympy.Ne)) and 1 in guard.args


class TorchFiles:
    """Source files of torch, and of this package, which never are the place in the user's code that a guard comes from."""

    root = str(Path(torch.__file__).parent) + os.sep
    own = str(Path(__file__).parents[2]) + os.sep

    def __contains__(self, filename: str) -> bool:
        return filename.startswith((self.root, self.own, "<frozen ", "<eval_with_key>"))


class Naming:
    """Which of the user's letters each symbol of torch stands for, and which letters the model pins."""

    def __init__(
        self,
        environment: ShapeEnv | None,
        bounds: Mapping[sympy.Symbol, tuple[sympy.Expr, sympy.Expr]],
        symbolic: tuple[str, ...],
        sizes: Mapping[str, int],
    ) -> None:
        self.environment = environment
        self.symbolic = symbolic
        self.sizes = {n: max(size, SMALLEST_EXAMPLE) for n, size in sizes.items()}
        self.bounds = bounds
        self.names: dict[sympy.Symbol, sympy.Expr] = {}
        self.fixed = {n: Pinned(size, "not named in --symbolic") for n, size in sizes.items() if n not in symbolic}
        self.tied: list[tuple[str, sympy.Expr]] = []
        self.batches: set[sympy.Symbol] = set()

    def read(self, value: torch.Tensor, dims: tuple[Dimension, ...]) -> None:
        """Learn from one input: its traced sizes beside the user's dimensions."""
        for axis, (size, dim) in enumerate(zip(cast("tuple[Any, ...]", value.shape), dims, strict=True)):
            if not isinstance(dim, str) or dim not in self.symbolic:
                continue
            raw = size.node._expr if isinstance(size, torch.SymInt) else None
            if raw is not None and raw.is_Symbol:
                self.names[raw] = symbol(dim)
                if axis == 0:
                    self.batches.add(raw)
            if raw is None or size.node.expr.is_Integer:
                self.fixed[dim] = Pinned(int(size), self._place_of_pin(raw, dim, int(size)))
            elif size.node.expr != raw:
                self.tied.append((dim, size.node.expr))

    def _place_of_pin(self, raw: sympy.Symbol | None, dim: str, size: int) -> str:
        for guard in self.environment.guards if self.environment else ():
            if raw is not None and raw in guard.expr.free_symbols and (place := place_of(guard.sloc)):
                return place
        return f"the model was exported for {dim}={size} only"

    def validity(
        self, convert: "Converter", carried: list[Condition]
    ) -> tuple[dict[str, SymbolRange], tuple[Condition, ...]]:
        """Each free symbol's range, and the relations the trace took for granted that the ranges do not imply.

        ``carried`` are the conditions that an exported program brings along.
        """
        found = [condition(symbol(dim), "==", convert(expr), "two inputs' sizes must agree") for dim, expr in self.tied]
        found += carried
        for guard in self.environment.guards if self.environment else ():
            if not _is_about_layout(guard.expr, guard.sloc.maybe_user_loc, self.batches):
                found += _conditions(guard.expr, convert, place_of(guard.sloc), self.sizes)
        ranges = {name: SymbolRange() for name in self.symbolic if name not in self.fixed}
        for raw, name in self.names.items():
            if raw in self.bounds and str(name) in ranges:
                ranges[str(name)] = SymbolRange(
                    max(_integer(self.bounds[raw][0]) or 1, 1), _integer(self.bounds[raw][1])
                )
        return tighten(ranges, list(dict.fromkeys(found)))


def _integer(bound: sympy.Expr) -> int | None:
    return int(bound) if bound.is_Integer else None


def _conditions(guard: Any, convert: "Converter", where: str, example: Mapping[str, int]) -> list[Condition]:
    if isinstance(guard, sympy.And):
        return [c for part in guard.args for c in _conditions(part, convert, where, example)]
    flips = {sympy.Le: ">=", sympy.Lt: ">"}
    keeps = {sympy.Ge: ">=", sympy.Gt: ">", sympy.Eq: "==", sympy.Ne: "!="}
    for kind, relation in (*flips.items(), *keeps.items()):
        if isinstance(guard, kind):
            left, right = convert(guard.lhs), convert(guard.rhs)
            if kind in flips:
                left, right = right, left
            return [condition(left, relation, right, where)]  # pyright: ignore[reportArgumentType]  # one of the four
    if guard in (sympy.true, True):
        return []
    if isinstance(guard, sympy.Or):
        # Any part that held is enough to keep; keeping one narrows where the formulas hold, and never widens it.
        for part in guard.args:
            kept = _conditions(part, convert, where, example)
            if all(condition.holds(example) for condition in kept):
                return kept
    raise TraceError(
        f"the model was traced under {guard} ({where}), a kind of condition that cannot be kept with the formulas"
    )


EXACT_DENOMINATOR = 2**10
"""Factors such as 0.5 or 1.75, a whole number over a small power of two, multiply any size without rounding."""


class Converter:
    """Torch's sizes, with its own floors and remainders, as plain sympy in the user's symbols."""

    def __init__(self, names: Mapping[sympy.Symbol, sympy.Expr]) -> None:
        self.names = names
        self.pins: dict[str, int] = {}
        self.ends: Ends = {}
        self.cache: dict[sympy.Basic, sympy.Expr] = {}

    def pin(self, pins: Mapping[str, int]) -> None:
        """From here on put these sizes in the place of their letters."""
        self.pins = dict(pins)
        self.cache = {}

    def assume(self, ranges: Mapping[str, SymbolRange]) -> None:
        """From here on drop what the ranges make idle in a Min or Max."""
        self.ends = {name: each.ends for name, each in ranges.items()}
        self.cache = {}

    def __call__(self, size: Any) -> sympy.Expr:
        if isinstance(size, torch.SymInt):
            size = size.node.expr
        if isinstance(size, int):
            return sympy.Integer(size)
        found = self.cache.get(size)
        if found is None:
            found = self.cache[size] = self._convert(size)
        return found

    def _convert(self, expr: Any) -> sympy.Expr:
        if expr.is_Rational:
            return expr
        if expr.is_Float:
            exact = Fraction(float(expr))
            if exact.denominator > EXACT_DENOMINATOR:
                raise TraceError(
                    f"a size of the model is computed with the factor {float(expr):g}, whose rounding no exact formula follows; "
                    "keep that size fixed with --symbolic"
                )
            return sympy.Rational(exact.numerator, exact.denominator)
        if isinstance(expr, sympy.Symbol):
            name = self.names.get(expr)
            if name is None:
                raise TraceError(
                    f"a size of the model depends on the values of its data ({expr}), so no formula of its input sizes gives it.\n"
                    "Count the submodule that computes it as unknown with --leaf PATH"
                )
            return sympy.Integer(self.pins[str(name)]) if str(name) in self.pins else name
        build = _PLAIN.get(type(expr).__name__)
        if build is None:
            raise TraceError(f"a size of the model is {expr}; {type(expr).__name__} has no exact formula here")
        return settled(build(*map(self, expr.args)), self.ends)


def floor_of_quotient(above: sympy.Expr, below: sympy.Expr) -> sympy.Expr:
    """⌊above/below⌋; a floor inside, as strides one after the other make it, folds: ⌊(⌊x⌋ + c)/n⌋ = ⌊(x + c)/n⌋."""
    shift, rest = above.as_coeff_Add()
    if below.is_Integer and shift.is_Integer and isinstance(rest, sympy.floor):
        return apply(sympy.floor, (rest.args[0] + shift) / below)
    return apply(sympy.floor, above / below)


def _remainder(size: sympy.Expr, by: sympy.Expr) -> sympy.Expr:
    """``size`` mod ``by``; 0 where the quotient is whole whatever the symbols, as of ``B·S`` by ``B``."""
    quotient = size / by
    return sympy.Integer(0) if apply(sympy.floor, quotient) == quotient else apply(sympy.Mod, size, by)


_PLAIN: dict[str, Any] = {
    "Add": sympy.Add,
    "Mul": sympy.Mul,
    "Pow": sympy.Pow,
    "PowByNatural": sympy.Pow,
    "Mod": _remainder,
    "PythonMod": _remainder,
    "Max": partial(apply, sympy.Max),
    "Min": partial(apply, sympy.Min),
    "floor": partial(apply, sympy.floor),
    "ceiling": partial(apply, sympy.ceiling),
    "FloorDiv": floor_of_quotient,
    "CeilDiv": lambda a, b: apply(sympy.ceiling, a / b),
    "CleanDiv": lambda a, b: a / b,
    "IntTrueDiv": lambda a, b: a / b,
    "FloatTrueDiv": lambda a, b: a / b,
    "FloorToInt": partial(apply, sympy.floor),
    "CeilToInt": partial(apply, sympy.ceiling),
    "TruncToInt": partial(apply, sympy.floor),
    "ToFloat": lambda a: a,
    "Identity": lambda a: a,
}
"""Torch's size functions by name; sizes are never negative, so truncation is a floor."""


def hint_of(size: Any) -> int:
    return (
        int(size.node.hint)
        if isinstance(size, torch.SymInt) and size.node.hint is not None
        else (size if isinstance(size, int) else 1)
    )

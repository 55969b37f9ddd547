"""From a module to a graph of ATen operations with symbolic shapes; the one file that sees torch.export and SymInt."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from traceback import FrameSummary
from unittest import mock

import sympy
import torch
from torch._guards import SLoc
from torch.export import Dim, ExportedProgram
from torch.export import export as torch_export
from torch.fx import Graph, Node
from torch.fx.experimental import _config as shape_config
from torch.fx.experimental import symbolic_shapes
from torch.utils import _pytree as pytree

from fxcost.budget import BudgetExceeded, time_budget
from fxcost.conditions import Condition, Pinned, SymbolRange, tighten
from fxcost.errors import FxcostError
from fxcost.expressions import symbol
from fxcost.graph import LAYER, OUTPUTS, PARAMETER, SIZE, WEIGHT, Layer, TensorSpec, operations, placeholders
from fxcost.inputs import Arguments, InputSpec

SMALLEST_EXAMPLE = 2
"""Sizes 0 and 1 are special to tracing: broadcasting would be taken for a fact about the model."""


class TraceError(FxcostError):
    """The model cannot be traced with these inputs."""


class TraceTimeout(FxcostError):
    """The trace took longer than its budget."""


@dataclass(frozen=True)
class Traced:
    """A traced graph, annotated with `OUTPUTS`, `SIZE`, `LAYER`, `WEIGHT`, and where its formulas hold."""

    graph: Graph
    symbols: Mapping[str, SymbolRange]
    fixed: Mapping[str, Pinned]
    conditions: tuple[Condition, ...]
    modules: Mapping[str, str]
    program: ExportedProgram
    """Keeps the traced tensors alive: `TensorSpec.storage` is meaningful only while they are."""


def trace_module(
    module: torch.nn.Module,
    arguments: Arguments,
    sizes: Mapping[str, int],
    symbolic: tuple[str, ...],
    budget_seconds: float,
) -> Traced:
    """Export ``module`` with the sizes named in ``symbolic`` kept as symbols, the others fixed at ``sizes``.

    The module is left exactly as it was found. Raises `TraceTimeout` past the budget, `TraceError` when
    the model cannot run at these sizes or decides on values of its data.
    """
    example = {name: max(size, SMALLEST_EXAMPLE) if name in symbolic else size for name, size in sizes.items()}
    call = _Call(module, arguments, example)
    dims = [
        {axis: Dim.AUTO for axis, dim in enumerate(spec.dims) if dim in symbolic} or None for spec in arguments.specs()
    ]
    with _as_found(module), _export_settings():
        try:
            with time_budget(budget_seconds):
                program = torch_export(call, (call.tensors,), dynamic_shapes=(dims,), strict=False)
        except BudgetExceeded:
            raise TraceTimeout(f"tracing with {', '.join(symbolic) or 'no symbol'} took longer than {budget_seconds:g} s") from None
        except Exception as error:
            raise _explain(error, example) from error
    return _read(program, [(spec.name, spec.dims) for spec in arguments.specs()], sizes, symbolic, prefix="model", bounds={})


def trace_program(
    program: ExportedProgram, inputs: tuple[InputSpec, ...], sizes: Mapping[str, int], symbolic: tuple[str, ...]
) -> Traced:
    """Read an exported program; sizes that it holds fixed stay fixed, and are reported."""
    with _export_settings():
        program = _with_live_tensors(program)
    bounds = {raw: (ends.lower, ends.upper) for raw, ends in program.range_constraints.items()}
    return _read(program, [(spec.name, spec.dims) for spec in inputs], sizes, symbolic, prefix="", bounds=bounds)


class _Call(torch.nn.Module):
    """Calls the model with a flat list of tensors, so that any nesting of inputs exports alike."""

    def __init__(self, model: torch.nn.Module, arguments: Arguments, example: Mapping[str, int]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        device = next((p.device for p in model.parameters()), torch.device("meta"))
        is_spec = lambda leaf: isinstance(leaf, InputSpec)  # noqa: E731
        leaves, self.structure = pytree.tree_flatten((arguments.args, dict(arguments.kwargs or {})), is_leaf=is_spec)
        self.leaves = leaves
        self.tensors = [_example_tensor(leaf, example, device) for leaf in leaves if is_spec(leaf)]

    def forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, InputSpec) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(filled, self.structure)
        return list(_tensors_of(self.model(*args, **kwargs)))


def _example_tensor(spec: InputSpec, example: Mapping[str, int], device: torch.device) -> torch.Tensor:
    shape = [example[dim] if isinstance(dim, str) else dim for dim in spec.dims]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype), device=device)


def _tensors_of(output: Any) -> Iterator[torch.Tensor]:
    # A tensor that is not found here would be removed with all that computes it, and its cost with it.
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, (type, torch.dtype)):
            yield from _tensors_of(vars(leaf))
        elif not isinstance(leaf, (int, float, str, bool, complex, type(None), torch.SymInt, torch.dtype, torch.device)):
            raise TraceError(f"the model returns a {type(leaf).__name__}, which cannot be searched for tensors")


@contextmanager
def _as_found(module: torch.nn.Module) -> Iterator[None]:
    """Trace in eval mode; put back every submodule's mode, the random state and the attention setting."""
    modes = {each: each.training for each in module.modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        with torch.random.fork_rng(devices=[]):
            module.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for each, training in modes.items():
            each.training = training


def _places(_environment: symbolic_shapes.ShapeEnv, framework_loc: str | None = None) -> SLoc:
    """Where a guard comes from: the line outside torch, and the place in torch that asked.

    Stands in for torch's own search, which stops at the first of the two.
    """
    frame, origin = sys._getframe(1), None  # pyright: ignore[reportPrivateUsage]  # as traceback.extract_stack does
    plumbing = symbolic_shapes.uninteresting_files()
    while frame is not None and frame.f_code.co_filename in _TorchFiles():
        if origin is None and frame.f_code.co_filename not in plumbing:
            origin = f"{frame.f_code.co_filename.removeprefix(_TorchFiles.root)} {frame.f_code.co_name}"
        frame = frame.f_back
    user = FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) if frame else None
    return SLoc(user, origin or framework_loc)


IN_A_KERNEL = "_ops.py __call__"
"""Where a guard comes from that an operator's own kernel asked for."""


def _is_about_layout(guard: Any, origin: str | None) -> bool:
    """Whether a guard only asks if a size is 1, inside a kernel: for the strides of its result, not for what runs."""
    asks_for_one = isinstance(guard, (sympy.Gt, sympy.Ne)) and 1 in guard.args
    return origin == IN_A_KERNEL and asks_for_one


class _TorchFiles:
    """Source files of torch itself, which never are the place in the user's code that a guard comes from."""

    root = str(Path(torch.__file__).parent) + os.sep

    def __contains__(self, filename: str) -> bool:
        return filename.startswith((self.root, "<")) or filename == __file__


@contextmanager
def _export_settings() -> Iterator[None]:
    with ExitStack() as stack:
        # Without it a batch of 1 is outside every formula, and `if batch > 1` in a model leaves no guard behind.
        stack.enter_context(mock.patch.object(shape_config, "backed_size_oblivious", True))
        stack.enter_context(mock.patch.object(symbolic_shapes.ShapeEnv, "_get_sloc", _places))
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        yield


def _explain(error: Exception, example: Mapping[str, int]) -> FxcostError:
    """The trace's failure in two lines: what happened, and what to do."""
    if isinstance(error, FxcostError):
        return error
    if isinstance(error, symbolic_shapes.GuardOnDataDependentSymNode) or "data-dependent" in str(error).lower():
        return TraceError(
            f"the model decides by the values of its data{_user_place(error)}, so its cost is no formula of its input sizes.\n"
            "Trace the part before that, such as its backbone, through a factory of your own: path/to/file.py:factory"
        )
    at = ", ".join(f"{name}={size}" for name, size in example.items()) or "its inputs"
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
    return TraceError(f"the model does not run at {at}: {type(error).__name__}: {said[:200]}\nTry other sizes with --at, or other inputs with --input{_user_place(error)}")


def _user_place(error: BaseException) -> str:
    """Where in code outside torch the error arose: `` (roi_heads.py:702, in postprocess)``."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in _TorchFiles():
            place = f" ({_short(code.co_filename)}:{trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return place


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-3:])


# Reading the program


def _read(
    program: ExportedProgram,
    inputs: list[tuple[str, tuple[int | str, ...]]],
    sizes: Mapping[str, int],
    symbolic: tuple[str, ...],
    prefix: str,
    bounds: Mapping[sympy.Symbol, tuple[sympy.Expr, sympy.Expr]],
) -> Traced:
    signature = program.graph_signature
    environment = _shape_environment(program)
    user_inputs = [n for n in placeholders(program.graph) if n.name in signature.user_inputs]
    naming = _Naming(environment, bounds, symbolic, sizes)
    for node, (_, dims) in zip(_tensor_inputs(user_inputs), inputs, strict=True):
        naming.read(node.meta["val"], dims)
    convert = _Converter(naming.names)
    modules: dict[str, str] = {}
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    for node in program.graph.nodes:
        _annotate(node, convert, modules, prefix)
        if node.op == "placeholder" and node.name in weights:
            node.meta[WEIGHT.name] = weights[node.name].removeprefix(prefix).removeprefix(".")
            if node.name in signature.inputs_to_parameters:
                node.meta[PARAMETER.name] = node.meta["val"].numel()
    ranges, conditions = naming.validity(convert)
    return Traced(program.graph, ranges, naming.fixed, conditions, modules, program)


def _tensor_inputs(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]


def _shape_environment(program: ExportedProgram) -> symbolic_shapes.ShapeEnv | None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and getattr(value, "fake_mode", None) is not None:
            return value.fake_mode.shape_env  # pyright: ignore[reportAttributeAccessIssue]  # fake tensors have one
    return None


class _Naming:
    """Which of the user's letters each symbol of torch stands for, and which letters the model pins."""

    def __init__(
        self,
        environment: symbolic_shapes.ShapeEnv | None,
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

    def read(self, value: torch.Tensor, dims: tuple[int | str, ...]) -> None:
        """Learn from one input: its traced sizes beside the user's dimensions."""
        for size, dim in zip(value.shape, dims, strict=True):
            if not isinstance(dim, str) or dim not in self.symbolic:
                continue
            raw = size.node._expr if isinstance(size, torch.SymInt) else None
            if raw is not None and raw.is_Symbol:
                self.names[raw] = symbol(dim)
            if raw is None or size.node.expr.is_Integer:
                self.fixed[dim] = Pinned(int(size), self._place_of_pin(raw, dim, int(size)))
            elif size.node.expr != raw:
                self.tied.append((dim, size.node.expr))

    def _place_of_pin(self, raw: sympy.Symbol | None, dim: str, size: int) -> str:
        for guard in self.environment.guards if self.environment else ():
            if raw is not None and raw in guard.expr.free_symbols and (place := _place(guard.sloc)):
                return place
        return f"the model was exported for {dim}={size} only"

    def validity(self, convert: "_Converter") -> tuple[dict[str, SymbolRange], tuple[Condition, ...]]:
        """Each free symbol's range, and the relations the trace took for granted that the ranges do not imply."""
        pins = {name: pin.value for name, pin in self.fixed.items()}
        convert.pin(pins)
        found = [Condition(symbol(dim), "==", convert(expr), "two inputs' sizes must agree") for dim, expr in self.tied]
        for guard in self.environment.guards if self.environment else ():
            if not _is_about_layout(guard.expr, guard.sloc.maybe_user_loc):
                found += _conditions(guard.expr, convert, _place(guard.sloc), self.sizes)
        ranges = {name: SymbolRange() for name in self.symbolic if name not in self.fixed}
        for raw, name in self.names.items():
            if raw in self.bounds and str(name) in ranges:
                ranges[str(name)] = SymbolRange(max(_integer(self.bounds[raw][0]) or 1, 1), _integer(self.bounds[raw][1]))
        return tighten(ranges, list(dict.fromkeys(found)))


def _conditions(guard: Any, convert: "_Converter", where: str, example: Mapping[str, int]) -> list[Condition]:
    if isinstance(guard, sympy.And):
        return [c for part in guard.args for c in _conditions(part, convert, where, example)]
    flips = {sympy.Le: ">=", sympy.Lt: ">"}
    keeps = {sympy.Ge: ">=", sympy.Gt: ">", sympy.Eq: "==", sympy.Ne: "!="}
    for kind, relation in (*flips.items(), *keeps.items()):
        if isinstance(guard, kind):
            left, right = convert(guard.lhs), convert(guard.rhs)
            if kind in flips:
                left, right = right, left
            return [Condition(left, relation, right, where)]  # pyright: ignore[reportArgumentType]  # one of the four
    if guard in (sympy.true, True):
        return []
    if isinstance(guard, sympy.Or):
        # Any part that held is enough to keep; keeping one narrows where the formulas hold, and never widens it.
        for part in guard.args:
            kept = _conditions(part, convert, where, example)
            if all(condition.holds(example) for condition in kept):
                return kept
    raise TraceError(f"the model was traced under {guard} ({where}), a kind of condition that cannot be kept with the formulas")


def _place(sloc: Any) -> str:
    location = sloc.framework_loc
    if location is None or isinstance(location, str) or location.filename in _TorchFiles():
        return ""
    line = (location.line or "").strip()
    return f"{_short(location.filename)}:{location.lineno}" + (f": {line}" if line else "")


class _Converter:
    """Torch's sizes, with its own floors and remainders, as plain sympy in the user's symbols."""

    def __init__(self, names: Mapping[sympy.Symbol, sympy.Expr]) -> None:
        self.names = names
        self.pins: dict[str, int] = {}
        self.cache: dict[sympy.Basic, sympy.Expr] = {}

    def pin(self, pins: Mapping[str, int]) -> None:
        """From here on put these sizes in the place of their letters."""
        self.pins = {name: value for name, value in pins.items()}
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
            return sympy.Rational(exact.numerator, exact.denominator)
        if isinstance(expr, sympy.Symbol):
            name = self.names.get(expr)
            if name is None:
                raise TraceError(f"a size of the model depends on the values of its data ({expr}), so no formula of its input sizes gives it")
            return sympy.Integer(self.pins[str(name)]) if str(name) in self.pins else name
        build = _PLAIN.get(type(expr).__name__)
        if build is None:
            raise TraceError(f"a size of the model is {expr}; {type(expr).__name__} has no exact formula here")
        return build(*map(self, expr.args))


def _floor_of_quotient(above: sympy.Expr, below: sympy.Expr) -> sympy.Expr:
    """⌊above/below⌋; a floor inside, as strides one after the other make it, folds: ⌊(⌊x⌋ + c)/n⌋ = ⌊(x + c)/n⌋."""
    shift, rest = above.as_coeff_Add()
    if below.is_Integer and shift.is_Integer and isinstance(rest, sympy.floor):
        return sympy.floor((rest.args[0] + shift) / below)
    return sympy.floor(above / below)


_PLAIN: dict[str, Any] = {
    "Add": sympy.Add,
    "Mul": sympy.Mul,
    "Pow": sympy.Pow,
    "PowByNatural": sympy.Pow,
    "Mod": sympy.Mod,
    "PythonMod": sympy.Mod,
    "Max": sympy.Max,
    "Min": sympy.Min,
    "floor": sympy.floor,
    "ceiling": sympy.ceiling,
    "FloorDiv": _floor_of_quotient,
    "CeilDiv": lambda a, b: sympy.ceiling(a / b),
    "CleanDiv": lambda a, b: a / b,
    "IntTrueDiv": lambda a, b: a / b,
    "FloatTrueDiv": lambda a, b: a / b,
    "FloorToInt": sympy.floor,
    "CeilToInt": sympy.ceiling,
    "TruncToInt": sympy.floor,
    "ToFloat": lambda a: a,
    "Identity": lambda a: a,
}
"""Torch's size functions by name; sizes are never negative, so truncation is a floor."""


def _annotate(node: Node, convert: _Converter, modules: dict[str, str], prefix: str) -> None:
    value = node.meta.get("val")
    tensors = value if isinstance(value, (list, tuple)) else (value,)
    node.meta[OUTPUTS.name] = tuple(_spec(t, convert) for t in tensors if isinstance(t, torch.Tensor))
    if isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool):
        node.meta[SIZE.name] = convert(value)
    if node.op == "call_function":
        node.meta[LAYER.name] = _layer(node, modules, prefix)


def _spec(tensor: torch.Tensor, convert: _Converter) -> TensorSpec:
    return TensorSpec(
        shape=tuple(map(convert, tensor.shape)),
        strides=tuple(map(convert, tensor.stride())),
        dtype=str(tensor.dtype).removeprefix("torch."),
        storage=tensor.untyped_storage()._cdata,
        offset=convert(tensor.storage_offset()),
        overlapping=_overlaps(tensor),
    )


def _overlaps(tensor: torch.Tensor) -> bool:
    dims = [(_hint(size), _hint(stride)) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    reach, indices = 1, 1
    for size, stride in dims:
        if stride and size:
            reach, indices = reach + (size - 1) * stride, indices * size
    return indices > reach


def _hint(size: Any) -> int:
    return int(size.node.hint) if isinstance(size, torch.SymInt) and size.node.hint is not None else (size if isinstance(size, int) else 1)


def _layer(node: Node, modules: dict[str, str], prefix: str) -> Layer:
    layer = Layer("", "")
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        if path == kind or not (path == prefix or path.startswith(f"{prefix}.") or not prefix):
            continue
        name = re.sub(r"@\d+", "", path.removeprefix(prefix).removeprefix("."))
        type_name = (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
        layer = Layer(name, type_name)
        modules.setdefault(name, type_name)
    return layer


def _with_live_tensors(program: ExportedProgram) -> ExportedProgram:
    """Run the program once more on its own symbolic tensors: a file keeps sizes, but not which tensors alias."""
    environment = _shape_environment(program)
    values = {n: n.meta.get("val") for n in placeholders(program.graph)}
    mode = next((v.fake_mode for v in values.values() if isinstance(v, torch.Tensor)), None)
    if environment is None or mode is None:
        raise TraceError("the program has no traced tensors; export it again with torch.export")
    for node in operations(program.graph):
        args, kwargs = torch.fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: values[n])
        with mode:
            values[node] = node.meta["val"] = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]  # an operator
    return program


def loaded_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` file, which runs as Python does: only for files the user named as a model.

    Raises `TraceError` when it is no exported program.
    """
    try:
        return torch.export.load(path)
    except Exception as error:
        raise TraceError(f"{path} is not a program saved by torch.export.save: {str(error).splitlines()[0][:160]}") from error


def program_arguments(program: ExportedProgram) -> Arguments:
    """The inputs of an exported program, dimensions by convention: batch and image size, or batch and sequence."""
    names = set(program.graph_signature.user_inputs)
    nodes = _tensor_inputs([n for n in placeholders(program.graph) if n.name in names])
    return Arguments(tuple(conventional_spec(node.name, node.meta["val"]) for node in nodes))


def conventional_spec(name: str, tensor: torch.Tensor) -> InputSpec:
    """Name a tensor's dimensions: ``B,3,H,W`` for images, ``B,S`` for tokens, ``B`` first for anything else."""
    shape = [_hint(size) for size in tensor.shape]
    dims: list[int | str] = list(shape)
    if dims:
        dims[0] = "B"
    if len(dims) == 4 and tensor.is_floating_point():
        dims[2:] = ["H", "W"]
    elif len(dims) == 2 and not tensor.is_floating_point():
        dims[1] = "S"
    return InputSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(dims))



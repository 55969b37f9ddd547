"""From a module, or an exported program, to a graph of ATen operations with symbolic shapes."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import gc
import io
import logging
import re
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch.export import Dim, ExportedProgram
from torch.export import export as torch_export
from torch.fx.experimental import _config as shape_config
from torch.fx.experimental import symbolic_shapes
from torch.jit._fuser import optimized_execution
from torch.nn.parameter import UninitializedBuffer, is_lazy
from torch.utils import _pytree as pytree

from fxcost.errors import FxcostError
from fxcost.graph import STATE, placeholders
from fxcost.inputs import NUMBER, Arguments, InputSpec
from fxcost.tracing.budget import BudgetExceeded, within
from fxcost.tracing.environment.answers import AS_EXPORTED, lacks_data, without_fast_path
from fxcost.tracing.environment.known_values import Known, keep
from fxcost.tracing.environment.random_draws import DRAWN, Draws
from fxcost.tracing.environment.restoration import PutBack, as_found
from fxcost.tracing.export.examples import Named
from fxcost.tracing.export.reading import Traced, read_program, tensor_inputs, with_live_tensors
from fxcost.tracing.export.writing import write
from fxcost.tracing.recording.lifetimes import Watch, write_lifetimes
from fxcost.tracing.recording.recorder import DataMissing, record, without_memory
from fxcost.tracing.recording.replay import Manner, replayed
from fxcost.tracing.recording.validation import Mismatch, Run
from fxcost.tracing.sizes.naming import SMALLEST_EXAMPLE, Refusal, TraceError, guard_places, user_place
from fxcost.tracing.sizes.symbolic import Sizes
from fxcost.tracing.sizes.tensors import every_tensor_in

REHEARSAL_SECONDS = 60.0
T = TypeVar("T")


class TraceTimeout(FxcostError):
    """The trace took longer than its budget."""


def trace_module(
    module: torch.nn.Module,
    arguments: Arguments,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    budget_seconds: float,
) -> Traced:
    """Export ``module`` with the sizes named in ``symbolic`` kept as symbols, the others fixed at ``sizes``.

    The module is left exactly as it was found. Raises `TraceTimeout` past the budget, `TraceError` when
    the model cannot run at these sizes or decides on values of its data.
    """
    example = _example(sizes, symbolic)
    call = _Call(module, arguments, example)
    dims = [
        {axis: Dim.AUTO for axis, dim in enumerate(spec.dims) if dim in symbolic} or None for spec in arguments.specs()
    ]
    doing = f"tracing with {_listed(symbolic)}"

    def export() -> ExportedProgram:
        with device_of(module):
            return torch_export(call, (call.tensors,), dynamic_shapes=(dims,), strict=False)

    with _as_found(module), _export_settings():
        program = _within(budget_seconds, doing, example, export)
    try:
        return read_program(program, arguments.specs(), sizes, tuple(symbolic), prefix="model", bounds={}, guards=[])
    except NotImplementedError as error:  # a tensor of a function transform, which has no storage
        raise TraceError(f"the model runs under a function transform that is not followed: {error}") from error


def record_module(
    module: torch.nn.Module,
    arguments: Arguments,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    budget_seconds: float,
    leaves: tuple[str, ...] = (),
) -> Traced:
    """Record one run of ``module`` with the sizes named in ``symbolic``, each a multiple, carried along.

    The module is left as found.

    The submodules named in ``leaves`` are each one step, whatever they do. Raises `TraceTimeout` past the budget, `TraceError` when the model cannot be recorded.
    """
    example = _example(sizes, symbolic)
    doing = f"recording with {_listed(symbolic)}"
    draws = Draws()
    plain_manner: list[Manner] = []

    def run(given: Mapping[str, Any], carried: Sizes, manner: Manner, watch: Watch | None = None) -> Run:
        call = _Call(module, arguments, given)
        try:
            with torch.random.fork_rng(devices=[]), draws.seeded():
                recording = record(
                    module,
                    lambda: call(call.tensors),
                    carried,
                    leaves,
                    exported=manner.exported or manner.uncached,
                    hashing=manner.hashing,
                    whole=manner.whole,
                    watch=watch,
                )
        finally:
            put_back()  # what a run leaves behind, such as a cache, must not change the next
        if manner.exported:
            recording.assume(AS_EXPORTED)
        if not carried.atoms:
            plain_manner.append(manner)
        return Run(module, recording, call.tensors)

    def watched() -> Watch:
        watch = Watch()
        run(example, Sizes(), plain_manner[-1], watch)
        return watch

    with _without_collection(), _as_found(module) as keep, _in_silence():
        without_memory(module)
        put_back = keep()
        try:
            traced = _within(budget_seconds, doing, example, lambda: replayed(run, sizes, symbolic, example))
        except Mismatch as error:
            if draws.drawn:
                raise Refusal(
                    f"the model draws random numbers with Python's random or NumPy, and runs otherwise with others: {error}"
                ) from error
            raise
        if not traced.ended:
            with suppress(FxcostError):  # without it lifetimes follow from the graph
                write_lifetimes(traced.graph, _within(budget_seconds, "watching a run", example, watched))
    if draws.drawn:
        traced = replace(traced, assumptions=(*traced.assumptions, DRAWN))
    for node, spec in zip(placeholders(traced.graph), arguments.specs(), strict=False):
        if spec.state:
            write(node, STATE, value=True)
    return traced


def rehearse(module: torch.nn.Module, arguments: Arguments, sizes: Mapping[str, int]) -> int:
    """Call ``module`` once as a recorded run does, on tensors without memory, and count the tensors it makes; it is left as found.

    For what a call shows of itself, such as the shapes that it hands to its cache. Raises `TraceError` when it does not run.
    """

    def run() -> int:
        call = _Call(module, arguments, sizes)
        try:
            steps = record(module, lambda: call(call.tensors), Sizes()).steps
        except DataMissing:
            steps = record(module, lambda: call(call.tensors), Sizes(), exported=True).steps
        return sum(1 for step in steps for _ in step.made)

    with _as_found(module), _in_silence():
        without_memory(module)
        return _within(REHEARSAL_SECONDS, "a first run", sizes, run)


def materialized(module: torch.nn.Module, arguments: Arguments, sizes: Mapping[str, int]) -> torch.nn.Module:
    """The module; of one with lazy modules a copy, in which they have what a first call at these sizes gives them."""
    if not any(is_lazy(each) for each in chain(module.parameters(), module.buffers())):
        return module

    copied = _copy_of_lazy(module)

    def run() -> None:
        call = _Call(copied, arguments, sizes)
        call(call.tensors)

    with torch.random.fork_rng(devices=[]), _in_silence():
        _within(REHEARSAL_SECONDS, "a first run, for lazy modules,", sizes, run)
    return copied


def _copy_of_lazy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy, since a first call changes the classes of lazy modules, and of their parameters."""
    buffers = (each for each in module.buffers() if is_lazy(each))  # which torch, unlike parameters, does not copy
    copies: dict[int, Any] = {id(each): UninitializedBuffer().to(each.device, each.dtype) for each in buffers}
    try:
        return deepcopy(module, copies)
    except Exception as error:
        raise FxcostError(
            f"{type(module).__name__} has lazy modules and cannot be copied: {error}\n"
            "Call it once before it is traced, which gives them their parameters"
        ) from error


def trace_program(
    program: ExportedProgram, inputs: tuple[InputSpec, ...], sizes: Mapping[str, int], symbolic: tuple[str, ...]
) -> Traced:
    """Read an exported program; sizes that it holds fixed stay fixed, and are reported."""
    with _export_settings():
        program = with_live_tensors(program)
    bounds = {raw: (ends.lower, ends.upper) for raw, ends in program.range_constraints.items()}
    return read_program(program, inputs, sizes, symbolic, prefix="", bounds=bounds, guards=program._guards_code)


def _example(sizes: Mapping[str, int], symbolic: Mapping[str, int]) -> dict[str, int]:
    return {name: max(size, SMALLEST_EXAMPLE * symbolic.get(name, 0)) for name, size in sizes.items()}


def _listed(symbolic: Mapping[str, int]) -> str:
    return ", ".join(symbolic) or "no symbol"


def _within(budget_seconds: float, doing: str, example: Mapping[str, int], work: Callable[[], T]) -> T:
    """What the work gives within the budget; what goes wrong is told in two lines."""
    try:
        return within(budget_seconds, work)
    except BudgetExceeded:
        raise TraceTimeout(f"{doing} took longer than {budget_seconds:g} s") from None
    except Exception as error:
        raise _explain(error, example) from error


class _Call(torch.nn.Module):
    """Calls the model with a flat list of tensors, so that any nesting of inputs exports alike."""

    def __init__(self, model: torch.nn.Module, arguments: Arguments, example: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.training = getattr(model, "training", False)  # a frozen module of TorchScript has no mode
        device = device_of(model)
        is_spec = lambda leaf: isinstance(leaf, InputSpec)  # noqa: E731
        self.caller = lambda: arguments.caller(model, example)  # as an attribute the model would be there twice
        leaves, self.structure = pytree.tree_flatten((arguments.args, dict(arguments.kwargs or {})), is_leaf=is_spec)
        self.leaves = [leaf.number(example) if is_spec(leaf) and leaf.dtype == NUMBER else leaf for leaf in leaves]
        self.tensors = [_example_tensor(leaf, example, device) for leaf in self.leaves if is_spec(leaf)]

    def forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, InputSpec) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(filled, self.structure)
        return list(every_tensor_in(self.caller()(*args, **kwargs)))


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the model's tensors are; nowhere in memory for a model that has none."""
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("meta"))


def _example_tensor(spec: InputSpec, example: Mapping[str, Any], device: torch.device) -> torch.Tensor:
    tensor = torch.zeros(spec.shape(example, torch.sym_min), dtype=getattr(torch, spec.dtype), device=device)
    if spec.value is not None:
        keep(tensor, Known(spec.number(example)))
    return tensor


@contextmanager
def _as_found(module: torch.nn.Module) -> Generator[Callable[[], PutBack]]:
    """Trace in eval mode; put back all that the modules hold, and the random state. Gives what `as_found` does."""
    with torch.random.fork_rng(devices=[]), as_found(module) as keep:
        with suppress(NotImplementedError):  # a program that was exported has one mode
            module.eval()
        yield keep


@contextmanager
def _export_settings() -> Generator[None]:
    # Without the first a batch of 1 is outside every formula, and `if batch > 1` in a model leaves no guard behind.
    with (
        mock.patch.object(shape_config, "backed_size_oblivious", True),
        mock.patch.object(symbolic_shapes.ShapeEnv, "_get_sloc", guard_places),
        without_fast_path(lambda: None),
        _in_silence(),
    ):
        yield


@contextmanager
def _without_collection() -> Generator[None]:
    """A recording makes many objects that all live until its end; searching them for garbage doubles its time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _in_silence() -> Generator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        # What optimises TorchScript takes sizes for numbers.
        stack.enter_context(optimized_execution(False))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        # A failed export prints its whole graph, thousands of lines; a model may print too.
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        yield


def _explain(error: Exception, example: Mapping[str, int]) -> FxcostError:
    """The trace's failure in two lines: what happened, and what to do."""
    if isinstance(error, FxcostError):
        return error
    if operator := _without_shape(error.__cause__ if isinstance(error, DataMissing) else error):
        return TraceError(
            f"the model calls {operator}{user_place(error.__cause__ or error)}, which does not say what it gives without data.\n"
            "Tell torch with torch.library.register_fake, or count the submodule that calls it as unknown with --leaf PATH"
        )
    if isinstance(error, DataMissing) or lacks_data(error):
        kind = Refusal if isinstance(error, DataMissing) and error.swallowed else TraceError
        return kind(
            f"the model decides by the values of its data{user_place(error.__cause__ or error)}, so its cost is no formula of its input sizes.\n"
            "Count the submodule that does so as unknown with --leaf PATH; or give whole numbers that it reads, such as lengths, "
            "their value (--input 'lengths: int64[B] = 16')"
        )
    if kind := re.search(r"sparse|nested", f"{type(error).__name__}: {error}", re.IGNORECASE):
        return TraceError(
            f"the model makes {kind[0].lower()} tensors{user_place(error)}, whose cost depends on their data and which are not recorded\n"
            "Use dense ones, or count the submodule that makes them as unknown with --leaf PATH"
        )
    at = ", ".join(f"{name}={size}" for name, size in example.items()) or "its inputs"
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
    said = re.sub(r"\bs\d+\b", "another size", said)  # torch's own name of a symbol
    return TraceError(
        f"the model does not run at {at}: {type(error).__name__}: {said[:200]}\nTry other sizes with --at, or other inputs with --input{user_place(error)}"
    )


def _without_shape(error: BaseException | None) -> str:
    """The operator, not of torch's own, that a failure names as one that runs on real tensors alone."""
    found = re.search(r"\b(\w+::\w+)\b.*?(?:fake impl|Meta kernel)", str(error), re.DOTALL)
    return found[1] if found and not found[1].startswith("aten::") else ""


def loaded_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` file, which runs as Python does: only for files the user named as a model.

    Raises `TraceError` when it is no exported program.
    """
    try:
        return torch.export.load(path)
    except Exception as error:
        raise TraceError(
            f"{path} is not a program saved by torch.export.save: {str(error).splitlines()[0][:160]}"
        ) from error


def program_arguments(program: ExportedProgram) -> tuple[Arguments, dict[str, int]]:
    """The inputs of an exported program, dimensions named by convention, and the sizes it was exported with."""
    names = set(program.graph_signature.user_inputs)
    nodes = tensor_inputs([n for n in placeholders(program.graph) if n.name in names])
    named = Named.after({node.name: node.meta["val"] for node in nodes}, None)
    return Arguments(tuple(named.specs.values())), named.sizes

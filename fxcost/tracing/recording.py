"""One run of a model on tensors without memory, recorded operator by operator, its sizes carried along.

The operators that run before any is taken apart, at torch's ``PreDispatch`` key, are those that `torch.export` records.
This is a private interface of torch, and this file is the only one that uses it.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's dispatch modes are private and untyped; this folder is the border that keeps them from the rest.

import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch._dispatch.python import enable_pre_dispatch, enable_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode

from fxcost.errors import FxcostError
from fxcost.graph import Layer
from fxcost.tracing.attributes import Attributes
from fxcost.tracing.carried import Sizes
from fxcost.tracing.polynomials import Rounded, TooManyAnswers
from fxcost.tracing.repeating import Repeats
from fxcost.tracing.restoring import script_attributes
from fxcost.tracing.sizes import TorchFiles, TraceError, line_of
from fxcost.tracing.steps import Recording, Step, every_tensor_in, likeness, storage_of, tensors_in

aten = torch.ops.aten
_OPERATORS = torch.library.Library("fxcost", "DEF")
_OPERATORS.define("leaf(Tensor[] inputs, Tensor[] weights) -> Tensor[]")
_OPERATORS.define("unreached(Tensor[] weights) -> Tensor[]")
LEAF, UNREACHED = torch.ops.fxcost.leaf.default, torch.ops.fxcost.unreached.default
META = torch.device("meta")


Runner = Callable[[torch.nn.Module, Callable[..., Any], Any, Any], Any]
"""Runs a module: given it, what runs it in the usual way, and its arguments by place and by name."""


class _RunEnded(BaseException):
    """A leaf could not be run; not an `Exception`, so that the model cannot swallow it."""


class _Recorder(SchemaCheckMode):
    """Torch lets a subclass of one of three modes of its own see operators at this key; this is the plainest of them."""

    def __init__(self, recording: Recording, sizes: Sizes, layer: Callable[[], Layer]) -> None:
        super().__init__()
        self._dispatch_key = torch._C.DispatchKey.PreDispatch
        self.recording, self.sizes, self.layer = recording, sizes, layer
        self.known: dict[Any, list[Any] | None] = {}
        self.looks = True

    @contextmanager
    def unseen(self) -> Generator[None]:
        """Record nothing while this lasts."""
        looked, self.looks = self.looks, False
        try:
            yield
        finally:
            self.looks = looked

    def runner(self, leaves: set[torch.nn.Module]) -> Runner:
        """Runs modules, each of ``leaves`` as one step."""

        def run(module: torch.nn.Module, plain: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            if module in leaves and self.looks:
                return self._run_leaf(module, plain, args, kwargs)
            return plain(module, *args, **kwargs)

        return run

    def _run_leaf(self, module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a module as one step; where it cannot be run, the recording ends."""
        layer, result, error = self.layer(), None, None
        try:
            with self.unseen():
                result = run(module, *args, **kwargs)
        except (FxcostError, Rounded, TooManyAnswers):
            raise
        except Exception as raised:  # noqa: BLE001  # whatever a submodule raises that was not to be looked into
            error = raised
        # What an object among them holds, such as the cache of all layers, need not be read.
        given = (list(tensors_in((args, kwargs))), list(module.parameters()))
        self.recording.steps.append(Step(LEAF, given, {}, list(every_tensor_in(result)), layer))
        if error is not None:
            said = next(iter(str(error).splitlines()), "")
            self.recording.ended = f"{layer.module}: {type(error).__name__}: {said[:120]}"
            raise _RunEnded
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise TraceError("autocast changes the dtypes of a device's tensors, which are not recorded")
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = META
        args = tuple(META if isinstance(each, torch.device) else each for each in args)
        outside, self.sizes.where = self.sizes.where, lambda: None
        try:
            with torch._C._AutoDispatchBelowAutograd():
                result = self._result(func, args, kwargs)
        finally:
            self.sizes.where = outside
        if self.looks:
            self.recording.steps.append(Step(func, args, kwargs, result, self.layer()))
        return result

    def _result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operator gives; for a call like an earlier one, as blocks that repeat make them, tensors like its."""
        run = SHAPES.get(func, func)
        if func._schema.is_mutable or any(r.alias_info is not None for r in func._schema.returns):
            return run(*args, **kwargs)
        key = (func, likeness(args), likeness(tuple(kwargs.items())))
        known = self.known.get(key)
        if known is not None:
            made = [torch.empty_strided(shape, strides, dtype=dtype, device=META) for shape, strides, dtype in known]
            return made[0] if len(func._schema.returns) == 1 else tuple(made)
        result = run(*args, **kwargs)
        if key not in self.known:
            self.known[key] = _plain_results(func, result, (args, kwargs))
        return result


def _plain_results(func: Any, result: Any, given: Any) -> list[Any] | None:
    """Shapes, strides and dtypes of the results, where each is a new tensor of its own."""
    if not func._schema.returns:
        return None
    results = [result] if len(func._schema.returns) == 1 else list(result)
    storages = set(map(storage_of, tensors_in(given)))
    fresh = all(isinstance(r, torch.Tensor) and storage_of(r) not in storages for r in results)
    return [(r.shape, r.stride(), r.dtype) for r in results] if fresh else None


# Operators whose own shape functions take long, or unroll a loop over time


def _normalized(input: torch.Tensor, *channels: Any) -> torch.Tensor:
    """Of weights and statistics by channel: that their number is that of the channels holds the size fixed."""
    for each in channels:
        if isinstance(each, torch.Tensor) and each.shape[0] != input.shape[1]:
            raise TraceError(f"a batch norm of {each.shape[0]} channels is given {input.shape[1]}")
    return _like_input(input)


def _normalized_rows(input: torch.Tensor, sizes: Sequence[int], *_: Any) -> torch.Tensor:
    if any(one != other for one, other in zip(input.shape[-len(sizes) :], sizes, strict=True)):
        raise TraceError(f"a layer norm over {list(sizes)} is given a tensor of {list(input.shape)}")
    return torch.empty(input.shape, dtype=input.dtype, device=META)


def _like_input(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    if input.is_contiguous():
        return torch.empty_strided(input.shape, input.stride(), dtype=input.dtype, device=META)
    return torch.empty_like(input)


def _itself(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return input


def _recurrent(
    input: torch.Tensor,
    state: Any,
    _weights: Any,
    _biases: bool,
    _layers: int,
    _dropout: float,
    _train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """The output and the last states, of which an LSTM has two: hidden, as wide as the output, and cell."""
    states: tuple[torch.Tensor, ...] = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    if batch_first:  # the kernel works with time first and hands back a transposed view
        batch, time = input.shape[:2]
        output = input.new_empty((time, batch, width)).transpose(0, 1)
    else:
        output = input.new_empty((*input.shape[:-1], width))
    return output, *(torch.empty_like(each) for each in states)


SHAPES: Mapping[Any, Callable[..., Any]] = {
    aten.batch_norm.default: _normalized,
    aten.layer_norm.default: _normalized_rows,
    **dict.fromkeys((aten.silu.default, aten.hardswish.default, aten.hardsigmoid.default), _like_input),
    **dict.fromkeys((aten.silu_.default, aten.hardswish_.default, aten.hardsigmoid_.default), _itself),
    aten.lstm.input: _recurrent,
    aten.gru.input: _recurrent,
    aten.rnn_tanh.input: _recurrent,
    aten.rnn_relu.input: _recurrent,
}


def record(
    model: torch.nn.Module,
    call: Callable[[], Any],
    sizes: Sizes,
    leaves: Iterable[str] = (),
    repeating: bool = False,
) -> Recording:
    """Run ``call``, which calls ``model`` on meta tensors, and keep what ran; each of ``leaves`` as one step.

    With ``repeating``, of blocks that are alike only the first runs; not together with leaves.
    """
    recording = Recording()
    paths = dict(model.named_modules())
    stack = _Modules(model, recording.modules)
    recorder = _Recorder(recording, sizes, stack.layer)
    sizes.where = _place_in_model
    with ExitStack() as settings:
        settings.enter_context(like_an_export())
        run = recorder.runner({paths[path] for path in leaves})
        if repeating:
            attributes = Attributes(model)
            run = Repeats(model, recording, stack.layers, attributes, stack.layer, recorder.unseen).run
            settings.enter_context(attributes.laid_aside())
        settings.enter_context(stack.followed(run))
        settings.enter_context(torch.device(META))
        settings.enter_context(enable_python_dispatcher())
        settings.enter_context(enable_pre_dispatch())
        settings.enter_context(recorder)
        try:
            recording.output = call()
        except _RunEnded:
            used = {id(tensor) for step in recording.steps for tensor in step.taken}
            left = [parameter for parameter in model.parameters() if id(parameter) not in used]
            root = Layer("", type(model).__name__)
            recording.steps.append(Step(UNREACHED, (left,), {}, [], root))
    return recording


@contextmanager
def like_an_export() -> Generator[None]:
    """Models ask whether they are exported, and then take the branches that look at no value."""
    compiler: Any = torch.compiler
    with (
        mock.patch.object(compiler, "_is_compiling_flag", True),
        mock.patch.object(compiler, "_is_exporting_flag", True),
    ):
        yield


@contextmanager
def as_itself(layer: Layer) -> Generator[None]:
    """For a module of TorchScript: in an export it calls the Python it was compiled from, with one argument too many."""
    compiler: Any = torch.compiler
    try:
        with mock.patch.object(compiler, "_is_exporting_flag", False):
            yield
    except RuntimeError as error:
        said = [line for line in str(error).splitlines() if line.strip()][-1].removeprefix("RuntimeError:").strip()
        raise TraceError(
            f"{layer.module or 'the model'} is TorchScript, which does not run here{said and f' ({said[:120]})'}\n"
            "Where it reads sizes, keep none with --symbolic ''; or count it as unknown with --leaf PATH"
        ) from error


def _place_in_model() -> str:
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in TorchFiles():
        if frame.f_code is record.__code__:
            return ""  # the model has no code but torch's
        frame = frame.f_back
    return line_of(frame.f_code.co_filename, frame.f_lineno) if frame else ""


class _Modules:
    """The module that runs, by its path: the first of them where one module has several."""

    def __init__(self, model: torch.nn.Module, seen: dict[str, str]) -> None:
        self.layers = {
            module: Layer(path, type(module).__qualname__.rpartition(".")[2]) for path, module in model.named_modules()
        }
        self.stack: list[Layer] = []
        self.seen = seen

    def layer(self) -> Layer:
        for layer in self.stack:
            self.seen.setdefault(layer.module, layer.module_type)
        return self.stack[-1] if self.stack else Layer("", "")

    @contextmanager
    def followed(self, run: Runner) -> Generator[None]:
        plain = torch.nn.Module.__call__
        layers, stack = self.layers, self.stack

        def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            layer = layers.get(module)
            if layer is None:
                return plain(module, *args, **kwargs)
            stack.append(layer)
            try:
                with as_itself(layer) if isinstance(module, torch.jit.ScriptModule) else nullcontext():
                    return run(module, plain, args, kwargs)
            finally:
                stack.pop()

        with mock.patch.object(torch.nn.Module, "__call__", call):
            yield


def without_memory(model: torch.nn.Module) -> None:
    """Put tensors without memory in the place of a model's parameters, buffers and other tensors; ties stay."""
    known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def bare(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device == META:
            return tensor
        if id(tensor) not in known:
            fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
            parameter = isinstance(tensor, torch.nn.Parameter)
            fresh = torch.nn.Parameter(fresh, tensor.requires_grad) if parameter else fresh
            known[id(tensor)] = tensor, fresh  # both: what TorchScript lets go of leaves its number to the next
        return known[id(tensor)][1]

    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            for name, value in script_attributes(module).items():
                if isinstance(value, torch.Tensor):
                    module._c.setattr(name, bare(value))
            continue
        tables: list[Any] = [module._parameters, module._buffers, vars(module)]
        for table in tables:
            for name, value in list(table.items()):
                if isinstance(value, torch.Tensor):
                    table[name] = bare(value)
                elif type(value) is list and any(isinstance(each, torch.Tensor) for each in value):
                    table[name] = [bare(each) if isinstance(each, torch.Tensor) else each for each in value]

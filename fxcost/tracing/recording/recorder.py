"""One run of a model on tensors without memory, recorded operator by operator, its sizes carried along.

The operators that run before any is taken apart, at torch's ``PreDispatch`` key, are those that `torch.export` records.
This is a private interface of torch, and this file is the only one that uses it.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's dispatch modes are private and untyped; this folder is the border that keeps them from the rest.

import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._dispatch.python import enable_pre_dispatch, enable_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.utils._python_dispatch import TorchDispatchMode

from fxcost.errors import FxcostError
from fxcost.graph import Layer
from fxcost.tracing.environment.answers import (
    META,
    NO_FAST_PATH,
    Surroundings,
    as_exported,
    reads_data,
    storages_on_the_cpu,
    text_told,
    without_fast_path,
)
from fxcost.tracing.environment.integers import Globals, sizes_kept
from fxcost.tracing.environment.libraries import (
    NO_AUTOCAST,
    dynamic_linear_class,
    recordable,
    refuse_gradients,
    unpacked,
)
from fxcost.tracing.environment.restoration import script_attributes
from fxcost.tracing.environment.value_bounds import ends_of, keep_ends
from fxcost.tracing.recording.kernels import refuse_unlike_dtypes
from fxcost.tracing.recording.known_results import Results
from fxcost.tracing.recording.lifetimes import Watch
from fxcost.tracing.recording.shapes import SHAPES
from fxcost.tracing.recording.steps import LEAF, UNREACHED, Recording, Step
from fxcost.tracing.recording.views import views_within
from fxcost.tracing.sizes.layouts import in_operator
from fxcost.tracing.sizes.naming import Refusal, TorchFiles, TraceError, line_of
from fxcost.tracing.sizes.polynomials import Place, Rounded, TooManyAnswers
from fxcost.tracing.sizes.symbolic import Sizes
from fxcost.tracing.sizes.tensors import (
    called,
    every_tensor_in,
    is_wrapper,
    leaves_of,
    name_of,
    parameters_of,
    tensors_in,
    wrapped_again,
)

ModuleRunner = Callable[[torch.nn.Module, Callable[..., Any], Any, Any], Any]
"""Runs a module: given it, what runs it in the usual way, and its arguments by place and by name."""


class DataMissing(Exception):  # no error of the user's: it has the run made in another way, or refused by name
    """The model asked for values of data, of which tensors without memory have none; ``swallowed`` where it went on."""

    def __init__(self, missing: Exception, *, swallowed: bool) -> None:
        super().__init__(str(missing))
        self.__cause__, self.swallowed = missing, swallowed


class _RunEnded(BaseException):
    """A leaf could not be run; not an `Exception`, so that the model cannot swallow it."""


class _Recorder(SchemaCheckMode):
    """Torch lets a subclass of one of three modes of its own see operators at this key; this is the plainest of them."""

    def __init__(
        self,
        recording: Recording,
        sizes: Sizes,
        modules: "_Modules",
        surroundings: Surroundings,
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self._dispatch_key = torch._C.DispatchKey.PreDispatch
        self.recording, self.sizes, self.modules, self.surroundings = recording, sizes, modules, surroundings
        self.results = Results(recording, bool(sizes.atoms))
        self.looks = True
        self.watch = watch
        self.note = watch.note if watch else recording.steps.append

    @contextmanager
    def unseen(self) -> Generator[None]:
        """Record nothing while this lasts."""
        looked, self.looks = self.looks, False
        missing = self.surroundings.missing
        try:
            yield
        finally:
            self.looks, self.surroundings.missing = looked, missing

    def runner(self, leaves: set[torch.nn.Module]) -> ModuleRunner:
        """Runs modules, each of ``leaves`` as one step."""

        def run(module: torch.nn.Module, plain: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            if module in leaves and self.looks:
                return self._run_leaf(module, plain, args, kwargs)
            return plain(module, *args, **kwargs)

        return run

    def _run_leaf(self, module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a module as one step; where it cannot be run, the recording ends."""
        layer, result, error = self.modules.layer(), None, None
        try:
            with self.unseen():
                result = run(module, *args, **kwargs)
        except (FxcostError, Rounded, TooManyAnswers):
            raise
        except Exception as raised:  # noqa: BLE001  # whatever a submodule raises that was not to be looked into
            error = raised
        # What an object among them holds, such as the cache of all layers, need not be read.
        given = (
            [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, torch.Tensor)],
            parameters_of(module),
        )
        self.note(Step(LEAF, given, {}, list(every_tensor_in(result)), layer))
        if error is not None:
            said = next(iter(str(error).splitlines()), "")
            self.recording.ended = f"{layer.module}: {type(error).__name__}: {said[:120]}"
            raise _RunEnded
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        transforms = functorch.get_interpreter_stack() or ()
        if any(each.key() != functorch.TransformType.Vmap for each in transforms):
            refuse_gradients()
        if transforms or any(map(is_wrapper, tensors_in((args, kwargs or {})))):
            # Known once batching rules, or the operators of what wraps tensors, have made plain operators of it.
            with _Below(self):
                return func(*args, **(kwargs or {}))
        return self.recorded(func, args, kwargs)

    def recorded(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, and write it down."""
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise TraceError("autocast changes the dtypes of a device's tensors, which are not recorded")
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = META
        args = tuple(META if isinstance(each, torch.device) else each for each in args)
        layer = self.modules.layer() if self.looks else self.modules.stack[-1]
        refuse_unlike_dtypes(func, args, layer, autocast=NO_AUTOCAST in self.recording.assumptions)
        if self.watch and self.looks:
            self.watch.before_call()
        outside, self.sizes.place = self.sizes.place, lambda: in_operator(func, layer)
        self.sizes.asked.clear()
        try:
            with torch._C._AutoDispatchBelowAutograd():
                result = self._result(func, args, kwargs)
        except Exception as error:
            self.sizes.decided()
            _note(error, func, layer)
            if reads_data(func):
                self.surroundings.miss(error)
            raise
        finally:
            self.sizes.place = outside
        if self.looks:
            self.note(Step(func, args, kwargs, result, layer))
            if func._schema.is_mutable:  # which may change shapes too
                for tensor in tensors_in((args, kwargs)):
                    self.recording.layouts.pop(id(tensor), None)
        return result

    def _result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run = SHAPES.get(func, func)
        views = any(each.alias_info is not None for each in func._schema.returns)
        # What earlier calls gave is known by tensors that a watched run has let go of.
        known = self.looks and not func._schema.is_mutable and not self.watch
        if self.sizes.atoms:
            return self.results.of(func, run, args, kwargs) if known else run(*args, **kwargs)
        with torch._C._DisablePythonDispatcher():  # which is there for carried sizes; kernels in C++ are faster
            # A view is made faster than it is looked up.
            return self.results.of(func, run, args, kwargs) if known and not views else run(*args, **kwargs)


class _Below(TorchDispatchMode):
    """Records operators where torch's function transforms are through with them."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = _OF_SHAPE.get(name_of(func).removeprefix("sym_"))
        if asked is not None and len(args) == 1:
            return asked(args[0])  # batching rules ask so of carried sizes, which no operator answers
        if any(map(is_wrapper, tensors_in((args, kwargs or {})))):
            return NotImplemented  # theirs are recorded
        return self.recorder.recorded(func, args, kwargs)


_OF_SHAPE: Mapping[str, Callable[[torch.Tensor], Any]] = {
    "size": lambda tensor: list(tensor.shape),
    "stride": lambda tensor: list(tensor.stride()),
    "numel": torch.Tensor.numel,
    "storage_offset": torch.Tensor.storage_offset,
}


_FAILED_IN = "fxcost: failed in "


def _note(error: Exception, func: Any, layer: Layer) -> None:
    """Write the operator that failed on the error that it raised."""
    if not any(note.startswith(_FAILED_IN) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{_FAILED_IN}{called(func, layer)}")


def place_of_failure(error: BaseException) -> str:
    """The operator that an error of a recorded run arose in, else what the error says."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_FAILED_IN)]
    said = next(iter(str(error).splitlines()), "")
    return notes[0].removeprefix(_FAILED_IN) if notes else f"{type(error).__name__}: {said[:120]}"


def record(
    model: torch.nn.Module,
    call: Callable[[], Any],
    sizes: Sizes,
    leaves: Iterable[str] = (),
    *,
    exported: bool = False,
    hashing: bool = False,
    whole: Sequence[Globals] | None = None,
    watch: Watch | None = None,
) -> Recording:
    """Run ``call``, which calls ``model`` on meta tensors, and keep what ran; each of ``leaves`` as one step.

    With ``exported`` the model is told that it is exported where it asks; with ``hashing`` the first size that it looks up
    in a table raises `SizesHeld`; what ``int`` does of sizes see `sizes_kept`. With ``watch`` no call is kept, but noted there. Raises `DataMissing` where it asks for values of data, also where it swallows the error.
    """
    recording = Recording()
    paths = dict(model.named_modules())
    stack = _Modules(model, recording.modules)
    surroundings = Surroundings(recording.assume, keeps=watch is None)
    recorder = _Recorder(recording, sizes, stack, surroundings, watch)
    sizes.place = _place_in_model
    with ExitStack() as settings:
        settings.enter_context(without_fast_path(lambda: recording.assume(NO_FAST_PATH)))
        settings.enter_context(recordable(recording.assume))
        if exported:
            settings.enter_context(as_exported())
        if sizes.atoms:
            settings.enter_context(text_told(hashing))
            settings.enter_context(sizes_kept(whole))
            settings.enter_context(views_within())
        settings.enter_context(stack.followed(recorder.runner({paths[path] for path in leaves})))
        settings.enter_context(surroundings)
        settings.enter_context(storages_on_the_cpu())
        settings.enter_context(enable_python_dispatcher())
        settings.enter_context(enable_pre_dispatch())
        settings.enter_context(recorder)
        try:
            recording.output = call()
        except _RunEnded:
            used = {id(tensor) for step in recording.steps for tensor in step.taken}
            left = [parameter for parameter in parameters_of(model) if id(parameter) not in used]
            root = Layer("", type(model).__name__)
            recorder.note(Step(UNREACHED, (left,), {}, [], root))
        except Exception as error:
            if surroundings.missing is None:
                raise
            raise DataMissing(surroundings.missing, swallowed=error is not surroundings.missing) from error
    if surroundings.missing is not None:
        raise DataMissing(surroundings.missing, swallowed=True)
    recording.made_of_numbers, recording.asks_layout = surroundings.made, surroundings.asks_layout
    return recording


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


def _place_in_model() -> Place:
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in TorchFiles():
        if frame.f_code is record.__code__:
            return Place("")  # the model has no code but torch's
        frame = frame.f_back
    return Place(line_of(frame.f_code.co_filename, frame.f_lineno) if frame else "")


class _Modules:
    """The module that runs, by its path: the first of them where one module has several, and the one it is called by."""

    def __init__(self, model: torch.nn.Module, seen: dict[str, str]) -> None:
        self.layers = {
            module: Layer(path, type(module).__qualname__.rpartition(".")[2]) for path, module in model.named_modules()
        }
        self.places = _paths_of_shared(model)
        self.stack: list[Layer] = [Layer("", "")]
        self.seen, self.noted = seen, 1

    def layer(self) -> Layer:
        """The module that runs, which calls an operator, as those around it do."""
        if self.noted < len(self.stack):
            for layer in self.stack[self.noted :]:
                self.seen.setdefault(layer.module, layer.module_type)
            self.noted = len(self.stack)
        return self.stack[-1]

    @contextmanager
    def followed(self, run: ModuleRunner) -> Generator[None]:
        plain = torch.nn.Module.__call__
        layers, places, stack, here = self.layers, self.places, self.stack, threading.get_ident()

        def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            layer = layers.get(module)
            if layer is None or threading.get_ident() != here:
                return plain(module, *args, **kwargs)
            stack.append(self._called(layer, places[module]) if module in places else layer)
            try:
                with as_itself(layer) if isinstance(module, torch.jit.ScriptModule) else nullcontext():
                    return run(module, plain, args, kwargs)
            finally:
                stack.pop()
                self.noted = min(self.noted, len(stack))

        with mock.patch.object(torch.nn.Module, "__call__", call):
            yield

    def _called(self, layer: Layer, paths: list[str]) -> Layer:
        """The layer of a shared module, with that of its paths which is nearest to the innermost module around it."""
        for around in reversed(self.stack):
            above = around.called_as or around.module
            within = [path for path in paths if not above or path.startswith(f"{above}.")]
            if within:
                found = min(within, key=lambda path: path.count("."))
                return layer if found == layer.module else replace(layer, called_as=found)
        return layer


def _paths_of_shared(model: torch.nn.Module) -> dict[torch.nn.Module, list[str]]:
    """All paths of each module that has several."""
    paths: dict[torch.nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(module, []).append(path)
    return {module: each for module, each in paths.items() if len(each) > 1}


class _Bare:
    """Tensors without memory in the place of others, each once, so that ties stay."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device == META:
            return tensor
        if id(tensor) not in self.known:
            # Both: what TorchScript lets go of leaves its number to the next.
            self.known[id(tensor)] = tensor, self._made(tensor)
        return self.known[id(tensor)][1]

    def _made(self, tensor: torch.Tensor) -> torch.Tensor:
        if is_wrapper(tensor):
            return wrapped_again(tensor, self)
        kind: Any = type(tensor)
        plain: Any = torch.Tensor
        if kind.__torch_dispatch__ is not plain.__torch_dispatch__:
            raise _converted(kind)
        fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
        if kind is not plain:
            fresh = plain._make_subclass(kind, fresh, tensor.requires_grad)
        keep_ends(fresh, ends_of(tensor))
        for name, value in vars(tensor).items():
            vars(fresh)[name] = self(value) if isinstance(value, torch.Tensor) else value
        return fresh


def _converted(kind: type) -> Refusal:
    return Refusal(
        f"the model holds a {kind.__name__}, whose operators are its own and are not recorded\n"
        "Give the model as it was before its weights were converted; other number formats are asked with --precision"
    )


def without_memory(model: torch.nn.Module) -> None:
    """Put tensors without memory in the place of a model's parameters, buffers and other tensors; ties stay.

    Raises `Refusal` for tensors that bring operators of their own, such as quantised weights.
    """
    bare = _Bare()
    packed = dynamic_linear_class()
    for module in model.modules():
        if packed is not None and isinstance(module, packed):
            module._parameters.update(unpacked(module))
        elif type(module).__module__.startswith("torch.ao.nn.quantized.dynamic."):
            raise _converted(type(module))
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

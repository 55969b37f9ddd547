"""A model built without memory for its weights, and what it is called with."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch

from fxcost.errors import FxcostError
from fxcost.inputs import Arguments
from fxcost.tracing import arguments_like
from fxcost.tracing.source import Source
from fxcost.user_code import said, users_code

_device: ContextVar[str] = ContextVar("device", default="meta")


@contextmanager
def built_on(device: str) -> Generator[None]:
    """Build models there while this lasts; on the meta device otherwise, where weights take no memory."""
    before = _device.set(device)
    try:
        yield
    finally:
        _device.reset(before)


def build(factory: Callable[..., Any], settings: Mapping[str, Any], ref: str) -> torch.nn.Module:
    """Call the factory of a model on the meta device, unless `built_on` says where; on the CPU when it needs values of its weights."""
    return _as_module(_called(factory, settings, ref), ref)


def build_source(factory: Callable[..., Any], settings: Mapping[str, Any], ref: str) -> Source:
    """As `build`; of a factory that gives a model and what it is called with, the second is a source's arguments.

    That is a tuple or list of positional arguments, a dictionary of arguments by name, a tensor, or both of the first.
    """
    made: Any = _called(factory, settings, ref)
    if not isinstance(made, (tuple, list)) or not made or not isinstance(made[0], torch.nn.Module):
        return Source(ref, _as_module(made, ref), Arguments())
    module = _as_module(made[0], ref)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    rest = cast("list[Any]", list(made[1:]))  # pyright: ignore[reportUnknownArgumentType]  # whatever a factory gives
    for given in rest:
        if type(given) is dict and _is_by_name(module, cast("dict[Any, Any]", given)):
            kwargs.update(cast("dict[str, Any]", given))
        else:
            args += given if type(given) in (tuple, list) else (given,)  # pyright: ignore[reportUnknownArgumentType]
    arguments, sizes = arguments_like(module, args, kwargs)
    return Source(ref, module, arguments, sizes)


def signature_of(module: torch.nn.Module) -> inspect.Signature:
    """What a module is called with; what TorchScript holds has no signature of Python's, and names its arguments."""
    try:
        return inspect.signature(module.forward)
    except ValueError:
        forward: Any = module.forward
        names: list[str] = [argument.name for argument in forward.schema.arguments[1:]]
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])


def _is_by_name(module: torch.nn.Module, given: Mapping[Any, Any]) -> bool:
    """Whether what a dictionary holds are arguments of a model, rather than one of them."""
    try:
        signature_of(module).bind_partial(**given)
    except TypeError:
        return False
    return True


def _called(factory: Callable[..., Any], settings: Mapping[str, Any], ref: str) -> Any:
    with users_code(ref):
        try:
            with torch.device(_device.get()):
                return factory(**settings)
        except TypeError as error:
            if "a Tensor" in str(error):  # a number was wanted, of which tensors without memory have none
                return factory(**settings)
            if not settings:
                raise
            given = ", ".join(f"--set {name}={str(value)[:40]}" for name, value in settings.items())
            raise FxcostError(f"{ref} does not take {given}: {said(error)}") from error
        except (NotImplementedError, RuntimeError) as error:
            if "meta" not in str(error):
                raise
            return factory(**settings)


def _as_module(module: Any, ref: str) -> torch.nn.Module:
    if not isinstance(module, torch.nn.Module):
        raise FxcostError(f"{ref} gives a {type(module).__name__}, not a torch.nn.Module")
    return _on_one_device(module)


def _on_one_device(module: torch.nn.Module) -> torch.nn.Module:
    """Move the few tensors that a constructor put elsewhere to where its parameters are; ties stay, and so does what has no values to move."""
    device = next((p.device for p in module.parameters()), None)
    for each in module.modules():
        for name, buffer in list(each._buffers.items()):  # pyright: ignore[reportPrivateUsage]  # keeps persistence flags
            if buffer is not None and device is not None and buffer.device != device and not buffer.is_meta:
                each._buffers[name] = buffer.to(device)  # pyright: ignore[reportPrivateUsage]
    return module.eval()


def with_defaults(ref: str, module: torch.nn.Module, arguments: Arguments, defaults: Mapping[str, int]) -> Source:
    """A source with the usual sizes of the symbols that its inputs have."""
    return Source(ref, module, arguments, {name: defaults[name] for name in arguments.symbols()})

"""What the code of modules reads of their attributes, and whether it writes any, while a run is watched."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Attributes of modules have any type.

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from unittest import mock

import torch
from torch.nn import Module

MACHINERY = frozenset(vars(Module())) - {"training"}
"""Tables that `torch.nn.Module` keeps of parameters, submodules and hooks."""


@dataclass(eq=False)
class Watch:
    """What was read while it lasted: the names, by the identity of their module, and what was found; whether any was written."""

    reads: dict[tuple[int, str], tuple[Module, Any]] = field(default_factory=dict[tuple[int, str], tuple[Module, Any]])
    wrote: bool = False

    def note(self, module: Module, name: str, value: Any) -> None:
        if (id(module), name) not in self.reads:
            self.reads[id(module), name] = module, image(value, {})


class Attributes:
    """The attributes of a model's modules, laid aside so that reading one calls `torch.nn.Module.__getattr__`."""

    def __init__(self, model: Module) -> None:
        self.held: dict[int, dict[str, Any]] = {}
        self.watches: list[Watch] = []
        self.modules = [each for each in model.modules() if is_plain(each)]

    @contextmanager
    def laid_aside(self) -> Generator[None]:
        """While this lasts reads are seen; names that a class has as well stay where they are, or it would answer."""
        for module in self.modules:
            attributes = vars(module)
            names = [name for name in attributes if name not in MACHINERY and not hasattr(type(module), name)]
            self.held[id(module)] = {name: attributes.pop(name) for name in names}
        plain = Module.__getattr__

        def read(module: Module, name: str) -> Any:
            held = self.held.get(id(module))
            if held is None or name not in held:
                return plain(module, name)
            for watch in self.watches:
                watch.note(module, name, held[name])
            return held[name]

        try:
            with (
                mock.patch.object(Module, "__getattr__", read),
                mock.patch.object(Module, "__setattr__", self._writing(Module.__setattr__)),
                mock.patch.object(Module, "__delattr__", self._writing(Module.__delattr__)),
            ):
                yield
        finally:
            for module in self.modules:
                kept = self.held.pop(id(module))
                vars(module).update({name: value for name, value in kept.items() if name not in vars(module)})

    def _writing(self, write: Callable[..., None]) -> Callable[..., None]:
        def written(module: Module, name: str, *value: Any) -> None:
            for watch in self.watches:
                watch.wrote = True
            if not value:  # what is deleted must be there
                vars(module).update({n: v for n, v in self.held.get(id(module), {}).items() if n == name})
            self.held.get(id(module), {}).pop(name, None)
            write(module, name, *value)

        return written

    def value(self, module: Module, name: str) -> Any:
        """The attribute, without being seen to read it; `NotImplemented` where there is none."""
        return self.held.get(id(module), {}).get(name, vars(module).get(name, NotImplemented))


def is_plain(module: Module) -> bool:
    """Whether attributes of the module are found in the usual way."""
    kind: Any = type(module)
    return kind.__getattr__ is Module.__getattr__ and kind.__getattribute__ is object.__getattribute__


SIMPLE = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device)
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType)


def image(value: Any, parts: Mapping[int, Any]) -> Any:
    """What is equal for two values that code cannot tell apart; ``parts`` names modules and tensors by their place.

    Any other object is like itself alone, and only as long as what it holds stays what it was.
    """
    if isinstance(value, SIMPLE):
        return type(value), value
    if isinstance(value, torch.SymInt):
        return value.node
    if isinstance(value, (list, tuple)):
        return type(value), tuple(image(each, parts) for each in value)
    if isinstance(value, dict):
        return type(value), tuple((image(k, parts), image(v, parts)) for k, v in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(image(each, parts) for each in value)
    if isinstance(value, (torch.Tensor, Module, *_CODE)):
        return parts.get(id(value), id(value))
    held: Any = getattr(value, "__dict__", {})
    return id(value), tuple((name, _shallow(each)) for name, each in held.items())


def _shallow(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(map(id, value))
    return tuple((id(k), id(v)) for k, v in value.items()) if isinstance(value, dict) else id(value)

"""What a model's code calls ``int`` keeps carried sizes: Python's own would make plain numbers of them."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# Torch's symbolic sizes are typed in part.

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from fxcost.tracing.sizes.naming import TorchFiles

Globals = dict[str, Any]
"""The names that a module of Python's has."""


class MadeWhole(BaseException):  # no `Exception`, so that the model cannot swallow it
    """Code calls ``int`` on a carried size, whose module's names these are."""

    def __init__(self, names: Globals) -> None:
        super().__init__()
        self.names = names


_BETWEEN = frozenset({"fxcost.tracing.environment.answers", "fxcost.tracing.environment.known_values"})
"""Modules that answer for a tensor whose numbers are known."""


class _AnyInt(type):
    """A whole number is one of Python's own, whichever ``int`` asks."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, int)

    def __subclasscheck__(cls, kind: Any) -> bool:
        return issubclass(kind, int)


class _Int(int, metaclass=_AnyInt):
    """Python's ``int``, which gives a carried size for a carried size."""

    def __new__(cls, value: Any = 0, *base: Any, **named: Any) -> Any:
        if isinstance(value, torch.Tensor) and not base:
            value = value.item()
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_int(value)
        return int(value, *base, **named)


@contextmanager
def sizes_kept(modules: Sequence[Globals] | None) -> Generator[None]:
    """In these modules ``int`` keeps sizes, and in others raises `MadeWhole`; None leaves it as Python has it."""

    def whole(size: Any) -> int:
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # as `inspect` does, which is slow
        while frame.f_back and frame.f_globals["__name__"] in _BETWEEN:
            frame = frame.f_back
        names: Any = frame.f_globals
        known = size.node.constant is not None or frame.f_code.co_filename in TorchFiles()
        if known or "int" in names or any(names is each for each in modules or ()):
            return plain[type(size)](size)
        raise MadeWhole(names)

    plain: dict[type, Any] = {kind: kind.__int__ for kind in (torch.SymInt, torch.SymFloat)}
    with ExitStack() as stack:
        if modules is not None:
            for kind in plain:
                stack.enter_context(mock.patch.object(kind, "__int__", whole))
            for names in modules:
                stack.enter_context(mock.patch.dict(names, int=_Int))
        yield

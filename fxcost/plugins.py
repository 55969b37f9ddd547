"""Operator rules and passes of third parties: by entry points, and by the name of a module or file."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from fxcost.errors import FxcostError
from fxcost.graph.pipeline import Pass
from fxcost.user_code import python_module, users_code

RULES, PASSES = "fxcost.ops", "fxcost.passes"
"""Entry point groups: a module whose import registers rules; a `Pass`. Platforms have ``fxcost.specs``."""


def load_plugins(modules: Iterable[str] = ()) -> tuple[Pass[Any], ...]:
    """Import every plugin, and return the passes found: those of entry points, then those that the modules hold."""
    for entry in entry_points(group=RULES):
        _loaded(RULES, entry)
    passes = [_checked(entry.name, _loaded(PASSES, entry)) for entry in entry_points(group=PASSES)]
    for name in modules:
        try:
            module = python_module(name)
        except FxcostError as error:
            raise FxcostError(f"--plugin {error}") from error
        passes += [value for value in vars(module).values() if isinstance(value, Pass)]
    return tuple(dict.fromkeys(passes))


def _loaded(group: str, entry: EntryPoint) -> Any:
    with users_code(f"plugin {entry.name} of the entry points {group}"):
        return entry.load()


def _checked(name: str, value: Any) -> Pass[Any]:
    if not isinstance(value, Pass):
        raise FxcostError(f"plugin {name} of the entry points {PASSES} is a {type(value).__name__}, not a fxcost.Pass")
    return cast("Pass[Any]", value)

"""Operator rules and passes of third parties: by entry points, and by module name."""

import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any, cast

from fxcost.errors import FxcostError
from fxcost.pipeline import Pass

RULES, PASSES = "fxcost.ops", "fxcost.passes"
"""Entry point groups: a module whose import registers rules; a `Pass`. Platforms have ``fxcost.specs``."""


def load_plugins(modules: Iterable[str] = ()) -> tuple[Pass[Any], ...]:
    """Import every plugin, and return the passes found: those of entry points, then those that the modules hold."""
    for entry in entry_points(group=RULES):
        entry.load()
    passes = [_checked(entry.name, entry.load()) for entry in entry_points(group=PASSES)]
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise FxcostError(f"--plugin {name}: {error}; is it installed, or on PYTHONPATH?") from error
        passes += [value for value in vars(module).values() if isinstance(value, Pass)]
    return tuple({each.provides.name: each for each in passes}.values())


def _checked(name: str, value: Any) -> Pass[Any]:
    if not isinstance(value, Pass):
        raise FxcostError(f"plugin {name} of the entry points {PASSES} is a {type(value).__name__}, not a fxcost.Pass")
    return cast("Pass[Any]", value)

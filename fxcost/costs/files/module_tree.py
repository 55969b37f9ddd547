"""Modules as a tree: children that are alike and numbered in a row are written once, as ``0..31``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field

from fxcost.costs.files.repeats import LONGEST_SEQUENCE
from fxcost.costs.files.versioned_json import Record
from fxcost.errors import FxcostError, printable

Line = Annotated[str, AfterValidator(printable)]
"""What is shown as it stands, in messages too."""
MOST_LETTERS = 50_000_000
"""Letters that the paths of a file may come to."""
_RUN = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


class SavedModule(Record):
    """A class, None where the model has no module of that path, and what stands inside by its name."""

    type: Line | None = None
    inside: dict[Line, "SavedModule"] = Field(default={})


@dataclass
class _Module:
    type: str | None = None
    inside: dict[str, "_Module"] = field(default_factory=dict[str, "_Module"])


def as_tree(modules: Mapping[str, str | None]) -> SavedModule:
    """The tree of classes by path."""
    root = _Module()
    for path, kind in modules.items():
        module = root
        for name in path.split(".") if path else ():
            module = module.inside.setdefault(name, _Module())
        module.type = kind
    return _saved(root)


def _saved(module: _Module) -> SavedModule:
    inside: dict[str, SavedModule] = {}
    first = last = ""
    for name, each in ((name, _saved(each)) for name, each in module.inside.items()):
        if _is_number(last) and name == str(int(last) + 1) and inside[_run(first, last)] == each:
            del inside[_run(first, last)]
            last = name
        else:
            first = last = name
        inside[_run(first, last)] = each
    return SavedModule(type=module.type, inside=inside)


def _is_number(name: str) -> bool:
    return name.isdecimal() and name == str(int(name))


def _run(first: str, last: str) -> str:
    return first if first == last else f"{first}..{last}"


def paths_of(tree: SavedModule, place: str) -> list[tuple[str, str | None]]:
    """The path and class of each module, the first being the model. Raises `FxcostError` naming the place for a run without end."""
    found: list[tuple[str, str | None]] = []
    letters = 0
    for each in _walked(tree, ""):
        letters += len(each[0])
        if len(found) == LONGEST_SEQUENCE or letters > MOST_LETTERS:
            raise FxcostError(
                f"{place} has more than {LONGEST_SEQUENCE:,} modules, or paths of {MOST_LETTERS:,} letters, which no model has"
            )
        found.append(each)
    return found


def _walked(module: SavedModule, path: str) -> Iterator[tuple[str, str | None]]:
    yield path, module.type
    for name, each in module.inside.items():
        run = _RUN.fullmatch(name)
        for one in range(int(run[1]), int(run[2]) + 1) if run else (name,):
            yield from _walked(each, f"{path}.{one}" if path else f"{one}")

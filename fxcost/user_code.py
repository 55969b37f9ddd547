"""Python that users name, models and plugins: each file is loaded once, and what its code raises is told as an error."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fxcost.errors import FxcostError
from fxcost.files import checked_file


@contextmanager
def users_code(ref: str) -> Generator[None]:
    """Raise what the user's code raises as an `FxcostError` that says where; an exit too, which is no success."""
    try:
        with exits_raised():
            yield
    except FxcostError:
        raise
    except (Exception, SystemExit) as error:
        raise FxcostError(raised(ref, error)) from error


@contextmanager
def exits_raised() -> Generator[None]:
    """Let ``os._exit`` raise as ``sys.exit`` does: a process that has ended without a word looks like one that succeeded."""
    own = os.getpid()
    end = os._exit

    def leave(status: int) -> NoReturn:
        if os.getpid() != own:
            end(status)  # a child that the code forked ends as ever
        raise SystemExit(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = end


def raised(ref: str, error: BaseException) -> str:
    """What the user's own code raised, and where."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in _NO_PLACES]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    if isinstance(error, SystemExit):
        return f"{ref} calls exit({error.code!r}){where}, where a model or plugin is to give one back"
    return f"{ref} raised {type(error).__name__}: {said(error)}{where}"


def said(error: BaseException) -> str:
    """The text of an error on one line, and no more of it than is read."""
    return " ".join(str(error).split())[:200]


_NO_PLACES = {
    "<frozen _sitebuiltins>",
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
    __file__,
}


def python_module(place: str) -> ModuleType:
    """The module of a name, found in the current folder too, or of a file ``….py``.

    Raises `FxcostError` where there is none, and for what its code raises.
    """
    if place.endswith(".py"):
        return _file_module(checked_file(Path(place), "Python file").resolve(), place)
    if not all(part.isidentifier() for part in place.split(".")):
        raise FxcostError(
            f"{place!r} names no module; name one such as package.module, or a file such as path/to/file.py"
        )
    _look_in(Path.cwd(), last=True)
    importlib.invalidate_caches()
    try:
        with users_code(place):
            return importlib.import_module(place)
    except FxcostError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and missing.name and f"{place}.".startswith(f"{missing.name}."):
            raise FxcostError(
                f"{place}: no such module ({missing}); is it installed, or in the current folder?"
            ) from error
        raise


class _AsWritten(SourceFileLoader):
    """Loads a file as it is now: bytecode kept aside is taken for current when a second edit falls into one second."""

    def path_stats(self, path: Any) -> Any:
        raise OSError(f"{path} is always compiled anew")


_loaded: dict[Path, tuple[bytes, ModuleType]] = {}
"""What was loaded of each file: an operator can be defined once, and a file may be model and plugin."""


def _file_module(path: Path, place: str) -> ModuleType:
    content = path.read_bytes()
    before, module = _loaded.get(path) or (None, _imported(path))
    if module is not None and before in (None, content):
        return module
    _look_in(path.parent, last=False)
    name = path.stem if module is not None or path.stem not in sys.modules else f"{path.stem}_{len(_loaded)}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsWritten(name, str(path)))
    if spec is None or spec.loader is None:
        raise FxcostError(f"{place} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with users_code(place):
            spec.loader.exec_module(module)
    except FxcostError:
        del sys.modules[name]
        raise
    _loaded[path] = content, module
    return module


def _imported(path: Path) -> ModuleType | None:
    """The module of a file that was imported by its name."""
    files = ((module, getattr(module, "__file__", None)) for module in list(sys.modules.values()))
    return next(
        (m for m, file in files if file and Path(file).name == path.name and Path(file).resolve() == path), None
    )


def _look_in(folder: Path, *, last: bool) -> None:
    """Find modules of a folder: the current one after all others, so that no name of its files hides a library."""
    if str(folder) not in sys.path:
        sys.path.insert(len(sys.path) if last else 0, str(folder))

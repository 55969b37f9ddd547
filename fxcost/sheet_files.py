"""Data sheets: TOML files of figures and choices with their sources, read with every slip told by file and key."""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from fxcost.errors import FxcostError, printable
from fxcost.files import read_file

LARGEST_SHEET, LONGEST_LINE = 2**16, 6000
"""Bytes, several times those of any sheet here: the parser takes time with the square of a key's length."""
Text = Annotated[str, Field(min_length=1)]


class SheetRecord(BaseModel):
    """A frozen table of a sheet; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


SheetT = TypeVar("SheetT", bound=SheetRecord)


class SheetError(FxcostError):
    """A sheet that is none; its message tells the first slip, and how many more there are."""

    def __init__(self, slips: tuple[str, ...], command: str) -> None:
        more = f" (and {len(slips) - 1} more, which `fxcost {command} --lint FILE` names)" if len(slips) > 1 else ""
        super().__init__(f"{next(iter(slips))}{more}")
        self.slips = slips


def own_sheet(path: str, form: type[SheetT], command: str) -> SheetT:
    """The sheet at a path; errors as `sheet_of`."""
    return sheet_of(read_file(Path(path), f"{command.removesuffix('s')} file", LARGEST_SHEET), path, form, command)


def sheet_of(content: bytes, shown: str, form: type[SheetT], command: str) -> SheetT:
    """The sheet of a file's content. Raises `SheetError` naming the keys that are wrong, and the command that lists all."""
    if len(max(content.splitlines(), default=b"", key=len)) > LONGEST_LINE:
        raise FxcostError(
            f"{shown} has a line of more than {LONGEST_LINE} characters; no {command.removesuffix('s')} file has"
        )
    try:
        data = tomllib.loads(content.decode(), parse_float=Decimal)
        sources = cast("object", data.get("sources"))
        return form.model_validate(data, context=cast("Any", sources) if isinstance(sources, dict) else {})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise SheetError(tuple(_slip(shown, problem) for problem in problems), command) from error
    except (ValueError, ArithmeticError, RecursionError) as error:  # TOML syntax, UTF-8, 1e99999999999, [[[[…
        raise FxcostError(f"{shown} is not a readable TOML file: {str(error).partition('; use sys.')[0]}") from error


def _slip(shown: str, problem: ErrorDetails) -> str:
    """A complaint by file and key."""
    key = printable(".".join(map(str, problem["loc"]))).removesuffix(".source")  # a figure's, which is what has none
    said = {"extra_forbidden": "unknown key", "missing": "missing"}.get(problem["type"], _plain(problem["msg"]))
    if problem["type"] == "missing" and problem["loc"][-1] == "source":
        key, said = (
            key.removesuffix(".source"),
            "no source: give source = a label of [sources], or computed = the formula",
        )
    return f"{shown}: {key}: {said}"


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("Decimal input ")

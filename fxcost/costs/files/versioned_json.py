"""JSON documents with a version, read with every part checked."""

import json
from typing import Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from fxcost.errors import FxcostError


class Record(BaseModel):
    """Part of a document: what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Document(Record):
    """A whole document; its version is looked at before anything else."""

    KIND: ClassVar[str]
    """What a user calls it."""
    VERSION: ClassVar[tuple[str, int]]
    """The field that holds the version, and the newest that is read."""


D = TypeVar("D", bound=Document)


def parsed(content: bytes, kind: str, place: str) -> dict[str, Any]:
    """The JSON object of a document. Raises `FxcostError` naming the place where it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FxcostError(
            f"{place} is not a {kind}: {str(error).partition('; use sys.')[0][:120] or type(error).__name__}"
        ) from error
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def validated(values: dict[str, Any], form: type[D], place: str) -> D:
    """The document of these JSON values. Raises `FxcostError` naming the place when it is broken or newer."""
    field, newest = form.VERSION
    version = values.get(field)
    if not isinstance(version, int):
        raise FxcostError(f"{place} is not a {form.KIND}: it has no {field}")
    if version > newest:
        raise FxcostError(
            f"{place} has {field} {version}, newer than {newest}, the newest this fxcost reads; update fxcost"
        )
    try:
        return form.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise FxcostError(f"{place} is not a {form.KIND}: {where}: {first['msg']}") from error


def as_json(values: dict[str, Any]) -> bytes:
    """The values as a file that reads well line by line."""
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()

"""The lock file: several models' formulas, each beside what is needed to trace it again."""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

from fxcost.costs.files.records import SavedModel, to_model, to_record
from fxcost.costs.files.saved import from_values
from fxcost.costs.files.versioned_json import Document, Record, as_json, parsed, validated
from fxcost.costs.model import CostModel
from fxcost.files import read_file, write_file
from fxcost.options import Asked
from fxcost.request import Request

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

LOCK_VERSION = 1
"""Grows with the records inside, so that newer ones are told as a newer lock."""


class LockedModel(Record):
    """One model: its reference, the options it was traced with, and what it cost."""

    model: str
    options: Asked
    costs: SavedModel

    @property
    def title(self) -> str:
        """The reference, the arguments of its factory and what it is run for, which tell models of one lock apart."""
        mode = [] if self.options.mode == Request.mode else [f"--mode {self.options.mode}"]
        return " ".join([self.model, *(f"--set {text}" for text in self.options.settings or ()), *mode])


class Lock(Document):
    """The file's form; models have different titles."""

    KIND: ClassVar[str] = "lock file"
    VERSION: ClassVar[tuple[str, int]] = ("lock_version", LOCK_VERSION)

    lock_version: Literal[1] = 1
    models: list[LockedModel]

    def having(self, *models: LockedModel) -> "Lock":
        """The lock with these models added, or in the place of those of the same titles."""
        entries = {each.title: each for each in (*self.models, *models)}
        return Lock(models=list(entries.values()))


def locked(model: str, options: Asked, costs: CostModel) -> LockedModel:
    """A model as the lock holds it."""
    return LockedModel(model=model, options=options, costs=to_record(costs))


def save_lock(lock: Lock, path: Path) -> None:
    """Write the lock; the file is complete or, when interrupted, as it was before."""
    values = lock.model_dump(mode="json")
    for each, model in zip(values["models"], lock.models, strict=True):
        each["options"] = model.model_dump(mode="json", include={"options"}, exclude_defaults=True)["options"]
    write_file(path, as_json(values))


def add_to_lock(entries: Iterable[LockedModel], path: Path) -> None:
    """Add models to a lock file as it is now, which may be another than before they were traced."""
    with _only_writer(path):
        known = load_lock(path) if path.exists() else Lock(models=[])
        save_lock(known.having(*entries), path)


@contextmanager
def _only_writer(path: Path) -> Generator[None]:
    """Wait until no other process adds to a lock file in this folder; where the system has no such locks, hope so."""
    if fcntl is None:
        yield
        return
    folder = os.open(path.resolve().parent, os.O_RDONLY)  # a file of its own would be left behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def load_lock(path: Path) -> Lock:
    """Read a lock. Raises `FxcostError` naming the file and the place when it is broken or newer."""
    return validated(parsed(read_file(path, Lock.KIND), Lock.KIND, str(path)), Lock, str(path))


def read_models(content: bytes, place: str) -> dict[str, CostModel]:
    """The models of a lock or of a saved file, by title; raises `FxcostError` as their own readers do."""
    values = parsed(content, "lock file or saved model", place)
    if Lock.VERSION[0] in values:
        lock = validated(values, Lock, place)
        return {each.title: to_model(each.costs, f"{place}: {each.title}") for each in lock.models}
    model = from_values(values, place)
    return {model.ref: model}

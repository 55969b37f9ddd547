"""Schemes read from one TOML file each, and checked; ``specs/precisions/w4a16.toml`` is a good one to start from."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from fxcost.costs.graph.cost_graph import StorageRole
from fxcost.errors import FxcostError, near_matches
from fxcost.formats.format_text import format_named
from fxcost.formats.number_format import NumberFormat
from fxcost.formats.schemes import AS_IS, OF_INPUTS, Scheme, StorageRule, checked_layers
from fxcost.machines.sheets import PRECISION_BITS, PRECISION_OF_DTYPE, precision_named
from fxcost.sheet_files import SheetRecord, Text, own_sheet, sheet_of

COMMAND = "precisions"
"""What lists and checks these sheets."""


def _format(value: object) -> object:
    return value if isinstance(value, NumberFormat) or value in (AS_IS, OF_INPUTS) else _told(value, format_named)


def _precision(value: object) -> object:
    return _told(value, precision_named)


def _layers(value: object) -> object:
    return _told(value, checked_layers)


def _told(value: object, read: object) -> object:
    """What a function makes of a text, its complaint as pydantic gathers them."""
    if not isinstance(value, str) or not callable(read):
        raise ValueError(f"{value!r:.60} is not a text")  # noqa: TRY004 (pydantic gathers ValueError only)
    try:
        return read(value)
    except FxcostError as error:
        raise ValueError(str(error)) from error


KeptFormat = Annotated[NumberFormat | Literal["model", "inputs"], BeforeValidator(_format)]
PrecisionName = Annotated[str, BeforeValidator(_precision)]
Names = Annotated[tuple[Text, ...], Field(min_length=1)]


class RuleSheet(SheetRecord):
    """One ``[[rule]]``: a format, and the selectors that all have to fit."""

    format: KeptFormat
    roles: Annotated[tuple[StorageRole, ...], Field(min_length=1)] | None = None
    names: Names | None = None
    operators: Names | None = None
    products: bool | None = None
    matrices: bool | None = None
    layers: Annotated[str, BeforeValidator(_layers)] = ""
    fallback: Annotated[NumberFormat, BeforeValidator(_format)] | None = None
    compute: PrecisionName | None = None

    def rule(self) -> StorageRule:
        """The rule as schemes have it."""
        return StorageRule(
            format=self.format,
            roles=self.roles or (),
            names=self.names or (),
            operators=self.operators or (),
            products=self.products,
            matrices=self.matrices,
            layers=self.layers,
            fallback=self.fallback,
            compute=self.compute or "",
        )


class ComputeSheet(SheetRecord):
    """What work computes in."""

    matrix: PrecisionName
    vector: PrecisionName


class SchemeSheet(SheetRecord):
    """A scheme as its file describes it: either ``uniform``, or rules and what they compute in."""

    name: Text
    title: Text
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]
    notes: tuple[Text, ...] = ()
    uniform: PrecisionName | None = None
    compute: ComputeSheet | None = None
    rule: tuple[RuleSheet, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "SchemeSheet":
        if (self.uniform is None) == (not self.rule) or (self.uniform is None) == (self.compute is None):
            raise ValueError("give either uniform, or [compute] and one [[rule]] or more")
        return self

    def scheme(self) -> Scheme:
        """The scheme as it is applied."""
        if self.uniform is not None:
            return uniform_scheme(self.uniform, self.name, self.title, self.sources, self.notes)
        assert self.compute is not None
        rules = tuple(each.rule() for each in self.rule)
        return Scheme(self.name, rules, self.compute.matrix, self.compute.vector, self.title, self.sources, self.notes)


def uniform_scheme(
    precision: str, name: str = "", title: str = "", sources: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Scheme:
    """Everything of the model's own dtype in one format, which all work computes in."""
    rules = (StorageRule(format_named(precision)),)
    return Scheme(name or precision, rules, precision, precision, title, sources, notes, precision)


def load_scheme(ref: str) -> Scheme:
    """A scheme by name, or by the path of its TOML file (``….toml``)."""
    if ref.lower().endswith(".toml"):
        return own_sheet(ref, SchemeSheet, COMMAND).scheme()
    specs, name = _spec_files(), ref.lower()
    if name not in specs:
        told = PRECISION_OF_DTYPE.get(name.removeprefix("torch."))
        near = f"; near: {told}" if told else near_matches(ref[:40], specs)
        raise FxcostError(
            f"unknown precision {ref[:40]!r}{near}; `fxcost precisions` lists all, and a path to a .toml works"
        )
    scheme = sheet_of(specs[name].read_bytes(), str(specs[name]), SchemeSheet, COMMAND).scheme()
    if scheme.name != name:
        raise FxcostError(f"{specs[name]}: name is {scheme.name!r}, but the file is called {name}.toml")
    return scheme


def scheme_names() -> tuple[str, ...]:
    """The names that `load_scheme` knows: the uniform ones from wide to narrow, then all others sorted."""
    known = _spec_files()
    return (*(name for name in PRECISION_BITS if name in known), *sorted(known.keys() - PRECISION_BITS.keys()))


def _spec_files() -> dict[str, Traversable]:
    folder = files("fxcost") / "specs" / "precisions"
    return {each.name.removesuffix(".toml"): each for each in folder.iterdir() if each.name.endswith(".toml")}


def lint(scheme: Scheme) -> tuple[str, ...]:
    """One line per finding, ``key: what is wrong [rule]``; empty where the scheme says all, and nothing in vain."""
    return tuple(f"{key}: {said} [{rule}]" for rule, key, said in _findings(scheme))


def _findings(scheme: Scheme) -> Iterator[tuple[str, str, str]]:
    if not any(source.startswith("http") or "http" in source or "doi" in source for source in scheme.sources):
        yield "source", "sources", "none says where it can be read: give an address or a DOI"
    if not scheme.rules[-1].fits_all:
        yield (
            "rest",
            f"rule.{len(scheme.rules) - 1}",
            "does not fit all that is left: end with a rule of a format alone",
        )
    for place, rule in enumerate(scheme.rules):
        earlier = next((n for n, other in enumerate(scheme.rules[:place]) if _covers(other, rule)), None)
        if earlier is not None:
            yield "order", f"rule.{place}", f"never fits, for rule.{earlier} before it fits whatever it does"
        if rule.compute and rule.roles and "weight" not in rule.roles:
            yield "compute", f"rule.{place}", "says what products with weights compute in, and fits no weight"
        if not isinstance(rule.format, str) and rule.fallback is not None and rule.format.whole_blocks == 1:
            yield "fallback", f"rule.{place}", f"{rule.format.text} has no blocks that a row could leave unfilled"


def _covers(wide: StorageRule, narrow: StorageRule) -> bool:
    """Whether a rule fits whatever another does: each of its selectors is empty, or the same."""
    pairs = (
        (getattr(wide, name), getattr(narrow, name))
        for name in ("roles", "names", "operators", "products", "matrices", "head", "layers")
    )
    return all(w in ((), None, "") or w == n for w, n in pairs)

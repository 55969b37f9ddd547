"""Number formats of models as tables: all schemes, or one with its rules and sources."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fxcost.costs.graph.cost_graph import StorageRole
from fxcost.formats.number_format import NumberFormat, Scale
from fxcost.formats.schemes import AS_IS, OF_INPUTS, Scheme, StorageRule
from fxcost.reports.parts.tables import Cell, Column, Report

ROLES_TOLD = {"weight": "weights", "buffer": "buffers", "state": "cache", "input": "inputs"}


def precisions_report(schemes: Iterable[Scheme]) -> Report[Any]:
    """One row for each scheme: what weights, activations and cache are stored in, and what products compute in."""

    def stored(title: str, key: str, role: StorageRole, priority: int) -> Column[Scheme]:
        return Column(title, key, lambda each: Cell(", ".join(_kept(each, role))), numeric=False, priority=priority)

    columns: tuple[Column[Scheme], ...] = (
        Column("name", "name", lambda each: Cell(each.name), numeric=False),
        Column("stored and computed in", "title", lambda each: Cell(each.title), numeric=False, priority=1),
        stored("weights", "weights", "weight", 5),
        stored("activations", "activations", "activation", 3),
        stored("cache", "cache", "state", 2),
        Column("products in", "compute", lambda each: Cell(", ".join(_computes(each))), numeric=False, priority=4),
        Column("bits/weight", "bits_per_weight", lambda each: _bits(_narrowest(each))),
    )
    notes = (
        "bits/weight: of the narrowest format, its scales in groups and blocks included. Rules and sources: fxcost precisions NAME",
        "Composed: --precision w4a16,cache=fp8 or weights=int4:g128,activations=bf16,compute=bf16",
        "One of your own: a TOML file like these, named by its path; check it with fxcost precisions --lint FILE",
    )
    return Report(columns, tuple(schemes), notes=notes)


def _rules(scheme: Scheme, role: StorageRole) -> Iterator[StorageRule]:
    """The rules that storages of a role may come to."""
    for rule in scheme.rules:
        if not rule.roles or role in rule.roles:
            yield rule
            if StorageRule(rule.format, roles=rule.roles, compute=rule.compute) == rule:
                return


def _kept(scheme: Scheme, role: StorageRole) -> tuple[str, ...]:
    """The formats of storages of a role, the narrowest first."""
    formats = {rule.format: None for rule in _rules(scheme, role)}
    told = sorted(formats, key=lambda each: Fraction(999) if isinstance(each, str) else each.bits_per_element)
    return tuple(_format(each) for each in told)


def _format(kept: NumberFormat | str) -> str:
    return {AS_IS: "as the model", OF_INPUTS: "as inputs"}[kept] if isinstance(kept, str) else kept.text


def _computes(scheme: Scheme) -> tuple[str, ...]:
    told = (*(rule.compute for rule in scheme.rules), scheme.matrix or "the model's dtype")
    return tuple(dict.fromkeys(filter(None, told)))


def _narrowest(scheme: Scheme) -> NumberFormat | None:
    formats = [rule.format for rule in _rules(scheme, "weight") if not isinstance(rule.format, str)]
    return min(formats, key=lambda each: each.bits_per_element, default=None)


def _bits(kept: NumberFormat | None) -> Cell:
    bits = None if kept is None else kept.bits_per_element
    return Cell("" if bits is None else f"{float(bits):.6g}", "" if bits is None else float(bits))


@dataclass(frozen=True)
class _Numbered:
    """A rule and its place."""

    place: int
    rule: StorageRule


def precision_report(scheme: Scheme) -> Report[Any]:
    """The rules of one scheme in their order, what work computes in, notes and sources."""
    columns: tuple[Column[_Numbered], ...] = (
        Column("", "place", lambda each: Cell(str(each.place), each.place)),
        Column("stored in", "format", lambda each: Cell(_or_fallback(each.rule)), numeric=False),
        Column("bits", "bits", lambda each: _bits(None if isinstance(each.rule.format, str) else each.rule.format)),
        Column(
            "beside the elements", "scales", lambda each: Cell(_scales(each.rule.format)), numeric=False, priority=1
        ),
        Column("what", "what", lambda each: Cell(_what(each.rule)), numeric=False, overflow="fold"),
        Column("products in", "compute", lambda each: Cell(each.rule.compute), numeric=False, priority=2),
    )
    own = "the model's own dtype"
    return Report(
        columns,
        tuple(_Numbered(place, rule) for place, rule in enumerate(scheme.rules, 1)),
        heading=(f"{scheme.name}: {scheme.title}" if scheme.title else scheme.name,),
        notes=(
            f"contractions compute in {scheme.matrix or own} where no rule says another, all else in {scheme.vector or own}",
            "the first rule that fits a storage says its format; storages of other dtypes than the model's own stay as they are",
            *scheme.notes,
            *(f"source: {source}" for source in scheme.sources),
        ),
    )


def _or_fallback(rule: StorageRule) -> str:
    return _format(rule.format) + (f", or {rule.fallback.text}" if rule.fallback else "")


def _scales(kept: NumberFormat | str) -> str:
    if isinstance(kept, str):
        return ""
    told = [f"{each.bits} bit for {_shared(each) if isinstance(each, Scale) else each.run}" for each in kept.scales]
    return ", ".join(told)


def _shared(scale: Scale) -> str:
    if scale.rows is None:
        return "a matrix"
    if scale.columns is None:
        return "a row"
    return f"{scale.columns}" if scale.rows == 1 else f"{scale.rows}×{scale.columns}"


def _what(rule: StorageRule) -> str:
    """The storages that a rule is for."""
    parts = [" and ".join(ROLES_TOLD.get(role, f"{role}s") for role in rule.roles) or "all else"]
    parts += ["that products multiply by"] if rule.products and "weight" in rule.roles else []
    parts += ["that products make"] if rule.products and "weight" not in rule.roles else []
    parts += [f"of {', '.join(rule.operators)}"] if rule.operators else []
    parts += ["of the last product"] if rule.head else []
    parts += ["of one dimension"] if rule.matrices is False else []
    parts += [f"called {', '.join(rule.names)}"] if rule.names else []
    parts += [f"in layers {rule.layers}"] if rule.layers else []
    return " ".join(parts)

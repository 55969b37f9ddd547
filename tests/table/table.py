"""All entries, and what they cover."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from fxcost.ops import Call, Rule, rules
from tests.table import contractions, images, losses, moved, pointwise, recurrent, reductions
from tests.table.entries import Entry

ENTRIES: list[Entry] = [
    entry
    for module in (pointwise, reductions, losses, contractions, recurrent, images, moved)
    for entry in module.ENTRIES
]


def fault(entry: Entry, changed: ModuleType = rules) -> str:
    """How the rules miss what the entry counts, or nothing."""
    found = entry.found(changed)
    return "" if found == entry.expected else f"{entry}: counted {entry.expected}, but its rule says {found}"


def operators_of(*tables: Mapping[str, Rule]) -> Iterator[tuple[Rule, list[str]]]:
    """Every rule of the tables, with its operators."""
    for table in tables:
        by_rule: dict[int, tuple[Rule, list[str]]] = {}
        for name, rule in table.items():
            by_rule.setdefault(id(rule), (rule, []))[1].append(name)
        yield from by_rule.values()


RULES = list(operators_of(rules._RULES, rules._COMPLEX_RULES))
"""fxcost's own, before a test registers others."""


class Watched(Call):
    """A call that tells whether a rule looks at its operator, or for an argument that it may not have."""

    looked = False

    def __getattribute__(self, name: str) -> Any:
        if name == "operator":
            Watched.looked = True
        return super().__getattribute__(name)


class WatchedArguments(dict[str, Any]):
    def get(self, key: str, default: Any = None) -> Any:
        Watched.looked = True
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        Watched.looked = True
        return super().__contains__(key)


def depends_on_operator(rule: Rule, call: Call) -> bool:
    """Whether what a rule gives for a call may be otherwise for another of its operators."""
    watched = Watched(call.operator, WatchedArguments(call.arguments), call.outputs, call.writes_to)
    Watched.looked = False
    for amount in (rule.unknown_when, rule.free_when, rule.reads, rule.writes, rule.macs, rule.vector):
        if amount is rule.macs and (rule.unknown_when(call) or rule.free_when(call)):
            break
        amount(watched)
    return Watched.looked


def without_entry(entries: list[Entry]) -> list[str]:
    """Rules without an entry, and operators without one of rules that treat their operators apart."""
    called: dict[int, list[Entry]] = {}
    for entry in entries:
        rule = rules._rule_for(entry.call)
        if rule is not None:
            called.setdefault(id(rule), []).append(entry)
    missing: list[str] = []
    for rule, operators in RULES:
        own = called.get(id(rule), [])
        if not own:
            missing.append(f"the rule {rule.name!r} of {', '.join(operators)} has no entry")
        elif any(depends_on_operator(rule, entry.call) for entry in own):
            seen = {registered(str(entry.operator), set(operators)) for entry in own}
            missing += [
                f"{operator} of the rule {rule.name!r} has no entry" for operator in operators if operator not in seen
            ]
    return missing


def registered(operator: str, names: set[str]) -> str:
    """The name that an operator's rule stands under: its own, that of all its overloads, or of the form not in place."""
    packet = operator.rpartition(".")[0]
    return next((name for name in (operator, packet, packet.removesuffix("_")) if name in names), "")

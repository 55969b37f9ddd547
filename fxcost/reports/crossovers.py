"""From which size on layers are compute-bound, on one machine or several."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fxcost.costs.model import CostModel
from fxcost.formulas.ranges.domain import SymbolRange
from fxcost.formulas.ranges.piecewise import IntegerSet
from fxcost.inputs import BATCH_SIZE
from fxcost.reports.costs import Alike, alike, times_text
from fxcost.reports.parts.numbers import decimal, merged_name, sizes_text, symbol_lines
from fxcost.reports.parts.tables import KEPT, Cell, CellValue, Column, Report
from fxcost.reports.platforms import machine_lines
from fxcost.roofline.crossover import Crossover, step_crossovers
from fxcost.roofline.points import KEPT_ON_CHIP, WHOLE_CALL, step_points
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import Along, crossovers_tried

STYLES = {"always": "blue", "at": "blue", "within": "blue", "never": "dark_orange"}
"""The colours of `fxcost.reports.roofline.STYLES`: compute-bound somewhere, or nowhere."""

LONGEST_LIST = 3
WHOLE_CALL_TOLD = (
    f"{WHOLE_CALL}: FLOPs of all matrix products against all bytes moved, as if all ran at once; "
    f"{KEPT_ON_CHIP}: against those bytes only, as if activations stayed on the chip."
)
NO_BEST_BATCH = (
    "Under a roofline throughput never falls as the batch grows; of 190 batch curves measured on T4, A10, V100 and A40 "
    "13 fall by more than 3 %."
)


def crossover_report(
    model: CostModel,
    solved: Sequence[tuple[Machine, Sequence[Crossover]]],
    over: str,
    at: Mapping[str, int],
    *,
    wide: bool,
    tried: Along | None = None,
    beside: Sequence[Sequence[Crossover]] | None = None,
) -> Report[Any]:
    """For each layer the sizes of ``over`` at which it is compute-bound: ``wide`` with a column for each machine.

    ``beside`` are, for each machine, those of the kernels that each row is part of where contractions take in what follows.
    ``tried`` are the costs at the sizes that were looked at, where it was not solved for all.
    """
    machines, found = [machine for machine, _ in solved], [crossovers for _, crossovers in solved]
    others = others_of(model, over, at)
    among = next((c.among for each in found for c in each), None)
    asked = f", of {len(tried)} tried ({listed(map(str, tried))})" if tried else _limits(among)
    heading = (
        f"{model.ref}: compute-bound sizes of {over}{asked}" + (f" at {sizes_text(others)}" if others else ""),
        *(line for machine in machines for line in machine_lines(machine)),
        *(() if tried else (line for line in symbol_lines(model) if not line.startswith("symbols"))),
    )
    facts: dict[str, Any] = {"model": model.ref, "over": over, "at": others}
    if among is not None:
        facts["range"] = {"min": among.smallest, "max": among.high, "multiple_of": among.multiple_of}
    of = " tried" if tried else " of these" if _limits(among) else ""
    notes = tuple(_summary(machine, each, over, of) for machine, each in solved)
    if over == BATCH_SIZE:
        notes += (NO_BEST_BATCH,)
    if beside is not None:
        notes = (*map(_held, machines, found, beside), *notes)
    calls = [_whole_call(model, machine, over, at, tried) for machine in machines]
    notes = (WHOLE_CALL_TOLD, *notes)
    rows = [
        [_Solved(machine, one, other) for one, other in zip(each, others_, strict=True)]
        + [_Solved(machine, one, None) for one in call]
        for machine, each, others_, call in zip(
            machines, found, beside or [[None] * len(each) for each in found], calls, strict=True
        )
    ]
    if wide:
        return Report(_wide(machines, over, beside=beside is not None), tuple(_grouped(rows)), heading, notes, facts)
    return Report(_long(beside=beside is not None), tuple(row for each in rows for row in each), heading, notes, facts)


def _held(machine: Machine, found: Sequence[Crossover], beside: Sequence[Crossover]) -> str:
    held = sum(one.outcome == other.outcome for one, other in zip(found, beside, strict=True))
    return (
        f"{machine.name}: the verdict on {held} of {len(found)} is the same where contractions take in what "
        "follows them (--fusion epilogue)."
    )


def _whole_call(
    model: CostModel, machine: Machine, over: str, at: Mapping[str, int], tried: Along | None
) -> tuple[Crossover, ...]:
    if tried:
        return crossovers_tried(tried, machine, over, at, step_points)
    return step_crossovers(model, machine, over, at)


def others_of(model: CostModel, over: str, at: Mapping[str, int]) -> dict[str, int]:
    """The sizes of all but ``over``, those that are fixed included."""
    return {name: size for name, size in {**model.with_fixed(model.usual), **at}.items() if name != over}


def _limits(among: SymbolRange | None) -> str:
    """The sizes asked about, where they are not all."""
    return f" ({among})" if among not in (None, SymbolRange()) else ""


def _summary(machine: Machine, found: Sequence[Crossover], over: str, of: str) -> str:
    counts = {
        outcome: sum(c.outcome == outcome for c in found) for outcome in ("always", "at", "within", "never", "unknown")
    }
    words = {
        "always": f"compute-bound at every {over}{of}" if of else f"compute-bound at any {over}",
        "at": f"from some {over} on",
        "within": f"at some {over}" if of == " tried" else f"in ranges of {over}",
        "never": f"at no {over}{of}",
        "unknown": "unknown",
    }
    told = ", ".join(f"{n} {words[outcome]}" for outcome, n in counts.items() if n)
    largest = max((c.threshold for c in found if c.outcome == "at" and c.threshold), default=None)
    last = f"; all that ever become so are from {over} = {largest:,} on" if largest else ""
    return f"{machine.name}: of {len(found)} {'kernels' if any(c.layer.members for c in found) else 'operations'} {told}{last}."


@dataclass(frozen=True)
class _Solved:
    """What was found of one row on one machine."""

    machine: Machine
    found: Crossover
    beside: Crossover | None
    """Of the kernel that it is part of where contractions take in what follows them."""

    @property
    def holds(self) -> bool | None:
        """Whether the verdict is the same there."""
        return None if self.beside is None else self.beside.outcome == self.found.outcome


_Group = Sequence[tuple[_Solved, ...]]
"""Layers that repeat: for each of them what was found on all machines."""


def _wide(machines: Sequence[Machine], over: str, *, beside: bool) -> tuple[Column[_Group], ...]:
    def on(index: int) -> Column[_Group]:
        def outcome(group: _Group) -> Cell:
            crossover = group[0][index].found
            return Cell(outcome_text(crossover, over), style=STYLES.get(crossover.outcome, ""))

        name = machines[index].name
        return Column("compute-bound" if one else name, name, outcome, numeric=False, priority=8 if index else KEPT)

    one = len(machines) == 1

    def epilogue(group: _Group) -> Cell:
        there = group[0][0].beside
        if there is None:
            return Cell("")
        told = outcome_text(there, over)
        same = told == outcome_text(group[0][0].found, over)
        return Cell("the same" if same else told, style=STYLES.get(there.outcome, ""))

    limits: tuple[Column[_Group], ...] = (
        Column("with epilogues", "epilogue", epilogue, numeric=False, priority=7, hidden=not beside),
        Column("intensity limit FLOP/B", "limit", lambda group: Cell(decimal(group[0][0].found.limit, 2)), priority=4),
        Column("ridge FLOP/B", "ridge", lambda group: Cell(decimal(group[0][0].found.ridge)), priority=3),
    )
    return (
        Column("layer", "layer", _name, numeric=False, overflow="spill"),
        Column("type", "type", lambda group: Cell(group[0][0].found.layer.kind), numeric=False, priority=1),
        Column("×N", "count", lambda group: Cell(times_text(len(group)), len(group))),
        Column("unit", "unit", lambda group: Cell(group[0][0].found.unit), numeric=False, priority=2),
        *map(on, range(len(machines))),
        *(limits if one else ()),
    )


def _name(group: _Group) -> Cell:
    return Cell(merged_name([solved[0].found.layer.name for solved in group]))


def _grouped(solved: Sequence[Sequence[_Solved]]) -> list[_Group]:
    groups: dict[Alike, list[tuple[_Solved, ...]]] = {}
    for row in zip(*solved, strict=True):
        there = row[0].beside
        key = (*alike(row[0].found.layer), *(alike(there.layer) if there else ()))
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _long(*, beside: bool) -> tuple[Column[_Solved], ...]:
    def given(value: CellValue) -> Cell:
        return Cell("", "" if value is None else value)

    def checked_up_to(row: _Solved) -> Cell:
        return given(row.found.where.checked_up_to)

    def holds_from(row: _Solved) -> Cell:
        return given(row.found.among.smallest if row.found.among else None)

    def holds_to(row: _Solved) -> Cell:
        return given(row.found.among.high if row.found.among else None)

    def exact(row: _Solved) -> Cell:
        return given(None if row.found.exact is None else str(row.found.exact))

    def there(row: _Solved) -> Cell:
        return Cell(row.beside.outcome if row.beside else "")

    def there_from(row: _Solved) -> Cell:
        return given(row.beside.threshold if row.beside else None)

    epilogue: tuple[Column[_Solved], ...] = (
        Column("with epilogues", "epilogue_outcome", there, numeric=False),
        Column("from, with epilogues", "epilogue_compute_bound_from", there_from),
        Column("holds", "verdict_holds", lambda row: given(row.holds), numeric=False),
    )
    return (
        Column("platform", "platform", lambda row: Cell(row.machine.name), numeric=False),
        Column("precision", "precision", lambda row: Cell(row.machine.stored_in), numeric=False),
        Column("layer", "layer", lambda row: Cell(row.found.layer.name), numeric=False),
        Column("type", "type", lambda row: Cell(row.found.layer.module_type), numeric=False),
        Column("unit", "unit", lambda row: Cell(row.found.unit), numeric=False),
        Column("outcome", "outcome", lambda row: Cell(row.found.outcome), numeric=False),
        Column("compute-bound from", "compute_bound_from", lambda row: given(row.found.threshold)),
        Column("exact", "exact", exact, numeric=False),
        Column("intervals", "intervals", lambda row: Cell(intervals_text(row.found.where)), numeric=False),
        Column("checked up to", "checked_up_to", checked_up_to),
        Column("holds from", "holds_from", holds_from),
        Column("holds to", "holds_to", holds_to),
        Column("intensity limit FLOP/B", "intensity_limit_flop_per_byte", lambda row: given(row.found.limit)),
        Column("ridge FLOP/B", "ridge_flop_per_byte", lambda row: given(row.found.ridge)),
        *(epilogue if beside else ()),
    )


def outcome_text(crossover: Crossover, over: str) -> str:
    """The outcome in words: ``always``, ``from B = 346 (345.1)``, ``never``, or the intervals."""
    if crossover.outcome == "at":
        exact = f" ({float(crossover.exact):,.1f})" if crossover.exact is not None else ""
        end = crossover.among.high if crossover.among else None
        up_to = "" if end is None else f" to {end:,}"
        return f"from {over} = {crossover.threshold:,}{exact}{up_to}" + _as_far_as(crossover.where)
    if crossover.outcome == "within":
        return f"{over} in {intervals_text(crossover.where)}" + _as_far_as(crossover.where)
    if crossover.outcome == "unknown":
        return "unknown" if crossover.layer.coverage == "unknown" else "vector peak unpublished"
    if crossover.outcome == "never" and crossover.limit is not None:
        return f"never (→ {decimal(crossover.limit, 2)} FLOP/B)" + _as_far_as(crossover.where)
    return crossover.outcome + _as_far_as(crossover.where)


def _as_far_as(where: IntegerSet) -> str:
    return f", tried up to {where.checked_up_to:,}" if where.checked_up_to is not None else ""


def intervals_text(where: IntegerSet) -> str:
    """``97-128, 161-`` with the middle of a long list left out."""
    return listed(
        str(i.low) if i.high == i.low else f"{i.low}-{'' if i.high is None else i.high}" for i in where.intervals
    )


def listed(texts: Iterable[str]) -> str:
    """Texts with commas between, the middle of a long list left out."""
    told = list(texts)
    if len(told) > 2 * LONGEST_LIST:
        told = [*told[:LONGEST_LIST], f"… {len(told) - 2 * LONGEST_LIST} more …", *told[-LONGEST_LIST:]]
    return ", ".join(told)

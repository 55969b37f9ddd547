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
from fxcost.roofline.points import KEPT_ON_CHIP, WHOLE_STEP, step_points
from fxcost.roofline.rate import Machine
from fxcost.roofline.sweep import Along, crossovers_tried

STYLES = {"always": "blue", "at": "blue", "within": "blue", "never": "dark_orange"}
"""The colours of `fxcost.reports.roofline.STYLES`: compute-bound somewhere, or nowhere."""

LONGEST_LIST = 3
WHOLE_STEP_TOLD = (
    f"{WHOLE_STEP}: FLOPs of all matrix products against bytes of all operations, as if they ran at once; "
    f"{KEPT_ON_CHIP}: against those bytes only, as if activations stayed on the chip."
)
NO_BEST_BATCH = "Under a roofline throughput never falls as the batch grows: the best batch is the largest that a latency or memory limit allows."


def crossover_report(
    model: CostModel,
    solved: Sequence[tuple[Machine, Sequence[Crossover]]],
    over: str,
    at: Mapping[str, int],
    *,
    wide: bool,
    tried: Along | None = None,
) -> Report[Any]:
    """For each layer the sizes of ``over`` at which it is compute-bound: ``wide`` with a column for each machine.

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
    if model.state is not None:
        found = [(*each, *_whole_step(model, machine, over, at, tried)) for machine, each in solved]
        notes = (WHOLE_STEP_TOLD, *notes)
    if wide:
        return Report(_wide(machines, over), tuple(_grouped(found)), heading, notes, facts)
    rows = [_Solved(machine, c) for machine, each in zip(machines, found, strict=True) for c in each]
    return Report(_long(), tuple(rows), heading, notes, facts)


def _whole_step(
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
    return f"{machine.platform.name}: of {len(found)} operations {told}{last}."


_Group = Sequence[tuple[Crossover, ...]]
"""Layers that repeat: for each of them its crossovers on all machines."""


def _wide(machines: Sequence[Machine], over: str) -> tuple[Column[_Group], ...]:
    def on(index: int) -> Column[_Group]:
        def outcome(group: _Group) -> Cell:
            crossover = group[0][index]
            return Cell(outcome_text(crossover, over), style=STYLES.get(crossover.outcome, ""))

        name = machines[index].platform.name
        return Column("compute-bound" if one else name, name, outcome, numeric=False, priority=8 if index else KEPT)

    one = len(machines) == 1
    limits: tuple[Column[_Group], ...] = (
        Column("intensity limit FLOP/B", "limit", lambda group: Cell(decimal(group[0][0].limit, 2)), priority=4),
        Column("ridge FLOP/B", "ridge", lambda group: Cell(decimal(group[0][0].ridge)), priority=3),
    )
    return (
        Column("layer", "layer", _name, numeric=False, overflow="spill"),
        Column("type", "type", lambda group: Cell(group[0][0].layer.kind), numeric=False, priority=1),
        Column("×N", "count", lambda group: Cell(times_text(len(group)), len(group))),
        Column("unit", "unit", lambda group: Cell(group[0][0].unit), numeric=False, priority=2),
        *map(on, range(len(machines))),
        *(limits if one else ()),
    )


def _name(group: _Group) -> Cell:
    return Cell(merged_name([crossovers[0].layer.name for crossovers in group]))


def _grouped(solved: Sequence[Sequence[Crossover]]) -> list[_Group]:
    groups: dict[Alike, list[tuple[Crossover, ...]]] = {}
    for row in zip(*solved, strict=True):
        groups.setdefault(alike(row[0].layer), []).append(row)
    return list(groups.values())


@dataclass(frozen=True)
class _Solved:
    """What was found of one layer on one machine."""

    machine: Machine
    found: Crossover


def _long() -> tuple[Column[_Solved], ...]:
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

    return (
        Column("platform", "platform", lambda row: Cell(row.machine.platform.name), numeric=False),
        Column("precision", "precision", lambda row: Cell(row.machine.precision), numeric=False),
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

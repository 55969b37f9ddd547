"""Our totals beside those of other counters, and what explains each gap."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module

import torch

from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError
from fxcost.models.zoos import zoo_module
from fxcost.tracing.source import Source
from fxcost.verify.conventions import CONVENTIONS
from fxcost.verify.conventions.ledger import Row, reasons_of, rows_of
from fxcost.verify.conventions.watching import Watched, watch, with_watched
from fxcost.verify.counters import (
    COUNTERS,
    CountedIn,
    Counter,
    Device,
    apart,
    callable_by_position,
    example_inputs,
    too_large,
)
from fxcost.verify.flop_counter_mode import flops_by_torch
from fxcost.verify.random_sizes import sizes_near

SIZES = 3
LONGEST_SECONDS = 120.0
FACTOR = {"MACs": 1, "FLOPs": 2}
"""How many of a unit one multiply-add is."""


@dataclass(frozen=True)
class Agreement:
    """What one counter answers at each of the sizes, or why it does not, and how that differs from ours."""

    counter: str
    unit: CountedIn
    totals: tuple[int, ...] = ()
    failure: str = ""
    ours: tuple[int, ...] = ()
    """Our multiply-adds in the counter's unit."""
    reasons: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """What its rules, as its source has them, add to ours or leave out, where there is a gap."""

    @property
    def gaps(self) -> tuple[int, ...]:
        return tuple(total - our for total, our in zip(self.totals, self.ours, strict=True))

    @property
    def unexplained(self) -> tuple[int, ...]:
        """What is left of the gap at each of the sizes."""
        amounts = list(self.reasons.values())
        return tuple(gap - sum(each[i] for each in amounts) for i, gap in enumerate(self.gaps))


@dataclass(frozen=True)
class Comparison:
    """Every counter's verdict on one model."""

    costs: CostModel
    sizes: tuple[Mapping[str, int], ...]
    seed: int
    verdicts: tuple[Agreement, ...]
    """Of torch's own counter first."""
    missing: tuple[str, ...] = ()
    """Counters that are not installed."""

    @property
    def torchs(self) -> Agreement:
        """That of torch's own counter, the reference for contractions."""
        return self.verdicts[0]


def compare_counters(
    costs: CostModel, build: Callable[[Device], Source], at: Mapping[str, int], seed: int, say: Callable[[str], None]
) -> Comparison:
    """Run torch's counter and the installed ones at several sizes, and explain each gap from our own ledger."""
    traced = build("meta")
    module = traced.module
    if module is None:
        raise FxcostError(f"{traced.ref} is a program; other counters need the module it was exported from")
    sizes = sizes_near(costs, at, seed, SIZES)
    fixed = {name: pin.value for name, pin in costs.fixed.items()}
    runs = [{**fixed, **point} for point in sizes]
    with suppress(FxcostError):
        zoo_module("torchvision")  # counters import it in passing, which may need `zoo_module`'s help

    def by_torch() -> list[int]:
        module.to("meta")  # what a factory could only build on the CPU
        return [flops_by_torch(traced, run) for run in runs]

    device: Device = "meta" if too_large(traced) else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processes that are forked cannot use threads of their parent
    try:
        source = build("cpu") if device == "cpu" else traced
        say("watching which functions the model calls by name …")
        ledgers = [
            with_watched(rows_of(costs.at(point), module), _watched(source, run, device, say))
            for point, run in zip(sizes, runs, strict=True)
        ]
        verdicts = [explained("FlopCounterMode", "FLOPs", apart(by_torch, LONGEST_SECONDS * len(runs)), ledgers)]
        for counter in (each for each in COUNTERS if each.is_installed):
            say(f"running {counter.name} at {len(sizes)} sizes …")
            verdicts.append(_verdict(counter, source, device, runs, ledgers))
    finally:
        torch.set_num_threads(threads)
    missing = tuple(counter.name for counter in COUNTERS if not counter.is_installed)
    return Comparison(costs, sizes, seed, tuple(verdicts), missing)


def _watched(source: Source, run: Mapping[str, int], device: Device, say: Callable[[str], None]) -> Watched:
    def work() -> Watched:
        torch.backends.mha.set_fastpath_enabled(False)
        model = callable_by_position(source, run, device)
        return watch(model.model, lambda: model(*example_inputs(source, run, device).values()))

    found = apart(work, LONGEST_SECONDS)
    if isinstance(found, str):
        say(f"the model does not run on {device} tensors, so which functions it calls by name is not known: {found}")
        return Watched()
    return found


def _verdict(
    counter: Counter,
    source: Source,
    device: Device,
    runs: Sequence[Mapping[str, int]],
    ledgers: Sequence[Sequence[Row]],
) -> Agreement:
    if device == "meta" and counter.wrong_on_meta:
        return Agreement(
            counter.name,
            counter.unit,
            failure=f"the model is too large to be given weights, and it {counter.wrong_on_meta}",
        )

    def answers() -> list[float | str]:
        if counter.is_installed:
            import_module(counter.name)  # once for all sizes, which takes some of them seconds
        return [apart(lambda run=run: _answer(counter, source, device, run), LONGEST_SECONDS) for run in runs]

    return explained(counter.name, counter.unit, apart(answers, LONGEST_SECONDS * (len(runs) + 1)), ledgers)


def _answer(counter: Counter, source: Source, device: Device, run: Mapping[str, int]) -> float:
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        return counter.run(callable_by_position(source, run, device), example_inputs(source, run, device))


def explained(
    counter: str, unit: CountedIn, answers: Sequence[float | str] | str, ledgers: Sequence[Sequence[Row]]
) -> Agreement:
    """The gap between a counter's totals and ours, by reason: what its rules make of the rows of our ledger.

    An answer that is a text says why there is no total.
    """
    failure = answers if isinstance(answers, str) else next((each for each in answers if isinstance(each, str)), "")
    if failure:
        return Agreement(counter, unit, failure=failure)
    factor = FACTOR[unit]
    ours = tuple(factor * sum(row.macs for row in rows) for rows in ledgers)
    bare = Agreement(counter, unit, tuple(round(float(each)) for each in answers), ours=ours)
    if not any(bare.gaps):
        return bare
    each = [reasons_of(rows, CONVENTIONS[counter], factor) for rows in ledgers]
    names = dict.fromkeys(reason for reasons in each for reason in reasons)
    return replace(bare, reasons={name: tuple(reasons.get(name, 0) for reasons in each) for name in names})

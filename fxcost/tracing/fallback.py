"""How a module is traced: with every symbol, else with fewer; by a recorded run, else by export."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from torch.jit import ScriptModule
from torch.nn import Module

from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.ranges.domain import Pinned
from fxcost.inputs import BATCH_SIZE
from fxcost.tracing import Entangled, Held, Mismatch, Refusal, Traced, TraceTimeout, record_module, trace_module
from fxcost.tracing.source import Source

IMAGE_SIZES = ("H", "W")
USUAL_STRIDE = 32
"""What most networks for images divide heights and widths by on their way down."""


def traced_module(
    source: Source,
    sizes: Mapping[str, int],
    symbolic: Mapping[str, int],
    budget: float,
    warn: Callable[[str], None],
    asked: Collection[str] = (),
) -> Traced:
    """Record a run with every symbol, each a multiple; where that is too much, with fewer; at last with none.

    Export, which is slow, knows no leaves and no TorchScript and calls models plainly, is for a module that cannot be
    recorded with any. Sizes that the user has ``asked`` for are held where formulas do not hold at them.
    ``warn`` is told of every size that was to be symbolic and is not. Raises `FxcostError` when no rung holds.
    """
    module = source.module
    if module is None:
        raise FxcostError(f"{source.ref} is no module to trace")
    leaves = _leaves(source, module)
    failures: list[FxcostError] = []

    def record(kept: Mapping[str, int]) -> Traced:
        return record_module(module, source.arguments, sizes, kept, budget, leaves)

    for letters, traced in _kept(record, symbolic, sizes, asked, failures):
        _check_leaves_ran(source, leaves, traced)
        return _told(traced, letters, symbolic, sizes, failures, warn)
    scripted = any(isinstance(each, ScriptModule) for each in module.modules())
    if not (leaves or source.arguments.call or scripted or any(isinstance(each, _RAN) for each in failures)):
        try:
            traced = trace_module(module, source.arguments, sizes, symbolic, budget)
        except FxcostError as error:
            failures.append(error)
        else:
            return _told(traced, symbolic, symbolic, sizes, [], warn)
    try:  # what holds at one size alone, or is work in threads, which take no carried sizes
        traced = record({})
    except FxcostError as error:
        raise _failure([*failures, error], symbolic, budget) from error
    return _told(traced, {}, symbolic, sizes, failures, warn)


def _kept(
    record: Callable[[Mapping[str, int]], Traced],
    symbolic: Mapping[str, int],
    sizes: Mapping[str, int],
    asked: Collection[str],
    failures: list[FxcostError],
) -> Iterator[tuple[Mapping[str, int], Traced]]:
    """The rungs that hold, each with the symbols that it keeps; ``failures`` collects why others do not."""
    for letters in _rungs(symbolic, sizes):
        narrowed = [name for name in letters if letters[name] != symbolic[name]]
        if narrowed and not isinstance(failures[-1], Entangled):
            continue
        try:
            traced = _recorded(record, letters, sizes, asked)
        except Refusal:
            raise
        except FxcostError as error:
            failures += [] if narrowed else [error]
        else:
            # Where multiples leave one size of a symbol, they were not all that it needed.
            if not any(name in traced.fixed or traced.symbols[name].is_single for name in narrowed):
                yield letters, traced


_RAN = (Mismatch, TraceTimeout, Entangled)
"""What is told of a module that can be recorded, for which export would be no better."""


def _failure(failures: Sequence[FxcostError], symbolic: Iterable[str], budget: float) -> FxcostError:
    """What to tell where no rung holds."""
    mismatch = next((failure for failure in failures if isinstance(failure, Mismatch)), None)
    if mismatch is not None:
        return mismatch
    last = failures[-1]
    if isinstance(last, TraceTimeout):
        return FxcostError(f"{last}\nGive it more with --budget {budget * 4:g}, or keep fewer symbols with --symbolic")
    if isinstance(last, Entangled):
        return FxcostError(f"{last}\nTo have fewer, {_advice(symbolic)}")
    return last


def _recorded(
    record: Callable[[Mapping[str, int]], Traced],
    letters: Mapping[str, int],
    sizes: Mapping[str, int],
    asked: Collection[str],
) -> Traced:
    """A recording in which sizes that must be held are held at the size that was asked for, from the start."""
    held: dict[str, str] = {}
    while True:
        kept = {name: multiple for name, multiple in letters.items() if name not in held}
        try:
            traced = record(kept)
        except Held as found:
            held |= found.held
            continue
        moved = {n: pin.where for n, pin in traced.fixed.items() if n in kept and pin.value != sizes[n]}
        if not moved:
            traced = replace(traced, fixed={**traced.fixed, **{n: Pinned(sizes[n], held[n]) for n in held}})
            return _held_as_asked(record, traced, kept, sizes, asked)
        held |= moved


def _held_as_asked(
    record: Callable[[Mapping[str, int]], Traced],
    traced: Traced,
    letters: Mapping[str, int],
    sizes: Mapping[str, int],
    asked: Collection[str],
) -> Traced:
    """The trace; where its formulas do not hold at the sizes that were asked for, another with these held."""
    refused = {name: why for name, why in _refusals(traced, sizes).items() if name in asked}
    if refused:
        with suppress(FxcostError):  # it does not run there: the formulas say from where on it does
            found = record({name: multiple for name, multiple in letters.items() if name not in refused})
            fixed = {
                name: Pinned(sizes[name], f"elsewhere the model runs otherwise{why}") for name, why in refused.items()
            }
            return replace(found, fixed={**traced.fixed, **found.fixed, **fixed})
    return traced


def _refusals(traced: Traced, sizes: Mapping[str, int]) -> dict[str, str]:
    """The symbols at whose sizes the formulas do not hold, each with the place that says so."""
    found = {name: each.where for name, each in traced.symbols.items() if each.refusal(name, sizes[name]) is not None}
    for condition in () if found else traced.conditions:
        if not condition.holds({**sizes, **{name: pin.value for name, pin in traced.fixed.items()}}):
            found |= dict.fromkeys(sorted(condition.names), condition.where)
    return {name: f" ({where})" if where else "" for name, where in found.items()}


def _check_leaves_ran(source: Source, leaves: tuple[str, ...], traced: Traced) -> None:
    """A leaf that the model never calls would be counted as if nobody had asked."""
    if traced.ended:
        return
    for leaf in leaves:
        if leaf in traced.modules or any(leaf.startswith(f"{other}.") for other in leaves):
            continue
        called = next((path for path in traced.modules if path.startswith(f"{leaf}.")), None)
        instead = f"one that it calls, such as {called}" if called else "a submodule that it calls"
        raise FxcostError(
            f"--leaf {leaf}: {source.ref} never calls {leaf} itself, so it is no step of the run\nName {instead}"
        )


def _leaves(source: Source, module: Module) -> tuple[str, ...]:
    """The leaves by the first of their names, which a run knows them by; the user may name a shared module by another."""
    paths: dict[str, Module] = dict(module.named_modules(remove_duplicate=False))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # torch leaves it open
    first = {each: path for path, each in reversed(paths.items())}
    for leaf in source.leaves:
        if leaf not in paths:
            raise FxcostError(f"--leaf {leaf}: {source.ref} has no submodule of that path{near_matches(leaf, paths)}")
    return tuple(dict.fromkeys(first[paths[leaf]] for leaf in source.leaves))


def _rungs(symbolic: Mapping[str, int], sizes: Mapping[str, int]) -> Iterator[Mapping[str, int]]:
    """All symbols, then image sizes as multiples, for networks that halve them again and again, then fewer each time."""
    rungs = [
        dict(symbolic),
        {n: USUAL_STRIDE if _may_be_multiple(n, m, sizes[n]) else m for n, m in symbolic.items()},
        {name: multiple for name, multiple in symbolic.items() if name not in IMAGE_SIZES},
        {name: multiple for name, multiple in symbolic.items() if name == BATCH_SIZE},
    ]
    yield from (rung for place, rung in enumerate(rungs) if rung not in rungs[:place])


def _may_be_multiple(name: str, multiple: int, size: int) -> bool:
    return name in IMAGE_SIZES and multiple == 1 and size % USUAL_STRIDE == 0


def _told(
    traced: Traced,
    letters: Mapping[str, int],
    symbolic: Mapping[str, int],
    sizes: Mapping[str, int],
    failures: list[FxcostError],
    warn: Callable[[str], None],
) -> Traced:
    """The trace with the sizes that it could not keep written down as fixed, each of them told."""
    fixed = [name for name in symbolic if name not in letters]
    why = _reason(failures[-1]) if failures else ""
    if fixed:
        at = " and ".join(f"{name}={sizes[name]}" for name in fixed)
        again = f"trace again with --at {','.join(f'{name}=…' for name in fixed)}, or sweep over them"
        warn(
            f"{at} fixed: {why}; the formulas are in {', '.join(letters) or 'no symbol'}.\n"
            f"For other sizes {again}"
            f"{f'; or {_advice(fixed)}' * isinstance(failures[-1], Entangled)}"
        )
    narrowed = [name for name in letters if letters[name] != symbolic[name]]
    if narrowed:
        warn(
            f"{' and '.join(narrowed)} kept as multiples of {USUAL_STRIDE}: {why}\n"
            f"For other sizes trace with --symbolic {','.join(name for name in symbolic if name not in narrowed)} --at {','.join(f'{name}=…' for name in narrowed)}"
        )
    tell_pins(traced, letters, warn)
    if traced.ended:
        warn(f"the run ended in the leaf {traced.ended}\nWhat follows it was not reached, and is unknown")
    return replace(traced, fixed={**traced.fixed, **{name: Pinned(sizes[name], why) for name in fixed}})


def _reason(failure: FxcostError) -> str:
    if isinstance(failure, (TraceTimeout, Entangled)):
        return str(failure)
    return f"with it symbolic, {str(failure).splitlines()[0]}"


def _advice(names: Iterable[str]) -> str:
    multiples = ",".join(f"{name}%{USUAL_STRIDE}" for name in names)
    return f"declare multiples (--symbolic {multiples}), give sizes that are alike one symbol, or keep fewer symbols"


def tell_pins(traced: Traced, symbolic: Iterable[str], warn: Callable[[str], None]) -> None:
    """Tell of the symbols that the model itself holds fixed."""
    for name in symbolic:
        if name in traced.fixed:
            warn(f"{name} is fixed at {traced.fixed[name].value}: {traced.fixed[name].where}")

"""How a module is traced: with every symbol, else with fewer; by a recorded run, else by export."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from torch.jit import ScriptModule
from torch.nn import Module

from fxcost.building import Source
from fxcost.conditions import Pinned
from fxcost.costs import BATCH_SIZE
from fxcost.errors import FxcostError, near_matches
from fxcost.tracing import Entangled, Held, Mismatch, Refusal, Traced, TraceTimeout, record_module, trace_module

IMAGE_SIZES = ("H", "W")


def traced_module(
    source: Source, sizes: Mapping[str, int], symbolic: tuple[str, ...], budget: float, warn: Callable[[str], None]
) -> Traced:
    """Record a run with every symbol; where that is too much, with the image sizes fixed, then with all but the batch.

    Export, which is slow, knows no leaves and no TorchScript and calls models plainly, is for a module that cannot be
    recorded at all. TorchScript that reads sizes reads numbers, and is recorded with none free.
    ``warn`` is told of every size that was to be symbolic and is not. Raises `FxcostError` when no rung holds.
    """
    module = source.module
    if module is None:
        raise FxcostError(f"{source.ref} is no module to trace")
    leaves = _leaves(source, module)
    scripted = any(isinstance(each, ScriptModule) for each in module.modules())
    failures: list[FxcostError] = []
    for letters in _rungs(symbolic, scripted):
        try:
            traced = _recorded(
                lambda kept: record_module(module, source.arguments, sizes, kept, budget, leaves), letters, sizes
            )
        except Refusal:
            raise
        except FxcostError as error:
            failures.append(error)
        else:
            _check_leaves_ran(source, leaves, traced)
            return _told(traced, letters, symbolic, sizes, failures, warn)
    mismatch = next((failure for failure in failures if isinstance(failure, Mismatch)), None)
    if mismatch is not None:
        with suppress(FxcostError):  # what holds at one size alone is still that
            traced = record_module(module, source.arguments, sizes, (), budget, leaves)
            return _told(traced, (), symbolic, sizes, failures, warn)
        raise mismatch
    if all(isinstance(failure, (TraceTimeout, Entangled)) for failure in failures):
        raise FxcostError(
            f"{failures[-1]}\nGive it more with --budget {budget * 4:g}, or keep fewer symbols with --symbolic"
        )
    if leaves or source.arguments.call is not None or scripted:
        raise failures[0]
    try:
        traced = trace_module(module, source.arguments, sizes, symbolic, budget)
    except TraceTimeout:
        raise
    except FxcostError:
        # Work in threads takes no carried sizes; at sizes that are numbers it is seen to be there.
        with suppress(FxcostError):
            traced = record_module(module, source.arguments, sizes, (), budget)
            return _told(traced, (), symbolic, sizes, failures, warn)
        raise
    return _told(traced, symbolic, symbolic, sizes, [], warn)


def _recorded(
    record: Callable[[tuple[str, ...]], Traced], letters: tuple[str, ...], sizes: Mapping[str, int]
) -> Traced:
    """A recording in which sizes that must be held are held at the size that was asked for, from the start."""
    held: dict[str, str] = {}
    while True:
        kept = tuple(name for name in letters if name not in held)
        try:
            traced = record(kept)
        except Held as found:
            held |= found.held
            continue
        moved = {n: pin.where for n, pin in traced.fixed.items() if n in kept and pin.value != sizes[n]}
        if not moved:
            return replace(traced, fixed={**traced.fixed, **{n: Pinned(sizes[n], held[n]) for n in held}})
        held |= moved


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


def _rungs(symbolic: tuple[str, ...], scripted: bool) -> Iterator[tuple[str, ...]]:
    """Fewer symbols each time."""
    rungs = [
        symbolic,
        tuple(name for name in symbolic if name not in IMAGE_SIZES),
        tuple(name for name in symbolic if name == BATCH_SIZE),
    ]
    yield from dict.fromkeys([*rungs, ()] if scripted else rungs)


def _told(
    traced: Traced,
    letters: tuple[str, ...],
    symbolic: tuple[str, ...],
    sizes: Mapping[str, int],
    failures: list[FxcostError],
    warn: Callable[[str], None],
) -> Traced:
    """The trace with the sizes that it could not keep written down as fixed, each of them told."""
    fixed = [name for name in symbolic if name not in letters]
    why = _reason(failures[-1]) if failures else ""
    if fixed:
        at = " and ".join(f"{name}={sizes[name]}" for name in fixed)
        warn(
            f"{at} fixed: {why}; the formulas are in {', '.join(letters) or 'no symbol'}.\n"
            f"For other sizes trace again with --at {','.join(f'{name}=…' for name in fixed)}, or sweep over them"
        )
    tell_pins(traced, letters, warn)
    if traced.ended:
        warn(f"the run ended in the leaf {traced.ended}\nWhat follows it was not reached, and is unknown")
    return replace(traced, fixed={**traced.fixed, **{name: Pinned(sizes[name], why) for name in fixed}})


def _reason(failure: FxcostError) -> str:
    if isinstance(failure, (TraceTimeout, Entangled)):
        return str(failure)
    return f"with it symbolic, {str(failure).splitlines()[0]}"


def tell_pins(traced: Traced, symbolic: tuple[str, ...], warn: Callable[[str], None]) -> None:
    """Tell of the symbols that the model itself holds fixed."""
    for name in symbolic:
        if name in traced.fixed:
            warn(f"{name} is fixed at {traced.fixed[name].value}: {traced.fixed[name].where}")

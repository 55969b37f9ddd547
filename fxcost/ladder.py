"""How a module is traced: with every symbol, else with fewer; by a recorded run, else by export."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from torch.nn import Module

from fxcost.building import Source
from fxcost.conditions import Pinned
from fxcost.errors import FxcostError, near_matches
from fxcost.tracing import Entangled, Mismatch, Traced, TraceTimeout, record_module, trace_module

IMAGE_SIZES = ("H", "W")
BATCH_SIZE = "B"


def traced_module(
    source: Source, sizes: Mapping[str, int], symbolic: tuple[str, ...], budget: float, warn: Callable[[str], None]
) -> Traced:
    """Trace with every symbol; where that is too much, with the image sizes fixed, then with all but the batch.

    ``warn`` is told of every size that was to be symbolic and is not. Raises `FxcostError` when no rung holds.
    """
    module, late = source.module, ""
    if module is None:
        raise FxcostError(f"{source.ref} is no module to trace")
    paths: dict[str, Module] = dict(module.named_modules())  # pyright: ignore[reportUnknownArgumentType]  # torch leaves it open
    for leaf in source.leaves:
        if leaf not in paths:
            raise FxcostError(f"--leaf {leaf}: {source.ref} has no submodule of that path{near_matches(leaf, paths)}")
    for letters in _rungs(symbolic):
        try:
            traced = _traced(source, module, sizes, letters, budget)
        except (TraceTimeout, Entangled) as why:
            late = str(why)
            continue
        fixed = [name for name in symbolic if name not in letters]
        if fixed:
            warn(_told(fixed, letters, sizes, late))
        tell_pins(traced, letters, warn)
        if traced.ended:
            warn(f"the run ended in the leaf {traced.ended}\nWhat follows it was not reached, and is unknown")
        return replace(traced, fixed={**traced.fixed, **{name: Pinned(sizes[name], late) for name in fixed}})
    raise FxcostError(f"{late}\nGive it more with --budget {budget * 4:g}, or keep fewer symbols with --symbolic")


def _rungs(symbolic: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Fewer symbols each time."""
    rungs = (
        symbolic,
        tuple(name for name in symbolic if name not in IMAGE_SIZES),
        tuple(name for name in symbolic if name == BATCH_SIZE),
    )
    yield from dict.fromkeys(rungs)


def _told(fixed: list[str], letters: tuple[str, ...], sizes: Mapping[str, int], late: str) -> str:
    at = " and ".join(f"{name}={sizes[name]}" for name in fixed)
    return (
        f"{at} fixed: {late}; the formulas are in {', '.join(letters) or 'no symbol'}.\n"
        f"For other sizes trace again with --at {','.join(f'{name}=…' for name in fixed)}, or sweep over them"
    )


def tell_pins(traced: Traced, symbolic: tuple[str, ...], warn: Callable[[str], None]) -> None:
    """Tell of the symbols that the model itself holds fixed."""
    for name in symbolic:
        if name in traced.fixed:
            warn(f"{name} is fixed at {traced.fixed[name].value}: {traced.fixed[name].where}")


def _traced(
    source: Source, module: Module, sizes: Mapping[str, int], symbolic: tuple[str, ...], budget: float
) -> Traced:
    """By a recorded run; by export, which knows no leaves, where that is not possible."""
    try:
        return record_module(module, source.arguments, sizes, symbolic, budget, source.leaves)
    except (TraceTimeout, Entangled, Mismatch):
        raise
    except FxcostError:
        if source.leaves:
            raise
        return trace_module(module, source.arguments, sizes, symbolic, budget)

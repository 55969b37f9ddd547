"""From a model to its `CostModel`: build, trace down the ladder, run the passes, collect the rows."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from math import lcm, prod
from typing import Any

import torch

from fxcost.costs.collecting import collect
from fxcost.costs.files.saved import as_text, from_text
from fxcost.costs.model import CostModel, cautions, fit, refuse_unknown
from fxcost.costs.notes.attention_notes import attention_notes
from fxcost.costs.notes.cache_copies import refuse_copies
from fxcost.costs.notes.expert_notes import expert_notes
from fxcost.costs.notes.packed_numbers import packed_notes
from fxcost.costs.notes.unused_modules import leftover_notes
from fxcost.errors import FxcostError, near_matches
from fxcost.formulas.algebra import Formula
from fxcost.formulas.evaluation import assume_multiple
from fxcost.formulas.ranges.domain import check_sizes
from fxcost.graph.pipeline import Pipeline
from fxcost.inputs import BATCH_SIZE, describe, parse_input, parse_symbolic
from fxcost.models.attention_masks import full_rows, reads_stand_ins
from fxcost.models.references import load_source
from fxcost.passes.flops import flops_pass
from fxcost.passes.parameters import parameters
from fxcost.passes.traffic import traffic_pass
from fxcost.passes.verdict import verdict
from fxcost.request import Mode, Request
from fxcost.tracing import (
    Traced,
    arguments_like,
    loaded_program,
    materialized,
    program_arguments,
    trace_program,
    untouched,
)
from fxcost.tracing.fallback import tell_pins, traced_module
from fxcost.tracing.isolation import CannotFork, in_child
from fxcost.tracing.position_tables import within_tables
from fxcost.tracing.source import Source
from fxcost.tracing.stack_room import with_room

MOST_ELEMENTS = 2**58
"""Of one input: torch numbers the bytes of a tensor in 63 bits, and an element has up to 16 of them."""
DECODE_INPUTS = "decoding has inputs of its own, a token for each sequence and a cache; leave the others out"


def trace_source(source: Source, request: Request, warn: Callable[[str], None]) -> CostModel:
    """Trace a model and cost it; ``warn`` is told of every size that was to be symbolic and is not.

    Raises `FxcostError` when the model cannot be traced, `UnknownOperatorsError` when the request is strict
    and the model calls operators without a rule.
    """
    return with_room(lambda: _costed(source, request, warn))


def _costed(source: Source, request: Request, warn: Callable[[str], None]) -> CostModel:
    source = replace(source, leaves=(*source.leaves, *request.leaves))
    if request.mode == "decode":
        from fxcost.models.decoding import (
            decode_source,  # leans on transformers, which is slow to import and may be missing
        )

        source = decode_source(source)
    program = loaded_program(source.program) if source.program else None
    if program is not None and source.leaves:
        raise FxcostError(f"--leaf needs the model itself: {source.ref} is a program, whose submodules are gone")
    if program is not None and not source.arguments.specs():
        arguments, exported_at = program_arguments(program)
        source = replace(source, arguments=arguments, defaults=exported_at)
    multiples = _multiples(source, request.symbolic)
    sizes = _sizes(source, multiples, request.sizes or {})
    if program is not None:
        traced = trace_program(program, source.arguments.specs(), sizes, tuple(multiples))
        tell_pins(traced, tuple(multiples), warn)
    else:
        if source.module is not None:
            source = replace(source, module=materialized(source.module, source.arguments, sizes))
        source, traced = _run(source, sizes, multiples, request, warn)
    traced = within_tables(source, traced)
    passes = (
        verdict,
        parameters,
        flops_pass(causal_skip=request.causal_skip),
        traffic_pass(attention=request.attention),
        *request.passes,
    )
    Pipeline(passes).run(traced.graph)
    if request.look:
        request.look(traced.graph, tuple(each.provides.name for each in passes))
    model = collect(source, traced, sizes, _assumptions(source, request, traced), request.passes)
    model.check()
    if request.mode == "decode":
        refuse_copies(source.ref, traced.graph)
    for caution in cautions(model):
        warn(caution)
    if request.strict:
        refuse_unknown(model)
    return _with_usual_sizes(_with_multiples(model, multiples), request.sizes or {})


def _run(
    source: Source, sizes: Mapping[str, int], symbolic: Mapping[str, int], request: Request, warn: Callable[[str], None]
) -> tuple[Source, Traced]:
    """The trace of a module, and the source with what was assumed of its masks."""
    for windows in (True, False):
        with full_rows(source.module, skipping=request.causal_skip, windows=windows) as answers:
            traced = traced_module(source, sizes, symbolic, request.budget, warn, asked=request.sizes or ())
        if not (windows and reads_stand_ins(traced.graph)):
            break
    return replace(source, assumptions=(*source.assumptions, *answers.notes())), traced


def _multiples(source: Source, symbolic: str | None) -> dict[str, int]:
    known = source.arguments.symbols()
    if symbolic is None:
        return dict.fromkeys(known, 1)
    asked = parse_symbolic(symbolic)
    for name in asked:
        if name not in known:
            raise FxcostError(
                f"no input of {source.ref} has a symbol {name}{near_matches(name, known)}; its inputs: {describe(source.arguments.given())}"
            )
    return asked


def _sizes(source: Source, multiples: Mapping[str, int], given: Mapping[str, int]) -> dict[str, int]:
    known = source.arguments.symbols()
    for name in given:
        if name not in known:
            raise FxcostError(
                f"--at {name}={given[name]}: no input has a symbol {name}; the inputs: {describe(source.arguments.given())}"
            )
    sizes = {BATCH_SIZE: 1, **source.defaults, **given}
    missing = [name for name in known if name not in sizes]
    if missing:
        raise FxcostError(
            f"no usual size is known for {', '.join(missing)}; give one with --at {','.join(f'{m}=64' for m in missing)}"
        )
    taken = {name: -(-sizes[name] // multiples.get(name, 1)) * multiples.get(name, 1) for name in known}
    for spec in source.arguments.specs():
        if prod(spec.shape(taken)) > MOST_ELEMENTS:
            at = ", ".join(f"{name}={size}" for name, size in taken.items())
            raise FxcostError(
                f"the input {spec} has more than 2^58 elements at {at or 'these sizes'}; give smaller sizes with --at"
            )
    return taken


def _with_usual_sizes(model: CostModel, given: Mapping[str, int]) -> CostModel:
    """The user's sizes as they were given, which are refused outside the range; others moved to where formulas hold.

    Raises `FxcostError` for a size of the user's that the formulas do not have at all.
    """
    pinned = {name: pin.value for name, pin in model.fixed.items() if name in given}
    check_sizes({name: given[name] for name in pinned}, {}, (), pinned)
    usual = {name: given.get(name, fit(size, model.symbols[name])) for name, size in model.defaults.items()}
    return replace(model, defaults=usual)


def _assumptions(source: Source, request: Request, traced: Traced) -> tuple[str, ...]:
    graph = traced.graph
    notes = ["one multiply-add is 2 FLOPs", "each operation runs alone: inputs read once, outputs written once"]
    notes += (*source.assumptions, *traced.assumptions)
    notes += attention_notes(
        graph, request.attention, decodes=request.mode == "decode", causal_skip=request.causal_skip
    )
    notes += expert_notes(graph)
    notes += packed_notes(graph)
    notes += leftover_notes(source, graph)
    return tuple(notes)


def _with_multiples(model: CostModel, multiples: Mapping[str, int]) -> CostModel:
    """Rewrite formulas where a symbol is declared a multiple, so that floors of it vanish."""
    declared = {name: m for name, m in multiples.items() if m > 1 and name in model.symbols}
    if not declared:
        return model
    symbols = dict(model.symbols)
    for name, multiple in declared.items():
        old = symbols[name]
        together = lcm(old.multiple_of, multiple)
        symbols[name] = replace(old, low=-(-old.low // together) * together, multiple_of=together)
    known: dict[Formula, Formula] = {}

    def rewrite(quantity: Any) -> Any:
        if not isinstance(quantity, Formula):
            return quantity
        if quantity not in known:
            known[quantity] = assume_multiple(quantity, declared)
        return known[quantity]

    layers = tuple(replace(layer.map(rewrite), edges=layer.edges.map(rewrite)) for layer in model.layers)
    return replace(model, layers=layers, symbols=symbols, graph=model.graph and model.graph.map(rewrite))


def trace_given(
    model: str | torch.nn.Module,
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    request: Request,
    warn: Callable[[str], None],
    *,
    isolated: bool,
) -> CostModel:
    """As `fxcost.trace`: a model by reference, or a module in a process of its own where ``isolated``."""
    if request.mode == "decode" and (inputs or kwargs):
        raise FxcostError(DECODE_INPUTS)
    if isinstance(model, str):
        specs = [parse_input(each) if isinstance(each, str) else each for each in inputs]
        return trace_source(load_source(model, settings, specs), request, warn)

    arguments, sizes = arguments_like(model, inputs, kwargs)
    source = Source(type(model).__name__, model, arguments)
    request = replace(request, sizes={**sizes, **(request.sizes or {})})
    if isolated:
        try:
            return _traced_apart(source, request, warn)
        except CannotFork as why:
            warn(f"{source.ref} is traced in this process, and what its modules hold put back: {why}")
    with untouched(model):
        return trace_source(source, request, warn)


def _traced_apart(source: Source, request: Request, warn: Callable[[str], None]) -> CostModel:
    """`trace_source` in a process of its own. Raises `CannotFork` where there can be none."""
    _import_all(request.mode)
    place = f"the trace of {source.ref}"
    found = in_child(
        lambda say: as_text(trace_source(source, request, say)), f"tracing {source.ref}", request.budget, warn
    )
    return from_text(found, place)


def _import_all(mode: Mode) -> None:
    """All that a trace imports on its way, which else each child would anew."""
    modules = ["torch._dynamo", "torch.utils._device", "sympy.tensor.tensor"]
    for name in modules + ["fxcost.models.decoding"] * (mode == "decode"):
        import_module(name)

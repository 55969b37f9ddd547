"""From what a command is given to a model's costs, a point and machines."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from fxcost.cli.terminal import progress, say
from fxcost.errors import FxcostError
from fxcost.options import Asked
from fxcost.request import Look, Request

if TYPE_CHECKING:
    from fxcost.costs.model import CostModel
    from fxcost.costs.retracing import Traces
    from fxcost.machines.sheets import Platform
    from fxcost.request import Fusion
    from fxcost.roofline.rate import Machine


def costs_of(model: str, asked: Asked) -> "CostModel":
    """The costs of a model reference, traced now, or of a saved file."""
    return traces_of(model, asked).first


USUAL_SIZE = 64
"""What a symbol that is solved for is traced at where no usual size is known for it: its formulas hold for others too."""


def traces_of(
    model: str,
    asked: Asked,
    tried: Mapping[str, Sequence[int]] | None = None,
    look: Look | None = None,
) -> "Traces":
    """The costs of a model reference, traced now and again for other sizes, or of a saved file.

    The graph is shown to ``look``. A symbol whose sizes are ``tried``, or that is solved for where these are none, needs no usual size.
    """
    from fxcost.costs.experts import with_experts
    from fxcost.costs.retracing import Traces

    if is_saved(model):
        return Traces(with_experts(_saved_costs(model, asked), asked.experts))
    from fxcost.inputs import parse_input, parse_sizes

    specs = [parse_input(text) for text in asked.inputs or ()]
    sizes = parse_sizes(asked.at or "")
    with progress(f"building and tracing {model} (up to {asked.budget:g} s a trace)"):
        from fxcost.costs.analysis import DECODE_INPUTS, trace_source
        from fxcost.models.references import load_source
        from fxcost.plugins import load_plugins

        if asked.mode == "decode" and specs:
            raise FxcostError(f"--mode decode beside --input: {DECODE_INPUTS}")
        passes = load_plugins(asked.plugins or ())
        request = Request(
            asked.symbolic,
            sizes,
            asked.budget,
            asked.attention,
            asked.causal_skip,
            asked.strict,
            passes,
            tuple(asked.leaves or ()),
            asked.mode,
            look,
        )
        source = load_source(model, settings_of(asked.settings), specs)
        largest = {name: max(sizes, default=USUAL_SIZE) for name, sizes in (tried or {}).items()}
        known = {name: size for name, size in largest.items() if name in source.arguments.symbols()}
        source = replace(source, defaults={**known, **source.defaults})
        first = with_experts(trace_source(source, request, say), asked.experts)
    if source.program:
        return Traces(first)

    def again(sizes: Mapping[str, int]) -> "CostModel":
        with progress(f"tracing {model} again at {', '.join(f'{name}={size}' for name, size in sizes.items())}"):
            symbolic = ",".join(first.symbols)
            other = replace(request, symbolic=symbolic, sizes=sizes, look=None)
            return with_experts(trace_source(source, other, lambda _: None), asked.experts)

    return Traces(first, again)


def is_saved(text: str) -> bool:
    """Whether a text names a saved file; a configuration of transformers may end like one."""
    return text.lower().endswith(".json") and not text.startswith("hf:")


def _saved_costs(path: str, asked: Asked) -> "CostModel":
    """A saved model; what could only change its trace is refused, not passed over."""
    needs_model = {
        "--symbolic": asked.symbolic,
        "--input": asked.inputs,
        "--set": asked.settings,
        "--plugin": asked.plugins,
        "--leaf": asked.leaves,
        "--attention": asked.attention != Request.attention,
        "--causal-skip": asked.causal_skip,
        "--mode": asked.mode != Request.mode,
    }
    for option, given in needs_model.items():
        if given:
            raise FxcostError(f"{option} needs the model: {path} holds formulas that were traced already")
    from fxcost.costs.files.saved import load
    from fxcost.costs.model import cautions, refuse_unknown

    costs = load(path)
    for caution in cautions(costs):
        say(caution)
    if asked.strict:
        refuse_unknown(costs)
    return costs


def point_of(costs: "CostModel", at: str | None) -> dict[str, int]:
    """The sizes of ``--at``, each of a symbol that the model has or holds fixed."""
    from fxcost.inputs import parse_sizes

    sizes = parse_sizes(at or "")
    for name in sizes:
        costs.check_symbol(name)
    return sizes


def fusion_of(costs: "CostModel", asked: "Fusion | None", model: str) -> "Fusion":
    """The fusion that is asked for, else ``pointwise``, or ``none`` for a file that cannot tell more, which is said."""
    if asked is not None or costs.graph is not None:
        return asked or "pointwise"
    say(f"{model} was saved before files held who feeds whom: each operation is told alone, as with --fusion none")
    return "none"


def platforms_of(names: list[str]) -> "list[Platform]":
    """The machines of ``--platform``. Raises `FxcostError` for one that is named twice."""
    from fxcost.machines.sheets import load_platform

    platforms = [load_platform(name) for name in names]
    known = [platform.name for platform in platforms]
    if twice := [name for name in dict.fromkeys(known) if known.count(name) > 1]:
        raise FxcostError(f"--platform names {', '.join(twice)} twice; name each machine once")
    return platforms


def machines_of(
    costs: "CostModel", names: list[str], precisions: list[str] | None
) -> "tuple[list[Machine], dict[str, str]]":
    """The machines of ``--platform`` for a model's dtype, or for each ``--precision``, and those that have none, with why.

    Raises `FxcostError` where no machine is left.
    """
    from fxcost.formats.composing import schemes_named
    from fxcost.roofline.rate import machine_for

    schemes = schemes_named(precisions) if precisions else (None,)
    platforms = platforms_of(names)
    machines: list[Machine] = []
    refused: dict[str, str] = {}
    for platform, scheme in product(platforms, schemes):
        label = f"{platform.name} {scheme.name}" if scheme and len(schemes) > 1 else ""
        try:
            machines.append(machine_for(costs, platform, scheme, label))
        except FxcostError as error:
            if len(platforms) * len(schemes) == 1:
                raise
            refused[label or platform.name] = str(error).splitlines()[0].removeprefix(f"{platform.name} ")
    if not machines:
        raise FxcostError("; ".join(f"{name} {why}" for name, why in refused.items()))
    return machines, refused


def settings_of(texts: list[str] | None) -> dict[str, Any]:
    """Read ``width=64``: a value that is no number, true, false or null is a text."""
    settings: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise FxcostError(f"--set {text!r} is not of the form key=value")
        if name in settings:
            raise FxcostError(f"--set gives {name} twice, {settings[name]!r} and {value!r}; give it one value")
        settings[name] = value
        with suppress(ValueError, RecursionError):
            settings[name] = json.loads(value.lower() if value in ("True", "False") else value)
    return settings

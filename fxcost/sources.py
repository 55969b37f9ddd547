"""From a model reference to a module and what it is called with."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fxcost.building import Source, build_source, signature_of
from fxcost.errors import FxcostError, near_matches
from fxcost.files import checked_file
from fxcost.huggingface import huggingface_model
from fxcost.inputs import Arguments, InputSpec, as_called
from fxcost.loading import python_module
from fxcost.zoos import timm_model, torchvision_model, zoo_module

FORMS = "resnet50, torchvision:NAME, timm:NAME, hf:REPO_OR_CONFIG, package.module:factory, path/to/file.py:factory, program.pt2"


def load_source(ref: str, settings: Mapping[str, Any] | None = None, inputs: Iterable[InputSpec] = ()) -> Source:
    """Build the model that ``ref`` names, with ``settings`` as arguments of its factory.

    ``inputs`` replace the inputs known for the model. Raises `FxcostError` for a reference that names nothing.
    """
    settings = dict(settings or {})
    kind, _, name = ref.partition(":")
    builders: dict[str, Callable[[str, dict[str, Any]], Source]] = {
        "torchvision": torchvision_model,
        "timm": timm_model,
        "hf": huggingface_model,
    }
    if ref.endswith(".pt2"):
        source = _program(ref)
    elif kind in builders and name:
        source = builders[kind](name, settings)
    elif name:
        source = _factory(kind, name, settings)
    else:
        source = _bare(ref, settings)
    return with_inputs(source, tuple(inputs))


def with_inputs(source: Source, inputs: tuple[InputSpec, ...]) -> Source:
    """The source called with the user's inputs in the place of the usual ones, if there are any."""
    if not inputs:
        if not source.arguments.specs() and source.program is None:
            raise FxcostError(
                f"{source.ref} says nothing of its inputs; give each with --input 'x: float32[B,3,H,W]'{_wants(source)}"
            )
        return source
    if source.module is None:
        return replace(source, arguments=Arguments(inputs))
    parameters = signature_of(source.module).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    constants = {k: v for k, v in (source.arguments.kwargs or {}).items() if not Arguments((v,)).specs()}
    several = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    called = as_called(inputs)
    keywords = {name: each for name, each in called.items() if (name in parameters and name != several) or takes_any}
    positional = [each for name, each in called.items() if name not in keywords and name != several]
    if several in called:
        parts = called[several]
        positional += parts if isinstance(parts, list) else [parts]
    elif positional and several is None:
        name = next(name for name in called if name not in keywords)
        raise FxcostError(f"{source.ref} has no input {name!r}{near_matches(name, parameters)}{_wants(source)}")
    return replace(source, arguments=Arguments(tuple(positional), {**constants, **keywords}))


def _wants(source: Source) -> str:
    if source.module is None:
        return ""
    names = [p.name for p in signature_of(source.module).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return f"; its forward takes {', '.join(names)}"


def _bare(ref: str, settings: dict[str, Any]) -> Source:
    if Path(ref).is_file() and not ref.endswith((".py", ".json")):
        raise FxcostError(
            f"{ref} is no file that names a model: weights are none, and TorchScript comes from a factory that loads it, "
            "such as loads.py:model; programs of torch.export end in .pt2"
        )
    if Path(ref).suffix in {".py", ".json", ".pt"} or "/" in ref:
        raise FxcostError(f"{ref}: no such saved file, and no model reference; references look like {FORMS}")
    models = zoo_module("torchvision.models")
    if ref.lower() in models.list_models():
        return torchvision_model(ref.lower(), settings)
    timm = zoo_module("timm")
    if timm.is_model(ref):
        return timm_model(ref, settings)
    raise FxcostError(
        f"no model is named {ref!r}{near_matches(ref, {*models.list_models(), *timm.list_models()})}; references look like {FORMS}"
    )


def _factory(place: str, name: str, settings: dict[str, Any]) -> Source:
    ref = f"{place}:{name}"
    module = python_module(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise FxcostError(f"{place} has no factory {name!r}{near_matches(name, known)}")
    return build_source(factory, settings, ref)


def _program(ref: str) -> Source:
    return Source(ref, None, Arguments(), program=checked_file(Path(ref), "program", largest=None))

"""From a model reference to a module and what it is called with."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from fxcost.errors import FxcostError, near_matches
from fxcost.files import checked_file
from fxcost.inputs import Arguments, InputSpec, as_called
from fxcost.models.building import build_source, signature_of
from fxcost.models.huggingface import huggingface_model
from fxcost.models.zoos import timm_model, torchvision_model, zoo_module
from fxcost.tracing.source import Source
from fxcost.user_code import python_module

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
        if not source.arguments.specs() and source.program is None and not _needs_none(source):
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
    leading = () if _is_called_by_name(source) else tuple(_leading(called, parameters))
    hands_on = takes_any and several is not None and len(called) == 1  # what it is given is the first of what it wraps
    keywords = {
        name: each
        for name, each in called.items()
        if name not in (*leading, several) and (name in parameters or (takes_any and not hands_on))
    }
    others = [name for name in called if name not in (*leading, *keywords, several)]
    if others and several is None:
        raise FxcostError(
            f"{source.ref} has no input {others[0]!r}{near_matches(others[0], parameters)}{_wants(source)}"
        )
    parts = called[several] if several in called else list[Any]()
    positional = [called[name] for name in (*leading, *others)]
    positional += cast("list[Any]", parts) if isinstance(parts, list) else [parts]
    return replace(source, arguments=Arguments(tuple(positional), {**constants, **keywords}))


def _is_called_by_name(source: Source) -> bool:
    return any(isinstance(each, InputSpec) for each in (source.arguments.kwargs or {}).values())


def _leading(called: Collection[str], parameters: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    """The inputs that are given by position, as hooks expect them, up to the first parameter that is given nothing."""
    for name, each in parameters.items():
        if name not in called or each.kind not in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            return
        yield name


def _needs_none(source: Source) -> bool:
    """Whether a model is called with nothing."""
    return source.module is not None and not signature_of(source.module).parameters


def _wants(source: Source) -> str:
    if source.module is None:
        return ""
    names = [p.name for p in signature_of(source.module).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return f"; its forward takes {', '.join(names)}" if names else "; its forward takes none"


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

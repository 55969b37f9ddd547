"""From a model reference to a module and what it is called with; models are built without memory for their weights."""

import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fxcost.errors import FxcostError, near_matches
from fxcost.inputs import Arguments, InputSpec, children, describe

BATCH = 1
"""The batch size taken where none is given."""
LONGEST_DEFAULT = 2048
"""The longest sequence taken where none is given; shorter for a model that holds fewer positions."""
FORMS = "resnet50, torchvision:NAME, timm:NAME, hf:REPO_OR_CONFIG, package.module:factory, path/to/file.py:factory, program.pt2"


@dataclass(frozen=True)
class Source:
    """A model ready to trace: its module, or the path of an exported program, and its inputs' usual sizes."""

    ref: str
    module: torch.nn.Module | None
    arguments: Arguments
    defaults: Mapping[str, int] = field(default_factory=dict[str, int])
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """The largest sizes the model holds, where no line of its code checks them: the rows of a table of positions."""
    program: Path | None = None


def load_source(ref: str, settings: Mapping[str, Any] | None = None, inputs: Iterable[InputSpec] = ()) -> Source:
    """Build the model that ``ref`` names, with ``settings`` as arguments of its factory.

    ``inputs`` replace the inputs known for the model. Raises `FxcostError` for a reference that names nothing.
    """
    settings = dict(settings or {})
    kind, _, name = ref.partition(":")
    builders: dict[str, Callable[[str, dict[str, Any]], Source]] = {
        "torchvision": _torchvision,
        "timm": _timm,
        "hf": _huggingface,
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
    parameters = inspect.signature(source.module.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    takes_many = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    constants = {k: v for k, v in (source.arguments.kwargs or {}).items() if not Arguments((v,)).specs()}
    keywords = {spec.name: spec for spec in inputs if spec.name in parameters or takes_any}
    positional = tuple(spec for spec in inputs if spec.name not in keywords)
    if positional and not takes_many:
        name = positional[0].name
        raise FxcostError(f"{source.ref} has no input {name!r}{near_matches(name, parameters)}{_wants(source)}")
    return replace(source, arguments=Arguments(positional, {**constants, **keywords}))


def _wants(source: Source) -> str:
    if source.module is None:
        return ""
    names = [
        p.name for p in inspect.signature(source.module.forward).parameters.values() if p.kind is not p.VAR_KEYWORD
    ]
    return f"; its forward takes {', '.join(names)}"


def _build(factory: Callable[..., Any], settings: Mapping[str, Any], ref: str) -> torch.nn.Module:
    """Call the factory on the meta device; on the CPU when it needs values of its weights."""
    try:
        with torch.device("meta"):
            module = factory(**settings)
    except TypeError as error:
        if settings:
            raise FxcostError(
                f"{ref} does not take {', '.join(f'--set {k}={v}' for k, v in settings.items())}: {error}"
            ) from error
        raise FxcostError(_raised(ref, error)) from error
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise FxcostError(_raised(ref, error)) from error
        module = factory(**settings)
    except Exception as error:
        raise FxcostError(_raised(ref, error)) from error
    if not isinstance(module, torch.nn.Module):
        raise FxcostError(f"{ref} gives a {type(module).__name__}, not a torch.nn.Module")
    return _on_one_device(module)


def _raised(ref: str, error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{ref} raised {type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}:{frame.lineno})"


def _on_one_device(module: torch.nn.Module) -> torch.nn.Module:
    """Move the few tensors that a constructor put elsewhere to where its parameters are; ties stay."""
    device = next((p.device for p in module.parameters()), None)
    for each in module.modules():
        for name, buffer in list(each._buffers.items()):  # pyright: ignore[reportPrivateUsage]  # keeps persistence flags
            if buffer is not None and device is not None and buffer.device != device:
                each._buffers[name] = buffer.to(device)  # pyright: ignore[reportPrivateUsage]
    return module.eval()


def _zoo(name: str) -> ModuleType:
    """Import a model library, or say how to get it."""
    _declare_torchvision_operators()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FxcostError(f"{name} is not installed; pip install 'fxcost[zoo]'") from error


def _declare_torchvision_operators() -> None:
    """Make torchvision importable beside a torch its compiled half was not built for.

    Its Python half, all that models are made of, needs the names of two operators that live in the other half.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for loaded in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        for operator in ("nms", "qnms"):
            _DECLARED.define(  # pyright: ignore[reportUnknownMemberType]  # torch leaves its result open
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        importlib.import_module("torchvision")


_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def _bare(ref: str, settings: dict[str, Any]) -> Source:
    if Path(ref).suffix in {".py", ".json", ".pt"} or "/" in ref:
        raise FxcostError(f"{ref}: no such saved file, and no model reference; references look like {FORMS}")
    models = _zoo("torchvision.models")
    if ref.lower() in models.list_models():
        return _torchvision(ref.lower(), settings)
    timm = _zoo("timm")
    if timm.is_model(ref):
        return _timm(ref, settings)
    raise FxcostError(
        f"no model is named {ref!r}{near_matches(ref, {*models.list_models(), *timm.list_models()})}; references look like {FORMS}"
    )


def _torchvision(name: str, settings: dict[str, Any]) -> Source:
    models = _zoo("torchvision.models")
    if name not in models.list_models():
        raise FxcostError(f"torchvision has no model {name!r}{near_matches(name, models.list_models())}")
    builder = models.get_model_builder(name)
    takes = inspect.signature(builder).parameters
    # As its published weights build it: with the auxiliary head of segmentation models, without that of GoogLeNet.
    usual: dict[str, Any] = {"weights": None}
    usual |= {k: v for k, v in {"weights_backbone": None, "aux_loss": True}.items() if k in takes}
    if name == "googlenet":
        usual |= {"aux_logits": False, "init_weights": False}
    if name == "inception_v3":
        usual |= {"init_weights": False}
    module = _build(builder, {**usual, **settings}, f"torchvision:{name}")
    family = builder.__module__
    size = _torchvision_size(list(models.get_model_weights(name)))
    if isinstance(settings.get("image_size"), int):
        size = (settings["image_size"],) * 2
    if ".detection." in family:
        arguments = Arguments(([InputSpec("image", "float32", (3, "H", "W"))],))
    elif ".video." in family:
        arguments = Arguments((InputSpec("x", "float32", ("B", 3, "T", "H", "W")),))
    elif ".optical_flow." in family:
        image = ("B", 3, "H", "W")
        arguments = Arguments((InputSpec("image1", "float32", image), InputSpec("image2", "float32", image)))
    else:
        arguments = Arguments((InputSpec("x", "float32", ("B", 3, "H", "W")),))
    defaults = {"B": BATCH, "T": 16, "H": size[0], "W": size[1]}
    return _source(f"torchvision:{name}", module, arguments, defaults)


def _torchvision_size(weights: list[Any]) -> tuple[int, int]:
    """The crop that the model's published weights were measured at; 520 for segmentation, where they only resize."""
    keywords: dict[str, Any] = getattr(weights[0].transforms, "keywords", {}) if weights else {}
    size = keywords.get("crop_size") or keywords.get("resize_size") or 224
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))


def _timm(name: str, settings: dict[str, Any]) -> Source:
    timm = _zoo("timm")
    if not timm.is_model(name):
        raise FxcostError(f"timm has no model {name!r}{near_matches(name, timm.list_models())}")
    module = _build(timm.create_model, {"model_name": name, "pretrained": False, **settings}, f"timm:{name}")
    channels, height, width = getattr(module, "default_cfg", {}).get("input_size", (3, 224, 224))
    channels = settings.get("in_chans", channels)
    if isinstance(settings.get("img_size"), int):
        height = width = settings["img_size"]
    arguments = Arguments((InputSpec("x", "float32", ("B", channels, "H", "W")),))
    return _source(f"timm:{name}", module, arguments, {"B": BATCH, "H": height, "W": width})


def _huggingface(name: str, settings: dict[str, Any]) -> Source:
    transformers = _zoo("transformers")
    ref = f"hf:{name}"
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        path = Path(name)
        said = str(error).strip().splitlines()[0][:160]
        hint = (
            "the file is no model configuration"
            if path.exists()
            else "no such file or directory here, and no such model could be fetched from the hub"
        )
        raise FxcostError(f"{ref}: {hint}: {said}") from error
    unknown = [key for key in settings if not hasattr(config, key)]
    if unknown:
        raise FxcostError(f"{ref}: its configuration has no {unknown[0]!r}{near_matches(unknown[0], config.to_dict())}")
    config.update(settings)
    family = _huggingface_class(transformers, config)
    module = _build(lambda: family(config), {}, ref)
    if config.dtype is not None:
        module.to(config.dtype)
    takes = inspect.signature(module.forward).parameters
    arguments = Arguments((), _huggingface_inputs(module, config, takes))
    positions = next(
        (n for key in ("max_position_embeddings", "n_positions") if (n := getattr(config, key, None))), LONGEST_DEFAULT
    )
    length = min(int(positions), LONGEST_DEFAULT)
    size = getattr(config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    source = _source(ref, module, arguments, {"B": BATCH, "S": length, "T": length, "H": height, "W": width})
    limit = _positions_held(module, int(positions))
    return replace(source, limits={} if limit is None else {"S": limit, "T": limit})


def _positions_held(module: torch.nn.Module, positions: int) -> int | None:
    """How many positions a model's learned tables hold; None for a model that computes its positions."""
    named: list[tuple[str, torch.nn.Module]] = [*module.named_modules()]
    rows = [m.num_embeddings for name, m in named if isinstance(m, torch.nn.Embedding) and _holds_positions(name)]
    return min(positions, *rows) if rows else None


def _holds_positions(name: str) -> bool:
    """Whether a module's name says that it is a table of positions: ``wpe``, ``embed_positions``, ``position_embeddings``."""
    last = name.rpartition(".")[2]
    return last == "wpe" or "position" in last


def _huggingface_class(transformers: ModuleType, config: Any) -> Any:
    """The class the configuration names, or the usual one of its kind."""
    for architecture in getattr(config, "architectures", None) or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    tasks = ["MODEL_FOR_MASKED_LM", "MODEL_FOR_CAUSAL_LM", "MODEL_FOR_IMAGE_CLASSIFICATION", "MODEL"]
    if getattr(config, "is_encoder_decoder", False):
        tasks.insert(0, "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM")
    for task in tasks:
        mapping = getattr(transformers, f"{task}_MAPPING")
        if type(config) in mapping:
            found = mapping[type(config)]
            return next(iter(children(found)), found)
    raise FxcostError(f"transformers has no model for a {type(config).__name__}; name one in its 'architectures'")


def _huggingface_inputs(module: Any, config: Any, takes: Mapping[str, Any]) -> dict[str, Any]:
    tokens = ("B", "S")
    inputs: dict[str, Any] = {}
    if module.main_input_name == "pixel_values":
        inputs["pixel_values"] = InputSpec(
            "pixel_values", "float32", ("B", getattr(config, "num_channels", 3), "H", "W")
        )
    elif module.main_input_name == "input_ids":
        inputs["input_ids"] = InputSpec("input_ids", "int64", tokens)
        if "attention_mask" in takes:
            inputs["attention_mask"] = InputSpec("attention_mask", "int64", tokens)
        if "decoder_input_ids" in takes:
            inputs["decoder_input_ids"] = InputSpec("decoder_input_ids", "int64", ("B", "T"))
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    inputs = {name: replace(spec, dtype=dtype) if spec.dtype == "float32" else spec for name, spec in inputs.items()}
    if "use_cache" in takes:
        inputs["use_cache"] = False
    return inputs


def _factory(place: str, name: str, settings: dict[str, Any]) -> Source:
    ref = f"{place}:{name}"
    module = _file_module(Path(place)) if place.endswith(".py") else _package_module(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise FxcostError(f"{place} has no factory {name!r}{near_matches(name, known)}")
    return Source(ref, _build(factory, settings, ref), Arguments())


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise FxcostError(f"{path}: no such file")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FxcostError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise FxcostError(_raised(str(path), error)) from error
    return module


def _package_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FxcostError(f"{name}: no such module ({error}); references look like {FORMS}") from error


def _program(ref: str) -> Source:
    if not Path(ref).is_file():
        raise FxcostError(f"{ref}: no such file")
    return Source(ref, None, Arguments(), program=Path(ref))


def _source(ref: str, module: torch.nn.Module, arguments: Arguments, defaults: Mapping[str, int]) -> Source:
    return Source(ref, module, arguments, {name: defaults[name] for name in arguments.symbols()})


def inputs_line(source: Source) -> str:
    """The inputs of a source, on one line, for messages."""
    return describe(source.arguments.specs())

"""What a model is called with, read off example tensors: dimensions are named by convention."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Modules and their arguments are of any type.

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from fxcost.inputs import Arguments, InputSpec, parse_input
from fxcost.tracing.sizes.naming import hint_of

PICTURE_CHANNELS = (1, 3)
IMAGE_LAYERS = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.LazyConv2d, nn.LazyConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.PixelShuffle, nn.PixelUnshuffle),
)  # fmt: skip
TIME_FIRST = (nn.RNNBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass
class Named:
    """Examples as inputs whose dimensions have names, and what each name stands for in them."""

    specs: dict[str, InputSpec] = field(default_factory=dict[str, InputSpec])
    sizes: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def after(cls, tensors: Mapping[str, torch.Tensor], module: nn.Module | None) -> "Named":
        """Name dimensions: ``B,3,H,W`` for images, ``B,S`` for tokens, ``B`` for the batch of others.

        A name stands for the first size above 1 that it is met with, as a batch of 1 is repeated for any other; a
        dimension that disagrees stays a number.
        """
        named = cls()
        letters = {name: _letters(tensor, module) for name, tensor in tensors.items()}
        shapes = {name: [hint_of(size) for size in tensor.shape] for name, tensor in tensors.items()}
        for name, places in letters.items():
            for axis, letter in places.items():
                if named.sizes.get(letter, 1) == 1:
                    named.sizes[letter] = shapes[name][axis]
        for name, tensor in tensors.items():
            dims = tuple(
                letters[name][axis] if axis in letters[name] and named.sizes[letters[name][axis]] == size else size
                for axis, size in enumerate(shapes[name])
            )
            named.specs[name] = InputSpec(name, str(tensor.dtype).removeprefix("torch."), dims)
        return named


def _letters(tensor: torch.Tensor, module: nn.Module | None) -> dict[int, str]:
    """The name of each dimension that has one."""
    # A dimension that an exported program keeps free needs a name, even where convention has none.
    letters = {axis: f"D{axis}" for axis, size in enumerate(tensor.shape) if isinstance(size, torch.SymInt)}
    if tensor.dim() == 3 and _takes_time_first(module):  # time, batch, features
        return letters | {0: "S", 1: "B"}
    letters |= {0: "B"} if tensor.dim() else {}
    if tensor.dim() == 4 and tensor.is_floating_point() and _is_picture(tensor, module):
        letters |= {2: "H", 3: "W"}
    elif tensor.dim() == 2 and not tensor.is_floating_point():
        letters |= {1: "S"}
    return letters


def _is_picture(tensor: torch.Tensor, module: nn.Module | None) -> bool:
    """Whether four dimensions are those of images: of as many channels, or for a model that has layers for them."""
    if module is None or tensor.shape[1] in PICTURE_CHANNELS:
        return True
    return any(isinstance(each, IMAGE_LAYERS) for each in module.modules())


def _takes_time_first(module: nn.Module | None) -> bool:
    """Whether a model is a layer of torch that takes the batch second, or begins with one."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[0]
    if isinstance(module, (nn.TransformerEncoder, nn.TransformerDecoder)):
        module = module.layers[0]
    batch_first = getattr(module, "batch_first", getattr(getattr(module, "self_attn", None), "batch_first", None))
    return isinstance(module, TIME_FIRST) and batch_first is False


def arguments_like(
    module: nn.Module | None, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[Arguments, dict[str, int]]:
    """The arguments with an `InputSpec` for each tensor, and for each text such as ``x: float32[B,80,T]``; and their sizes."""
    positional = tuple(args)
    found = dict(_tensors([(f"input{place}", each) for place, each in enumerate(positional)]))
    found |= dict(_tensors(kwargs.items()))
    named = Named.after(found, module)
    specs = named.specs
    arguments = Arguments(
        tuple(_as_spec(f"input{place}", each, specs) for place, each in enumerate(positional)),
        {name: _as_spec(name, each, specs) for name, each in kwargs.items()},
    )
    return arguments, {name: named.sizes[name] for name in arguments.symbols() if name in named.sizes}


def _parts(name: str, value: Any) -> list[tuple[str, Any]] | None:
    """What a value holds, each with its name; None for what is not looked into."""
    if isinstance(value, PackedSequence):
        return [(f"{name}.data", value.data)]  # how many sequences reach each step are numbers, and no sizes
    if isinstance(value, Mapping):
        return [(f"{name}.{key}", each) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"{name}.{place}", each) for place, each in enumerate(value)]
    return None


def _tensors(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in named:
        if isinstance(value, torch.Tensor):
            yield name, value
        else:
            yield from _tensors(_parts(name, value) or ())


def _as_spec(name: str, value: Any, specs: Mapping[str, InputSpec]) -> Any:
    if isinstance(value, str) and ":" in value:
        return parse_input(value)
    if isinstance(value, torch.Tensor):
        return specs[name]
    if isinstance(value, PackedSequence):
        steps = specs[f"{name}.data"]
        fixed = InputSpec(steps.name, steps.dtype, tuple(value.data.shape))
        return value._replace(data=fixed)
    parts = _parts(name, value)
    if parts is None:
        return value
    made = [_as_spec(part, each, specs) for part, each in parts]
    if isinstance(value, Mapping):
        return dict(zip(value, made, strict=True))
    if hasattr(value, "_fields"):
        return type(value)(*made)
    return type(value)(made) if type(value) in (list, tuple) else made

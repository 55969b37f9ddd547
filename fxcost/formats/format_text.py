"""Formats as text: ``bf16``, ``int4:g128:zero``, ``fp8:128x128``, ``int8:channel``, ``q4_k``."""

import re
from collections.abc import Mapping
from dataclasses import replace

from fxcost.dtypes import DTYPES
from fxcost.errors import FxcostError, near_matches
from fxcost.formats.number_format import NumberFormat, RunScale, Scale
from fxcost.machines.sheets import PRECISION_BITS, PRECISION_OF_DTYPE

# Bits of an element, elements of a block, and bits of all that a block keeps beside its elements: the structs of
# https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h
_BLOCKS: Mapping[str, tuple[int, int, int]] = {
    "q4_0": (4, 32, 16),  # an fp16 scale
    "q4_1": (4, 32, 2 * 16),  # and an fp16 minimum
    "q5_0": (5, 32, 16),
    "q5_1": (5, 32, 2 * 16),
    "q8_0": (8, 32, 16),
    "q2_k": (2, 256, 16 * (4 + 4) + 2 * 16),  # scale and minimum of each 16, and of the block
    "q3_k": (3, 256, 16 * 6 + 16),
    "q4_k": (4, 256, 8 * (6 + 6) + 2 * 16),
    "q5_k": (5, 256, 8 * (6 + 6) + 2 * 16),
    "q6_k": (6, 256, 16 * 8 + 16),
    "iq4_nl": (4, 32, 16),
    "iq4_xs": (4, 256, 8 * 6 + 16),
    # OCP Microscaling Formats (MX) Specification v1.0: 32 elements share a power of two, E8M0.
    "mxfp4": (4, 32, 8),
    "mxfp6": (6, 32, 8),
    "mxfp8": (8, 32, 8),
}
# NVIDIA, "Introducing NVFP4", https://developer.nvidia.com/blog/introducing-nvfp4-for-efficient-and-accurate-low-precision-inference/:
# 16 elements share an E4M3 scale, and a tensor an fp32 one, which is told as nvfp4:tensor. ggml packs four such groups.
_NVFP4 = NumberFormat("nvfp4", 4, (Scale(8, 1, 16),), 16)
# Dettmers et al., "QLoRA", section 3, https://arxiv.org/abs/2305.14314: an fp32 constant for 64 elements; doubly
# quantised 8 bits for those, and an fp32 constant for 256 of them: 8/64 + 32/(64·256) = 0.127 bit.
_NF4_BLOCK, _NF4_CONSTANTS = 64, 256
_NF4 = NumberFormat("nf4", 4, (RunScale(32, _NF4_BLOCK),))
_NF4_DOUBLE = NumberFormat("nf4:double", 4, (RunScale(8, _NF4_BLOCK), RunScale(32, _NF4_BLOCK * _NF4_CONSTANTS)))

NAMED: Mapping[str, NumberFormat] = {
    **{name: NumberFormat(name, bits, computes=name) for name, bits in PRECISION_BITS.items()},
    **{f"int{bits}": NumberFormat(f"int{bits}", bits) for bits in (2, 3, 5, 6, 16)},
    **{f"fp{bits}": NumberFormat(f"fp{bits}", bits) for bits in (6,)},
    **{
        name: NumberFormat(name, bits, (Scale(side, 1, block),), block) for name, (bits, block, side) in _BLOCKS.items()
    },
    "nvfp4": _NVFP4,
    "nf4": _NF4,
    "nf4:double": _NF4_DOUBLE,
}
"""Formats by name; to those of elements alone, parts with scales may be added."""

PARTS = "g128 (groups along a row), 128x128 (blocks), channel, tensor, zero, scale=fp16"
_GROUP, _BLOCK, _SCALE = re.compile(r"g([1-9]\d{0,8})"), re.compile(r"([1-9]\d{0,8})x([1-9]\d{0,8})"), "scale="
_SCALE_BITS: Mapping[str, int] = {"fp32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "e8m0": 8}
_OF_GROUPS, _OF_ALL_ELSE = 16, 32
"""Bits of scales whose format is not told: fp16 of groups, as GPTQ and AWQ keep them, and fp32 of all else."""


def format_named(text: str) -> NumberFormat:
    """The format of a text in any case: an element or a named format, then ``:`` and parts.

    ``g128`` keeps a scale for 128 elements of a row, ``128x128`` for a block, ``channel`` for a row, ``tensor`` for a
    matrix; ``zero`` a zero point beside, of as many bits as an element; ``scale=fp32`` says what scales are.
    Raises `FxcostError` naming the part that is none.
    """
    lowered = text.strip().lower()
    if lowered in NAMED:
        return NAMED[lowered]
    head, *parts = lowered.split(":")
    base = _NF4_DOUBLE if parts[:1] == ["double"] and head == "nf4" else NAMED.get(head)
    if base is None:
        told = PRECISION_OF_DTYPE.get(head.removeprefix("torch."))
        near = f"; near: {told}" if told else near_matches(head[:40], NAMED)
        raise FxcostError(f"unknown number format {text[:60]!r}{near}; known: {', '.join(NAMED)}")
    rest = parts[1:] if base is _NF4_DOUBLE else parts
    return replace(base, text=lowered, scales=base.scales + _scales(text[:60], base, rest), computes="")


def _scales(text: str, base: NumberFormat, parts: list[str]) -> tuple[Scale, ...]:
    """The scales that the parts of a text tell. Raises `FxcostError` naming the part that is none."""
    told = [part.removeprefix(_SCALE) for part in parts if part.startswith(_SCALE)]
    blocks = [part for part in parts if not part.startswith(_SCALE) and part != "zero"]
    if len(told) > 1 or len(blocks) > len({_kind(block) for block in blocks}) or parts.count("zero") > 1:
        raise FxcostError(f"number format {text!r} says a part twice; say each once")
    if told and told[0] not in _SCALE_BITS:
        raise FxcostError(
            f"number format {text!r}: a scale is {', '.join(_SCALE_BITS)}, not {told[0]!r}{near_matches(told[0], _SCALE_BITS)}"
        )
    if not blocks and parts:
        raise FxcostError(f"number format {text!r} does not say what shares a scale; add one of: {PARTS}")
    bits = _SCALE_BITS[told[0]] if told else None
    scales = tuple(_scale(text, block, bits) for block in blocks)
    zeros = tuple(replace(scale, bits=base.bits) for scale in scales[:1]) if "zero" in parts else ()
    return scales + zeros


def _kind(part: str) -> str:
    """What a part tells, of which a format has one each."""
    return "group" if _GROUP.fullmatch(part) else "block" if _BLOCK.fullmatch(part) else part


def _scale(text: str, part: str, bits: int | None) -> Scale:
    if found := _GROUP.fullmatch(part):
        return Scale(bits or _OF_GROUPS, 1, int(found[1]))
    if found := _BLOCK.fullmatch(part):
        return Scale(bits or _OF_ALL_ELSE, int(found[1]), int(found[2]))
    if part == "channel":
        return Scale(bits or _OF_ALL_ELSE, 1, None)
    if part == "tensor":
        return Scale(_OF_ALL_ELSE, None, None)
    raise FxcostError(f"number format {text!r}: unknown part {part!r}; known: {PARTS}")


def format_of_dtype(dtype: str) -> NumberFormat:
    """What elements of a dtype of torch are stored as."""
    known = DTYPES[dtype]
    return NAMED[known.precision] if known.precision else NumberFormat(dtype, known.bits)

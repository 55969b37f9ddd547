"""What elements of tensors are stored as: each dtype of torch by its name."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """One dtype: bits of a stored element, and what sheets of machines call arithmetic in it, if they do."""

    bits: int
    precision: str = ""


DTYPES: Mapping[str, Dtype] = {
    "float64": Dtype(64, "fp64"),
    "float32": Dtype(32, "fp32"),
    "float16": Dtype(16, "fp16"),
    "bfloat16": Dtype(16, "bf16"),
    "float8_e4m3fn": Dtype(8, "fp8"),
    "float8_e5m2": Dtype(8, "fp8"),
    "int8": Dtype(8, "int8"),
    **dict.fromkeys(("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"), Dtype(8)),
    **{f"{sign}int{bits}": Dtype(bits) for sign in ("", "u") for bits in (64, 32, 16)},
    **dict.fromkeys(("uint8", "bool", "quint8", "qint8", "quint4x2", "quint2x4"), Dtype(8)),
    **{f"{sign}int{bits}": Dtype(8) for sign in ("", "u") for bits in range(1, 8)},
    **dict.fromkeys(("bits8", "bits1x8", "bits2x4", "bits4x2"), Dtype(8)),
    "bits16": Dtype(16),
    "qint32": Dtype(32),
    **{f"complex{bits}": Dtype(bits) for bits in (32, 64, 128)},
    "bcomplex32": Dtype(32),
}
"""Of torch 2.13 and 2.14, the last in 2.14 alone. Integers of fewer than eight bits lie one in each byte, as torch has them."""


def may_hold_codes(dtype: str) -> bool:
    """Whether elements of a dtype of torch may stand for weights: whole numbers of up to 32 bits, floats of up to 8; no truth values, and nothing of other names."""
    found = DTYPES.get(dtype)
    if found is None or dtype == "bool":
        return False
    return found.bits <= 8 or (found.bits <= 32 and "int" in dtype)

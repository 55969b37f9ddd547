"""What each ATen operator costs, by family; importing this package loads every built-in rule."""

from fxcost.ops import unknowns
from fxcost.ops.matrix import attention, contractions, einsum, recurrent, sampling
from fxcost.ops.movement import copies as movement
from fxcost.ops.movement import scattering
from fxcost.ops.rules import (
    Call,
    Rule,
    call_of,
    contraction,
    free,
    op,
    per_input,
    per_output,
    rule_of,
    unknown,
)
from fxcost.ops.vector import (
    complex_numbers,
    distances,
    losses,
    normalization,
    pointwise,
    quantization,
    spectral,
    upsampling,
)

__all__ = [
    "Call",
    "Rule",
    "attention",
    "call_of",
    "complex_numbers",
    "contraction",
    "contractions",
    "distances",
    "einsum",
    "free",
    "losses",
    "movement",
    "normalization",
    "op",
    "per_input",
    "per_output",
    "pointwise",
    "quantization",
    "recurrent",
    "rule_of",
    "sampling",
    "scattering",
    "spectral",
    "unknown",
    "unknowns",
    "upsampling",
]

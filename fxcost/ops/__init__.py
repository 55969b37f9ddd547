"""What each ATen operator costs, by family; importing this package loads every built-in rule."""

from fxcost.ops import contractions, movement, normalization, pointwise
from fxcost.ops.rules import MULTIPLY_ADD, Call, Rule, call_of, contraction, free, op, per_input, per_output, rule_of

__all__ = [
    "MULTIPLY_ADD",
    "Call",
    "Rule",
    "call_of",
    "contraction",
    "contractions",
    "free",
    "movement",
    "normalization",
    "op",
    "per_input",
    "per_output",
    "pointwise",
    "rule_of",
]

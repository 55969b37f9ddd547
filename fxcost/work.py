"""Work: the unit of a machine that does it, and whether a rule tells how much it is."""

from typing import Literal

MULTIPLY_ADD = 2
"""FLOPs of one multiply-add."""
Unit = Literal["matrix", "vector"]
"""Contractions run on the matrix unit, all else on the vector unit."""
Coverage = Literal["counted", "free", "unknown"]
"""Counted by a rule, free of work, or without a rule for the call."""

"""Whose bytes are moved, and how large the cache is that one step of decoding hands to the next."""

from collections.abc import Mapping
from typing import Any

from fxcost.costs.model import Cost
from fxcost.formulas.quantities import Quantity, Widths, bytes_of

ROLES: Mapping[str, str] = {"weight": "weights", "state": "cache state", "activation": "activations"}
"""Each role with its word in reports."""


def bytes_by_role(cost: Cost[Any], bits: Widths) -> Mapping[str, Quantity]:
    """Bytes read and written of each role."""
    sides = {role: {"read": cost.reads.get(role, {}), "written": cost.writes.get(role, {})} for role in ROLES}
    return {role: bytes_of(both, bits) for role, both in sides.items()}

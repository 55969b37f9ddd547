"""Whose bytes are moved, and how large the cache is that one step of decoding hands to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fxcost.costs import Cost
from fxcost.quantities import Quantity, bytes_of

ROLES: Mapping[str, str] = {"weight": "weights", "state": "cache state", "activation": "activations"}
"""Each role with its word in reports."""


def bytes_by_role(cost: Cost, bits: Mapping[str, int]) -> Mapping[str, Quantity]:
    """Bytes read and written of each role."""
    sides = {role: {"read": cost.reads.get(role, {}), "written": cost.writes.get(role, {})} for role in ROLES}
    return {role: bytes_of(both, bits) for role, both in sides.items()}


@dataclass(frozen=True)
class State:
    """The cache of a model, all layers together: elements by dtype."""

    per_token: Mapping[str, int]
    """What is kept of one position of one sequence."""
    whole: Mapping[str, Quantity]
    """All that is held, the new token included."""

    def bytes_per_token(self, bits: Mapping[str, int]) -> Quantity:
        """Bytes that one more position of one sequence takes, until windows are full."""
        return bytes_of({"state": self.per_token}, bits)

    def bytes_held(self, bits: Mapping[str, int]) -> Quantity:
        """Bytes of the whole cache."""
        return bytes_of({"state": self.whole}, bits)

    def map(self, function: Callable[[Quantity], Quantity]) -> "State":
        """The same cache with ``function`` applied to what is held."""
        return replace(self, whole={dtype: function(n) for dtype, n in self.whole.items()})

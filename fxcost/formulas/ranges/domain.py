"""Where formulas hold: a symbol's range, and the relations between sizes that the model was traced under."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fxcost.errors import FxcostError
from fxcost.formulas.algebra import Formula
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.expressions import to_pretty

Relation = Literal["==", "!=", ">=", ">"]


@dataclass(frozen=True)
class SymbolRange:
    """The sizes a symbol may take: positive integers from ``low`` to ``high``, multiples of ``multiple_of``."""

    low: int = 1
    high: int | None = None
    multiple_of: int = 1
    where: str = field(default="", compare=False)
    """The line of the user's code that left these sizes alone."""

    @property
    def ends(self) -> tuple[int, int | None]:
        """The least and the greatest size."""
        return self.low, self.high

    @property
    def smallest(self) -> int:
        """The least size that is a multiple as asked for, which a range without a size lacks."""
        return -(-self.low // self.multiple_of) * self.multiple_of

    @property
    def is_empty(self) -> bool:
        """Whether no size is within the range."""
        return self.high is not None and self.smallest > self.high

    @property
    def is_single(self) -> bool:
        """Whether one size alone is within the range."""
        return self.high is not None and not self.is_empty and self.smallest + self.multiple_of > self.high

    def refusal(self, name: str, size: int) -> str | None:
        """Why ``size`` is outside the range, or None."""
        if size < self.low:
            return f"{name}={size} is below {self.low}, the smallest {name} these formulas hold for{self._asked}"
        if self.high is not None and size > self.high:
            return f"{name}={size} is above {self.high}, the largest {name} these formulas hold for{self._asked}"
        if size % self.multiple_of:
            return f"{name}={size} is not a multiple of {self.multiple_of}, which these formulas assume of {name}"
        return None

    @property
    def _asked(self) -> str:
        return f" (asked for by {self.where})" if self.where else ""

    def __str__(self) -> str:
        upper = "or more" if self.high is None else f"to {self.high}"
        multiple = f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.low} {upper}{multiple}"


@dataclass(frozen=True)
class Pinned:
    """A size that the model or the user holds fixed, and the place or reason."""

    value: int
    where: str


@dataclass(frozen=True)
class Condition:
    """A relation between sizes that held when the model was traced; elsewhere the model may run other operators."""

    left: Formula
    relation: Relation
    right: Formula
    where: str = field(default="", compare=False)
    """The line of the user's code that asked for it."""

    @property
    def names(self) -> frozenset[str]:
        """The symbols that it is about."""
        return self.left.names | self.right.names

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether the relation is true at these sizes."""
        difference = evaluate(self.left - self.right, sizes)
        return {"==": difference == 0, "!=": difference != 0, ">=": difference >= 0, ">": difference > 0}[self.relation]

    def __str__(self) -> str:
        sign = {"==": "=", "!=": "≠", ">=": "≥", ">": ">"}[self.relation]
        return f"{to_pretty(self.left)} {sign} {to_pretty(self.right)}"


def check_sizes(
    sizes: Mapping[str, int],
    symbols: Mapping[str, SymbolRange],
    conditions: tuple[Condition, ...],
    fixed: Mapping[str, int],
) -> None:
    """Refuse sizes where formulas don't hold, naming the symbol, the bound and who set it."""
    for name, size in sizes.items():
        if name in fixed:
            if fixed[name] != size:
                raise FxcostError(
                    f"{name}={size}: {name} is fixed at {fixed[name]} in these formulas; trace again for another size"
                )
        elif name not in symbols:
            known = ", ".join([*symbols, *fixed]) or "none"
            raise FxcostError(f"{name}={size}: these formulas have no symbol {name}; they have {known}")
        elif why := symbols[name].refusal(name, size):
            raise FxcostError(why)
    missing = [name for name in symbols if name not in sizes]
    if missing:
        raise FxcostError(f"no size is given for {', '.join(missing)}; add {','.join(f'{m}=…' for m in missing)}")
    for condition in conditions:
        if not condition.holds(sizes):
            at = ", ".join(f"{name}={sizes[name]}" for name in symbols)
            place = f" (asked for by {condition.where})" if condition.where else ""
            raise FxcostError(f"at {at} these formulas do not hold: they were traced where {condition}{place}")

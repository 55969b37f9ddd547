"""What elements are stored as: bits of each, and the scales kept beside them, all exact."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod


@dataclass(frozen=True)
class Matrices:
    """Stored elements as so many matrices, whose rows are the outputs and whose columns the inputs of a product."""

    count: int
    rows: int
    columns: int

    @property
    def elements(self) -> int:
        return self.count * self.rows * self.columns

    @property
    def transposed(self) -> "Matrices":
        """The same elements where columns are what lies first."""
        return Matrices(self.count, self.columns, self.rows)

    @staticmethod
    def of(shape: tuple[int, ...]) -> "Matrices":
        """The matrices of the last two dimensions; a vector is one row."""
        *stack, rows, columns = (1, 1, *shape)
        return Matrices(prod(stack), rows, columns)


@dataclass(frozen=True)
class Scale:
    """A number kept for all elements of a block of a matrix: a scale, a zero point, or both together."""

    bits: int
    rows: int | None = 1
    """Rows of a block; None for all."""
    columns: int | None = None
    """Columns of a block; None for all."""

    def count(self, matrices: Matrices) -> int:
        """How many are kept: blocks at the edges have one of their own, however few elements they hold."""
        return matrices.count * _parts(matrices.rows, self.rows) * _parts(matrices.columns, self.columns)

    @property
    def bits_per_element(self) -> Fraction:
        """What it adds to an element, 0 in the limit where it is kept for a row, a column or a whole matrix."""
        if self.rows is None or self.columns is None:
            return Fraction(0)
        return Fraction(self.bits, self.rows * self.columns)


@dataclass(frozen=True)
class RunScale:
    """A number kept for a run of elements as they lie in memory, whichever rows they are of."""

    bits: int
    run: int

    def count(self, matrices: Matrices) -> int:
        return _parts(matrices.elements, self.run)

    @property
    def bits_per_element(self) -> Fraction:
        return Fraction(self.bits, self.run)


@dataclass(frozen=True)
class NumberFormat:
    """A format of stored elements."""

    text: str
    """As `format_named` reads it."""
    bits: int
    """Of one element, without scales."""
    scales: tuple[Scale | RunScale, ...] = ()
    whole_blocks: int = 1
    """Rows are filled up to a multiple of so many elements."""
    computes: str = ""
    """The precision of arithmetic in plain elements of this kind; empty where there is none."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is kept beside the elements."""
        return not self.scales

    @property
    def bits_per_element(self) -> Fraction:
        """Bits of an element with its share of the scales; those of rows and whole matrices vanish in the limit."""
        return self.bits + sum((each.bits_per_element for each in self.scales), Fraction(0))

    def stored_bits(self, matrices: Matrices) -> int:
        """Bits of all elements and all scales, exact."""
        columns = _parts(matrices.columns, self.whole_blocks) * self.whole_blocks
        elements = replace(matrices, columns=columns).elements
        return self.bits * elements + sum(each.bits * each.count(matrices) for each in self.scales)

    def stored_bytes(self, matrices: Matrices) -> int:
        """Whole bytes of all elements and all scales."""
        return _parts(self.stored_bits(matrices), 8)


def _parts(size: int, part: int | None) -> int:
    """How many parts a size has, the last of which may be smaller."""
    if part is None:
        return min(size, 1)
    return -(-size // part)

"""The rules of fusion as a table, apart from what only one kind of machine forbids."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FusionRules:
    """When the value of an expression is kept in memory, and which kernels become one."""

    most_reads_again: int = 4
    """Buffers that an expression with several readers may read; one that reads more is kept."""
    most_reads: int = 8
    """Buffers that any expression may read."""
    keeps_heavy: bool = False
    """Whether an expression with several readers is kept where its values take long to work out."""
    joined_parts: int = 8
    """Parts of a concatenation that may be an expression of its readers."""
    keeps_for_contractions: bool = False
    """Whether an expression with several readers is kept where the contraction before it can make it."""
    alike_loops: bool = False
    """Whether kernels that read by channel stay apart from those that do not."""


COMPILED = FusionRules()
"""What torch.compile does for a GPU."""
EPILOGUE = replace(COMPILED, keeps_for_contractions=True)
"""What engines do, whose contractions take in what follows them."""
COMPILED_FOR_CPU = FusionRules(most_reads=12, keeps_heavy=True, joined_parts=0, alike_loops=True)
"""What it does for a CPU, whose loops have to be alike."""

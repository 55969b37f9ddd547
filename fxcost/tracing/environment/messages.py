"""Whether text that code makes is for a message, of an assertion, an error or a log, which decides nothing."""

import ast
import linecache
from functools import lru_cache
from itertools import islice
from types import FrameType

from fxcost.tracing.sizes.naming import TorchFiles

TELLING = frozenset(
    {"print", "warn", "warning", "warning_once", "warn_once", "debug", "info", "error", "exception", "critical", "log"}
)
"""Names of functions that are called to tell something, and for nothing else where nobody takes what they give."""
CHECKING = frozenset({"_assert", "_check", "_check_value", "_assert_async", "torch_compilable_check"})
"""Those that are called with a condition, and what to tell where it does not hold."""


def is_message(frame: FrameType) -> bool:
    """Whether text that is made in a frame is only told: by a call that logs, or should an assertion fail; in torch it always is."""
    code = frame.f_code
    if code.co_filename.startswith((TorchFiles.root, TorchFiles.own)):
        return True
    line, last_line, start, end = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    if line is None or last_line is None or start is None or end is None:
        return False
    return any(_holds(told, (line, start), (last_line, end)) for told in _told(code.co_filename))


def _holds(node: ast.expr, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether an expression spans all that stands between two places."""
    last = node.end_lineno or node.lineno, node.end_col_offset or 0
    return (node.lineno, node.col_offset) <= start and end <= last


@lru_cache(64)
def _told(filename: str) -> tuple[ast.expr, ...]:
    """The expressions of a file whose values are told, and nothing else."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(told for node in ast.walk(tree) for told in _told_by(node))


def _told_by(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assert):
        return [node.msg] if node.msg else []
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return []
    call = node.value
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return given if name in TELLING else given[1:] if name in CHECKING else []

"""Whether text that code makes is for a message, of an assertion, an error or a log, which decides nothing."""

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import FrameType

from fxcost.tracing.sizes import TorchFiles

TELLING = frozenset(
    {"_assert", "_check", "_check_value", "assert_async", "print", "warn", "warning", "warning_once", "warn_once"}
    | {"torch_compilable_check", "debug", "info", "error", "exception", "critical", "log"}
)
"""Names of functions that are called to tell something."""


def is_message(frame: FrameType) -> bool:
    """Whether what runs in a frame is part of an error, an assertion, or a call that logs; in torch itself it always is."""
    code = frame.f_code
    if code.co_filename in TorchFiles():
        return True
    line, last_line, start, end = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    if line is None or last_line is None or start is None or end is None:
        return False
    return any(map(_tells, _around(code.co_filename, (line, start), (last_line, end))))


def _around(filename: str, start: tuple[int, int], end: tuple[int, int]) -> Iterator[ast.AST]:
    """The statements and expressions of a file that hold all that stands between two places."""
    for node in _nodes(filename):
        last = node.end_lineno or node.lineno, node.end_col_offset or 0
        if (node.lineno, node.col_offset) <= start and end <= last:
            yield node


@lru_cache(64)
def _nodes(filename: str) -> tuple[ast.Call | ast.Raise | ast.Assert, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, (ast.Call, ast.Raise, ast.Assert)))


def _tells(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return isinstance(node, (ast.Raise, ast.Assert))
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in TELLING

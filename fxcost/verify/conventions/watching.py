"""What counters go by and the ledger does not hold: which calls are made by name, and what modules give.

``torch.add(x, y)`` is a call by a name that counters replace, ``x + y`` is not. One run of the model is watched.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false
# torch is typed in part.

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from fxcost.verify.conventions.ledger import CONVOLUTIONS, TRANSPOSED, PlainShape, Resize, Row
from fxcost.verify.conventions.ptflops import FUNCTIONS, OPERATORS, TENSOR_PRODUCTS

FUNCTIONAL = (FUNCTIONS - {"hardtanh"}) | CONVOLUTIONS | TRANSPOSED | {
    *("linear", "leaky_relu", "batch_norm", "layer_norm", "group_norm", "instance_norm", "interpolate"),
    "scaled_dot_product_attention",
}  # fmt: skip

NamedCall = tuple[str, str, PlainShape]
"""An operator, the class of the module that calls it, and the shape that it gives."""


@dataclass(frozen=True)
class Watched:
    """One run of a model."""

    calls: Counter[NamedCall] = field(default_factory=Counter[NamedCall])
    """How often each call is made by name."""
    results: Mapping[str, list[PlainShape]] = field(default_factory=dict[str, list[PlainShape]])
    """The shape that each call of a module gives, by the module's path."""
    asked: Mapping[NamedCall, list[Resize | str | None]] = field(
        default_factory=dict[NamedCall, list[Resize | str | None]]
    )
    """What calls of ``interpolate`` and ``einsum`` were asked for, in their order."""


def watch(model: nn.Module, run: Callable[[], Any]) -> Watched:
    """Watch one run of the model.

    Leaves torch's functions replaced and hooks on the model: do it in a process of its own.
    """
    seen: Counter[NamedCall] = Counter()
    results: dict[str, list[PlainShape]] = {}
    asked: dict[NamedCall, list[Resize | str | None]] = {}
    running = [""]

    def leave(path: str, result: Any) -> None:
        running.pop()
        first = result[0] if isinstance(result, tuple | list) and result else result
        results.setdefault(path, []).append(tuple(first.shape) if isinstance(first, torch.Tensor) else ())

    for path, module in model.named_modules():
        name = type(module).__name__
        module.register_forward_pre_hook(lambda *_, name=name: running.append(name))
        module.register_forward_hook(lambda *given, path=path: leave(path, given[2]))
    for name in FUNCTIONAL:
        _replace(nn.functional, name, seen, running, asked)
    for name in TENSOR_PRODUCTS | OPERATORS | {"einsum"}:
        _replace(torch, name, seen, running, asked)
        if name not in {"baddbmm", "einsum"}:  # of which counters replace no method
            _replace(torch.Tensor, name, seen, running, asked)
    _keep_equations(running, asked)
    with torch.no_grad():
        run()
    return Watched(seen, results, asked)


ASKED: Mapping[str, Callable[..., Resize | str | None]] = {
    "interpolate": lambda _, size=None, scale_factor=None, *__, **___: Resize(_each(size), _each(scale_factor)),
}


def _keep_equations(running: Sequence[str], asked: dict[NamedCall, list[Resize | str | None]]) -> None:
    """Keep the equation of each einsum, also where code has the function by another name than ``torch.einsum``."""
    functions: Any = torch._VF  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    original = functions.einsum

    def called(equation: str, *others: Any, **named: Any) -> Any:
        result = original(equation, *others, **named)
        call = ("einsum", running[-1], tuple(result.shape))
        asked.setdefault(call, []).append(equation.replace(" ", ""))
        return result

    functions.einsum = called


def _each(given: Any) -> Any:
    return tuple(given) if isinstance(given, list | tuple) else given


def _replace(
    home: Any,
    name: str,
    seen: Counter[NamedCall],
    running: list[str],
    asked: dict[NamedCall, list[Resize | str | None]],
) -> None:
    original: Callable[..., Any] = getattr(home, name)

    def called(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if isinstance(result, torch.Tensor):
            call = (name, running[-1], tuple(result.shape))
            seen[call] += 1
            if name in ASKED:
                asked.setdefault(call, []).append(ASKED[name](*arguments, **named))
        return result

    setattr(home, name, called)


def with_watched(ledger: Sequence[Row], watched: Watched) -> list[Row]:
    """The rows with what was watched of them.

    Of rows alike in operator, class and shape, the first are taken for those called by name.
    """
    results = _results(ledger, watched.results)
    met: Counter[NamedCall] = Counter()
    rows: list[Row] = []
    for place, row in enumerate(ledger):
        met[call := _call(row)] += 1
        asked = watched.asked.get(call, [])[met[call] - 1 :]
        by_name = met[call] <= watched.calls[call]
        rows.append(replace(row, by_name=by_name, result=results.get(place, ()), asked=asked[0] if asked else None))
    return rows


def _call(row: Row) -> NamedCall:
    name = "interpolate" if row.op.startswith("upsample") else row.op
    name = "relu6" if name == "hardtanh" else name
    return name, type(row.owner).__name__, row.outputs[0] if row.outputs else ()


def _results(ledger: Sequence[Row], results: Mapping[str, list[PlainShape]]) -> dict[int, PlainShape]:
    """The results by the place of each call's last row, where a module's calls have equally many rows."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(ledger):
        places.setdefault(row.path, []).append(place)
    found: dict[int, PlainShape] = {}
    for path, rows in places.items():
        calls = results.get(path, [])
        if calls and len(rows) % len(calls) == 0:
            found |= dict(zip(rows[len(rows) // len(calls) - 1 :: len(rows) // len(calls)], calls, strict=True))
    return found

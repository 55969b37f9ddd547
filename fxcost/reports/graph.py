"""An annotated graph as text: each operation with its tensors, and what every pass found of it."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import sympy
from torch.fx import Graph, Node

from fxcost.formulas.expressions import to_text
from fxcost.formulas.with_sympy import from_sympy
from fxcost.graph import LAYER, OUTPUTS, STATE, WEIGHT, TensorSpec, operations, placeholders
from fxcost.ops.rules import Call, Rule
from fxcost.passes.verdict import VERDICT


def graph_text(graph: Graph, annotations: tuple[str, ...]) -> str:
    """A line for each input and weight, and for each operation; under it a line for each of the annotations it has.

    A tensor is ``float32[B,64] @3``: dtype, shape, and its storage, numbered as they first appear. Tensors of one storage
    share memory.
    """
    storages: dict[int, int] = {}
    lines = [
        f"{node.name}: {_tensors(node, storages)}  {_role(node)}" for node in placeholders(graph) if node in OUTPUTS
    ]
    for node in operations(graph):
        lines += ["", f"{node.name}: {_tensors(node, storages)} = {node.target}({_arguments(node)})"]
        layer = LAYER[node]
        lines += [f"    in {layer.called_as or layer.module or 'the model'} ({layer.module_type})"]
        lines += [f"    {name}: {text}" for name in annotations if (text := _text(node.meta.get(name)))]
    return "\n".join(lines)


def _role(node: Node) -> str:
    if node in WEIGHT:
        return f"weight {WEIGHT[node]}"
    return "state" if node in STATE else "input"


def _tensors(node: Node, storages: dict[int, int]) -> str:
    return ", ".join(_tensor(each, storages) for each in OUTPUTS[node]) or "no tensor"


def _tensor(tensor: TensorSpec, storages: dict[int, int]) -> str:
    shape = ",".join(to_text(from_sympy(size)) for size in tensor.shape)
    return f"{tensor.dtype}[{shape}] @{storages.setdefault(tensor.storage, len(storages))}"


def _arguments(node: Node) -> str:
    """The tensors by the nodes that give them, and all else by its name in the operator's schema."""
    call = VERDICT[node].call
    others = [
        f"{name}={_text(value)}"
        for name, value in (call.arguments.items() if call else ())
        if not _holds_tensors(value) and _text(value)
    ]
    return ", ".join([*(each.name for each in node.all_input_nodes), *others])


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, TensorSpec) or (isinstance(value, (list, tuple)) and any(map(_holds_tensors, value)))  # pyright: ignore[reportUnknownArgumentType]  # whatever an operator takes


def _text(value: Any) -> str:
    """A value on one line; empty for what says nothing."""
    if isinstance(value, sympy.Expr):
        return to_text(from_sympy(value))
    if isinstance(value, Rule):
        return value.name
    if value is None or isinstance(value, Call):
        return ""
    if is_dataclass(value):
        return " ".join(
            _named((each.name, getattr(value, each.name)) for each in fields(value) if each.name != "reason")
        )
    if isinstance(value, dict):
        return f"{{{', '.join(_named(value.items()))}}}"  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"  # pyright: ignore[reportUnknownArgumentType]
    return str(value)


def _named(parts: Any) -> Iterator[str]:
    return (f"{name}={text}" for name, value in parts if value not in (False, 0, "", {}, ()) and (text := _text(value)))

"""An exported program as an annotated graph: tensors with their storages, sizes, weights, and the layers that call."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.node import map_arg

from fxcost.formulas.ranges.domain import Condition, Pinned, SymbolRange
from fxcost.formulas.with_sympy import condition
from fxcost.graph import LAYER, REACH, Layer, operations, placeholders
from fxcost.inputs import InputSpec
from fxcost.tracing.environment.value_bounds import ends_of
from fxcost.tracing.export.guards import program_conditions
from fxcost.tracing.export.writing import write, write_value, write_weight
from fxcost.tracing.sizes.naming import Converter, Naming, TraceError


@dataclass(frozen=True)
class Traced:
    """A traced graph, annotated with `OUTPUTS`, `SIZE`, `LAYER`, `WEIGHT`, and where its formulas hold."""

    graph: Graph
    symbols: Mapping[str, SymbolRange]
    fixed: Mapping[str, Pinned]
    conditions: tuple[Condition, ...]
    modules: Mapping[str, str]
    origin: object
    """Keeps the traced tensors alive: `TensorSpec.storage` is meaningful only while they are."""
    rung: Literal["exact", "replayed"] = "exact"
    ended: str = ""
    """The leaf that could not be run, and why; the graph ends there."""
    assumptions: tuple[str, ...] = ()
    """What the model was told that it asked for, other than in a plain run."""


def read_program(
    program: ExportedProgram,
    inputs: tuple[InputSpec, ...],
    sizes: Mapping[str, int],
    symbolic: tuple[str, ...],
    prefix: str,
    bounds: Mapping[sympy.Symbol, tuple[sympy.Expr, sympy.Expr]],
    guards: list[str],
) -> Traced:
    signature = program.graph_signature
    environment = _shape_environment(program)
    user_inputs = [n for n in placeholders(program.graph) if n.name in signature.user_inputs]
    naming = Naming(environment, bounds, symbolic, sizes)
    for node, spec in zip(tensor_inputs(user_inputs), inputs, strict=True):
        naming.read(node.meta["val"], spec.dims)
    convert = Converter(naming.names)
    convert.pin({name: pin.value for name, pin in naming.fixed.items()})
    named = zip(tensor_inputs(user_inputs), inputs, strict=True)
    axes = {(n.name, axis): convert(size) for n, _ in named for axis, size in enumerate(n.meta["val"].shape)}
    carried = program_conditions(guards, axes) + [c for n in operations(program.graph) for c in squeezed(n, convert)]
    ranges, conditions = naming.validity(convert, carried)
    convert.assume(ranges)
    modules: dict[str, str] = {}
    weights = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**program.state_dict, **program.constants}
    for node in program.graph.nodes:
        write_value(node, convert)
        if node.op == "call_function":
            write(node, LAYER, _layer(node, modules, prefix))
        if node.op == "placeholder" and node.name in weights:
            name = weights[node.name].removeprefix(prefix).removeprefix(".")
            transient = weights[node.name] in signature.non_persistent_buffers
            transient |= node.name in signature.inputs_to_lifted_tensor_constants
            is_parameter = node.name in signature.inputs_to_parameters
            write_weight(node, name, is_parameter=is_parameter, transient=transient)
            write(node, REACH, ends_of(held.get(weights[node.name])))
    return Traced(program.graph, ranges, naming.fixed, conditions, modules, program)


def squeezed(node: Node, convert: Callable[[Any], sympy.Expr]) -> Iterator[Condition]:
    """That the sizes a squeeze leaves in place are not 1: at 1 the result would lose a dimension."""
    if not str(node.target).startswith("aten.squeeze."):
        return
    source: Any = node.args[0]
    shape = source.meta["val"].shape
    asked: Any = node.args[1] if len(node.args) > 1 else range(len(shape))
    for axis in (asked,) if isinstance(asked, int) else asked:
        if isinstance(shape[axis], torch.SymInt):
            yield condition(convert(shape[axis]), "!=", sympy.Integer(1), "a squeeze")


def tensor_inputs(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]


def _shape_environment(program: ExportedProgram) -> ShapeEnv | None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and getattr(value, "fake_mode", None) is not None:
            return value.fake_mode.shape_env  # pyright: ignore[reportAttributeAccessIssue]  # fake tensors have one
    return None


def _layer(node: Node, modules: dict[str, str], prefix: str) -> Layer:
    layer = Layer("", "")
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        if path == kind or not (path == prefix or path.startswith(f"{prefix}.") or not prefix):
            continue
        name = re.sub(r"@\d+", "", path.removeprefix(prefix).removeprefix("."))
        type_name = (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
        layer = Layer(name, type_name)
        modules.setdefault(name, type_name)
    return layer


def with_live_tensors(program: ExportedProgram) -> ExportedProgram:
    """Run the program once more on its own symbolic tensors: a file keeps sizes, but not which tensors alias."""
    environment = _shape_environment(program)
    values = {n: n.meta.get("val") for n in placeholders(program.graph)}
    mode = next((getattr(v, "fake_mode", None) for v in values.values() if isinstance(v, torch.Tensor)), None)
    if environment is None or mode is None:
        raise TraceError("the program has no traced tensors; export it again with torch.export")
    for node in program.graph.nodes:
        if node.op == "get_attr":
            values[node] = getattr(program.graph_module, str(node.target))
    for node in operations(program.graph):
        args, kwargs = map_arg((node.args, dict(node.kwargs)), lambda n: values[n])
        with mode:
            values[node] = node.meta["val"] = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]  # an operator
    return program

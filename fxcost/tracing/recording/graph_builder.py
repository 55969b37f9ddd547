"""A graph of a recording: a node for each step, whether or not anything uses its result, as it ran."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch.fx import Graph, Node

from fxcost.graph import KIND, LAYER, OUTPUTS, REACH, SIZE, Layer, TensorSpec
from fxcost.tracing.environment.value_bounds import ends_of, kept_ends
from fxcost.tracing.export.writing import write, write_value, write_weight
from fxcost.tracing.recording.steps import UNSEEN, Step, originals
from fxcost.tracing.recording.validation import Run
from fxcost.tracing.sizes.tensors import named_tensors, tensors_in


class Builder:
    """Makes the graph of one recording; sizes among the arguments become what ``convert`` makes of them.

    ``unseen`` are the identities of tensors that work gave which was not recorded.
    """

    def __init__(self, run: Run, convert: Callable[[Any], Any], unseen: Collection[int]) -> None:
        self.graph, self.recording = Graph(), run.recording
        self.convert, self.unseen = convert, unseen
        self.node_of: dict[int, Node] = {}
        self.originals: Mapping[int, torch.Tensor] = {}
        self.layer = Layer("", "")
        for index, tensor in enumerate(run.inputs):
            self._placeholder(f"input_{index}", tensor)
        self.transient = _transient_names(run.model)
        for name, tensor in named_tensors(run.model):
            self._weight(name, tensor)

    def _placeholder(self, name: str, tensor: torch.Tensor) -> Node:
        node = self.node_of[id(tensor)] = self.graph.placeholder(name)
        node.meta["val"] = tensor
        write(node, REACH, kept_ends(tensor) or ends_of(tensor))
        return node

    def _weight(self, name: str, tensor: torch.Tensor) -> None:
        node = self._placeholder(name.replace(".", "_"), tensor)
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        write_weight(node, name, is_parameter=is_parameter, transient=name in self.transient)

    def build(self) -> Graph:
        self.originals = originals(self.recording, known=self.node_of)
        for step in self.recording.steps:
            self.layer = step.layer
            self._add(step)
        self.graph.output([self._argument(tensor) for tensor in tensors_in(self.recording.output)])
        return self.graph

    def annotate(self) -> None:
        """Write on each node what it yields, and on each operation a number for all that are called with the like."""
        kinds: dict[Any, int] = {}
        for node in self.graph.nodes:
            write_value(node, self.convert)
            if node.op == "call_function":
                write(node, KIND, kinds.setdefault(_kind(node), len(kinds)))

    def _add(self, step: Step) -> None:
        args, kwargs = self._argument(step.args), self._argument(step.kwargs)
        node = self.graph.call_function(step.operator, args, kwargs)
        node.meta["val"] = step.result
        write(node, LAYER, step.layer)
        if isinstance(step.result, torch.Tensor):
            self.node_of[id(step.result)] = node
        results: Any = step.result if isinstance(step.result, (list, tuple)) else ()
        for index, tensor in enumerate(results):
            if isinstance(tensor, torch.Tensor):
                part = self.graph.call_function(operator.getitem, (node, index))
                part.meta["val"] = tensor
                write(part, LAYER, step.layer)
                self.node_of[id(tensor)] = part

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = self.originals.get(id(value), value)
            return self.node_of[id(value)] if id(value) in self.node_of else self._constant(value)
        if isinstance(value, torch.SymInt):
            return self.convert(value)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._argument, value))
        if isinstance(value, dict):
            return {name: self._argument(each) for name, each in value.items()}
        return value

    def _constant(self, tensor: torch.Tensor) -> Node:
        """A tensor that no operator made: another face of a weight, one that the model's code holds, or unseen work's."""
        if id(tensor) in self.unseen:
            node = self.node_of[id(tensor)] = self.graph.call_function(UNSEEN)
            node.meta["val"] = tensor
            write(node, LAYER, self.layer)
            return node
        node = self._placeholder(f"constant_{len(self.node_of)}", tensor)
        if tensor.dim():  # else a number that the model's code makes a tensor of
            write_weight(node, "constant", is_parameter=False, transient=True)
        return node


def _transient_names(model: torch.nn.Module) -> set[str]:
    """The names of the buffers that are not saved with the model."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }


def _kind(node: Node) -> Any:
    """What operations have in common whose costs are the same: the operator, and what it is given and gives."""
    places: dict[int, int] = {}

    def tensor(spec: TensorSpec) -> Any:
        place = places.setdefault(spec.storage, len(places))
        return spec.shape, spec.strides, spec.dtype, spec.offset, spec.overlapping, place

    def like(value: Any) -> Any:
        if isinstance(value, Node):
            return SIZE[value] if value in SIZE else tuple(map(tensor, OUTPUTS[value]))
        if isinstance(value, (list, tuple)):
            return tuple(map(like, value))
        return type(value), value

    named = tuple((name, like(value)) for name, value in node.kwargs.items())
    return node.target, like(node.args), named, tuple(map(tensor, OUTPUTS[node]))

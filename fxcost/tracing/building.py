"""A graph of a recording: a node for each step, whether or not anything uses its result, as it ran."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's symbolic sizes are private and untyped; this folder is the border that keeps them from the rest.

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from fxcost.graph import LAYER, OUTPUTS, PARAMETER, SIZE, TWIN, WEIGHT
from fxcost.tracing.reading import annotate
from fxcost.tracing.steps import Copy, Recording, Span, Step, named_tensors, originals, storage_of, tensors_in


class Unlike(Exception):  # no error: it sends a recording back to be made without repeating
    """Two blocks that seemed to be alike are given tensors that the graph tells apart."""


class Builder:
    """Makes the graph of one recording; sizes among the arguments become what ``convert`` makes of them."""

    def __init__(self, model: torch.nn.Module, inputs: list[torch.Tensor], convert: Callable[[Any], Any]) -> None:
        self.graph = Graph()
        self.convert = convert
        self.node_of: dict[int, Node] = {}
        self.originals: Mapping[int, torch.Tensor] = {}
        self.made: list[tuple[Node, ...]] = []
        """The nodes of each step."""
        self.copies = _Copies()
        for index, tensor in enumerate(inputs):
            self._placeholder(f"input_{index}", tensor)
        for name, tensor in named_tensors(model):
            self._weight(name, tensor)

    def _placeholder(self, name: str, tensor: torch.Tensor) -> Node:
        node = self.node_of[id(tensor)] = self.graph.placeholder(name)
        node.meta["val"] = tensor
        return node

    def _weight(self, name: str, tensor: torch.Tensor) -> None:
        node = self._placeholder(name.replace(".", "_"), tensor)
        node.meta[WEIGHT.name] = name
        if isinstance(tensor, torch.nn.Parameter):
            node.meta[PARAMETER.name] = tensor.numel()

    def build(self, recording: Recording) -> Graph:
        self.originals = originals(recording, known=self.node_of)
        spans = {step.copy.span for step in recording.steps if step.copy is not None}
        starts, stops = _by(spans, lambda span: span.start), _by(spans, lambda span: span.stop)
        for index, step in enumerate(recording.steps):
            for span in stops[index]:
                self.copies.after[span] = self._nodes((*span.given, *span.returned))
            for span in starts[index]:
                self.copies.before[span] = self._nodes(span.given)
            self.made.append(self._add(step) if step.copy is None else self._repeat(step, step.copy))
        self.graph.output([self._argument(tensor) for tensor in tensors_in(recording.output)])
        return self.graph

    def annotate(self) -> None:
        """Write on each node what it yields."""
        for node in self.graph.nodes:
            if node not in TWIN:
                annotate(node, self.convert)
                continue
            twin, storages = TWIN[node], self.copies.storages[node]
            outputs = OUTPUTS[twin]
            node.meta[OUTPUTS.name] = tuple(replace(each, storage=storages[each.storage]) for each in outputs)
            if twin in SIZE:
                node.meta[SIZE.name] = SIZE[twin]

    def _nodes(self, tensors: Iterable[torch.Tensor]) -> list[Node]:
        return [self._argument(tensor) for tensor in tensors]

    def _add(self, step: Step) -> tuple[Node, ...]:
        args, kwargs = self._argument(step.args), self._argument(step.kwargs)
        node = self.graph.call_function(step.operator, args, kwargs)
        node.meta["val"] = step.result
        node.meta[LAYER.name] = step.layer
        if isinstance(step.result, torch.Tensor):
            self.node_of[id(step.result)] = node
            return (node,)
        results: Any = step.result if isinstance(step.result, (list, tuple)) else ()
        parts: list[Node] = []
        for index, tensor in enumerate(results):
            if isinstance(tensor, torch.Tensor):
                part = self.graph.call_function(operator.getitem, (node, index))
                part.meta["val"] = tensor
                part.meta[LAYER.name] = step.layer
                self.node_of[id(tensor)] = part
                parts.append(part)
        return (node, *parts)

    def _repeat(self, step: Step, copy: Copy) -> tuple[Node, ...]:
        span = copy.span
        if step.source == span.start:
            self.copies.begin(copy, self._nodes(copy.given))
        nodes = self.copies.nodes
        made: list[Node] = []
        for twin in self.made[step.source]:
            args, kwargs = map_arg((twin.args, twin.kwargs), lambda node: nodes.get(node, node))
            node = nodes[twin] = self.graph.call_function(twin.target, args, kwargs)  # pyright: ignore[reportArgumentType]
            node.meta = {"val": twin.meta["val"], LAYER.name: step.layer, TWIN.name: twin}
            self.copies.storages[node] = self.copies.current
            made.append(node)
        if step.source == span.stop - 1:
            for tensor, was in zip((*copy.given, *copy.returned), self.copies.after[span], strict=True):
                if was in nodes:
                    self.node_of[id(tensor)] = nodes[was]
        return tuple(made)

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
        """A tensor that no operator made: another face of a weight, or one that the model's code holds."""
        node = self._placeholder(f"constant_{len(self.node_of)}", tensor)
        if tensor.dim():  # else a number that the model's code makes a tensor of
            node.meta[WEIGHT.name] = "constant"
        return node


class _Copies:
    """The nodes and storages that those of a span become in the copy of it that is being made."""

    def __init__(self) -> None:
        self.before: dict[Span, list[Node]] = {}
        self.after: dict[Span, list[Node]] = {}
        """The nodes that stood for the tensors of a span when it began, and when it was over."""
        self.nodes: dict[Node, Node] = {}
        self.current: _Storages = _Storages(count(-1, -1).__next__)
        self.storages: dict[Node, _Storages] = {}

    def begin(self, copy: Copy, given: list[Node]) -> None:
        before = self.before[copy.span]
        self.nodes = dict(zip(before, given, strict=True))
        if any(self.nodes[one] is not other for one, other in zip(before, given, strict=True)):
            raise Unlike
        tensors = zip((*copy.span.given, *copy.span.returned), (*copy.given, *copy.returned), strict=True)
        self.current = _Storages(self.current.fresh)
        self.current.update({storage_of(one): storage_of(other) for one, other in tensors})


class _Storages(dict[int, int]):
    """Of a block's storages those that stand for them in its copy, made up for the ones inside."""

    def __init__(self, fresh: Callable[[], int]) -> None:
        super().__init__()
        self.fresh = fresh

    def __missing__(self, storage: int) -> int:
        made = self[storage] = self.fresh()
        return made


def _by(spans: Iterable[Span], key: Callable[[Span], int]) -> Mapping[int, list[Span]]:
    found: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        found[key(span)].append(span)
    return found

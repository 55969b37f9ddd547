"""A recording held against a plain run, its sizes whole numbers, where its formulas hold: both must have done the same."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's tensors and graphs are typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from fxcost.tracing.recording.steps import Recording, Step, originals
from fxcost.tracing.sizes.naming import TraceError
from fxcost.tracing.sizes.polynomials import Polynomial, value_at
from fxcost.tracing.sizes.tensors import Layout, named_tensors, storage_of, tensors_in

ADVICE = "Keep fewer symbols with --symbolic, or count the submodule that does so as unknown with --leaf PATH"


class Mismatch(TraceError):
    """A plain run did not do what the formulas say."""


@dataclass(frozen=True)
class Run:
    """A recording, and what it was called with."""

    model: torch.nn.Module
    recording: Recording
    inputs: list[torch.Tensor]

    @cached_property
    def working(self) -> list[tuple[Step, list[Any]]]:
        """The steps but those that torch may leave out, each with where the tensors that it takes come from."""
        return [(step, taken) for step, taken in _with_origins(self) if step.operator not in LEFT_OUT]


def hold_against(first: Run, second: Run, sizes: Mapping[str, int], *, spread: bool) -> None:
    """Raise `Mismatch` unless the operators of both runs, in their order, do the same at these sizes.

    The same is: in one layer, with equal numbers, to the same tensors, of equal shapes and dtypes. With ``spread`` also in
    which dimensions one stored element stands for many, which a copy ends that torch leaves out at sizes of 1.
    """
    at = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "the model's own sizes"
    ran, runs = _Side(first, sizes, spread), _Side(second, sizes, spread)
    for (mine, sources), (theirs, others) in zip(ran.working, runs.working, strict=False):
        if mine.operator != theirs.operator:
            break
        layer = theirs.layer.module
        called = f"at {at} {theirs.operator} in {layer or 'the model'}"
        gives, says = runs.results(theirs), ran.results(mine)
        if gives != says:
            raise Mismatch(f"{called} gives {_shapes(gives)}, where the formulas say {_shapes(says)}\n{ADVICE}")
        if mine.layer.module != layer or not _alike(mine, ran.given(mine, sources), runs.given(theirs, others)):
            raise Mismatch(f"{called} is called with other arguments than those that the formulas follow\n{ADVICE}")
    else:
        if len(ran.working) == len(runs.working):
            return
    raise Mismatch(f"the model runs other operators at {at}, where its formulas should hold\n{ADVICE}")


def _alike(step: Step, ours: Any, theirs: Any) -> bool:
    """Whether two calls of an operator are given the same, some of it left out where it is what the operator takes anyway."""
    return ours == theirs or _shortened(step, ours) == _shortened(step, theirs)


def _shortened(step: Step, given: Any) -> Any:
    (args, kwargs), schema = given, step.operator._schema.arguments
    kept = len(args)
    while kept and schema[kept - 1].has_default_value() and schema[kept - 1].default_value == args[kept - 1]:
        kept -= 1
    return args[:kept], kwargs


class _Anything:
    """Equal to all: stands for a fraction of sizes that is still a formula, which is not compared."""

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = object.__hash__


ANYTHING = _Anything()


class _Side:
    """One of two runs that are compared, its sizes as numbers."""

    def __init__(self, run: Run, sizes: Mapping[str, int], spread: bool) -> None:
        self.sizes, self.recording, self.spread = dict(sizes), run.recording, spread
        self.known: dict[Polynomial, Any] = {}
        self.tensors: dict[Layout, Any] = {}
        self.working = run.working

    def given(self, step: Step, origins: list[Any]) -> Any:
        """The arguments of a call, each tensor as what it is and where it comes from."""
        return self._value((step.args, step.kwargs), iter(origins))

    def results(self, step: Step) -> list[Any]:
        """Shape and dtype of each result."""
        return [self._tensor(each)[:2] for each in step.made]

    def _value(self, value: Any, origins: Iterator[Any]) -> Any:
        if isinstance(value, torch.Tensor):
            return next(origins), self._tensor(value)
        if isinstance(value, torch.SymInt):
            return self._number(value.node)
        if isinstance(value, (torch.SymFloat, torch.SymBool)):
            return ANYTHING
        if isinstance(value, (list, tuple)):
            return [self._value(each, origins) for each in value]
        if isinstance(value, dict):
            return {name: self._value(each, origins) for name, each in value.items()}
        return value

    def _tensor(self, tensor: torch.Tensor) -> Any:
        """Shape, dtype, and which dimensions one stored element stands for."""
        layout = self.recording.layout(tensor)
        found = self.tensors.get(layout)
        if found is None:
            shape, strides = (list(map(self._number, each)) for each in layout[:2])
            spread = self.spread and [n == 0 for size, n in zip(shape, strides, strict=True) if size > 1]
            found = self.tensors[layout] = shape, layout[3], spread
        return found

    def _number(self, size: Any) -> Any:
        return value_at(size, self.sizes, self.known) if isinstance(size, Polynomial) else size


LEFT_OUT = frozenset({torch.ops.aten.slice.Tensor, torch.ops.aten.alias.default, torch.ops.aten.contiguous.default})
"""What torch leaves out where it knows that a tensor is all of it already, or laid out so."""


def _with_origins(run: Run) -> Iterator[tuple[Step, list[Any]]]:
    """Each step with where the tensors that it takes come from: what the run was given, or the operator that made it, by number.

    Slices, copies in order and writes in place are looked through to what they are of.
    """
    found: dict[int, Any] = {id(tensor): ("input", place) for place, tensor in enumerate(run.inputs)}
    for name, tensor in named_tensors(run.model):
        found.setdefault(id(tensor), name)
    handles = originals(run.recording, found)
    place = 0
    for step in run.recording.steps:
        taken = [found.get(id(tensor)) or found.get(id(handles.get(id(tensor))), "constant") for tensor in step.taken]
        yield step, taken
        works = step.operator not in LEFT_OUT
        looked_through = taken and (not works or step.operator._schema.is_mutable)
        for item, tensor in enumerate(step.made):
            if not looked_through:
                found[id(tensor)] = place, item
            else:
                found.setdefault(id(tensor), taken[0])
        place += works


def unrecorded(first: Run, second: Run) -> set[int]:
    """Tensors of the first run, by identity, that work gave which was not recorded, for the second run has others there.

    What the model itself holds is the same tensor in both; what it makes of numbers goes through an operator of its own.
    """
    held = {storage_of(tensor) for tensor in _constants(second)}
    return {id(tensor) for tensor in _constants(first) if tensor.is_meta and storage_of(tensor) not in held}


def _constants(run: Run) -> Iterator[torch.Tensor]:
    """The tensors that operators take and none gave."""
    given = (*run.inputs, *(tensor for _, tensor in named_tensors(run.model)))
    known = set(map(storage_of, (*given, *run.recording.made_of_numbers)))
    for step in run.recording.steps:
        if step.operator not in INDEXING:
            yield from (tensor for tensor in step.taken if storage_of(tensor) not in known)
        known.update(map(storage_of, (*step.taken, *step.made)))
    yield from (tensor for tensor in tensors_in(run.recording.output) if storage_of(tensor) not in known)


INDEXING = frozenset({torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default})
"""What lists of places are given to, which torch makes tensors of unseen."""


def _shapes(results: list[Any]) -> str:
    return " and ".join(f"a {str(dtype).removeprefix('torch.')} tensor of {tuple(shape)}" for shape, dtype in results)

"""Blocks that repeat in a model: what the first did stands for those that are like it and are given the like.

Alike are two modules of one class, with submodules and weights of the same shapes, whose attributes are equal as far as
the first one's run read them; a block's number among the others, which it never reads, makes no difference. What no
attribute and no input shows, such as a global counter, is left to the run that checks a recording and repeats nothing.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's modules and their tables are typed in part.

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import Module
from torch.utils import _pytree as pytree

from fxcost.graph import Layer
from fxcost.tracing.attributes import MACHINERY, SIMPLE, Attributes, Watch, image, is_plain
from fxcost.tracing.steps import Copy, Recording, Span, Step, likeness, storage_of, tensors_in

Run = Callable[..., Any]
Tensors = tuple[torch.Tensor, ...]
Reads = Mapping[tuple[int | Module, str], Any]
"""Images of attributes, by their name and the place of their module in the block, or their module if it is outside."""


MOST_OF_A_KIND = 8
"""Unlike blocks of one kind after which no more are compared: they will go on to differ."""


class _Open(Exception):  # no error, but why a block cannot stand for others
    """What a block did cannot be told from its inputs and attributes."""


@dataclass(frozen=True, eq=False)
class _Block:
    """A module that ran, what it did and what it read."""

    span: Span
    modules: Sequence[Module]
    reads: Reads
    result: Callable[[Tensors, Tensors], Any]
    """What it returned, of the tensors that it was given and those that it made."""


class Repeats:
    """Runs modules; for one that is like an earlier one, writes down again what that did."""

    def __init__(
        self,
        model: Module,
        recording: Recording,
        layers: Mapping[Module, Layer],
        attributes: Attributes,
        here: Callable[[], Layer],
        unseen: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.recording, self.layers, self.attributes = recording, layers, attributes
        self.here, self.unseen = here, unseen
        self.kinds = _kinds(model)
        self.blocks: dict[Any, list[_Block]] = {}
        self.weights = {storage_of(tensor) for each in model.modules() for tensor in _weights(each)}
        self.made = set[int]()
        self.looked_at = 0

    def run(self, module: Module, run: Run, args: Any, kwargs: Any) -> Any:
        if module not in self.kinds:
            return run(module, *args, **kwargs)
        leaves, structure = pytree.tree_flatten((args, kwargs))
        if not all(isinstance(leaf, (torch.Tensor, torch.SymInt, *SIMPLE)) for leaf in leaves):
            return run(module, *args, **kwargs)
        given = (*tensors_in(leaves), *(t for each in module.modules() for t in _weights(each)))
        key = (self.kinds[module], repr(structure), tuple(map(likeness, leaves)), self._pattern(given))
        known = self.blocks.setdefault(key, [])
        if len(known) == MOST_OF_A_KIND:
            return run(module, *args, **kwargs)
        for block in known:
            if self._reads(block.reads, list(module.modules()), given) == block.reads:
                return self._again(block, module, given)
        watch, start = Watch(), len(self.recording.steps)
        self.attributes.watches.append(watch)
        try:
            result = run(module, *args, **kwargs)
        finally:
            self.attributes.watches.pop()
        with suppress(_Open):
            block = self._block(module, watch, Span(start, len(self.recording.steps), given), result)
            known.append(block)
        return result

    def _pattern(self, tensors: Tensors) -> Any:
        """Which of the tensors are one, which share storage, and what each is of: the model, the run, or from outside."""
        for step in self.recording.steps[self.looked_at :]:
            self.made |= set(map(storage_of, step.made))
        self.looked_at = len(self.recording.steps)
        firsts: dict[Any, int] = {}
        storages = [storage_of(tensor) for tensor in tensors]
        return tuple(
            (
                firsts.setdefault(("tensor", id(tensor)), place),
                firsts.setdefault(("storage", storage), place),
                "weight" if storage in self.weights else "made" if storage in self.made else id(tensor),
            )
            for place, (tensor, storage) in enumerate(zip(tensors, storages, strict=True))
        )

    def _reads(self, names: Iterable[tuple[int | Module, str]], modules: Sequence[Module], given: Tensors) -> Reads:
        parts: dict[int, Any] = {id(each): ("module", place) for place, each in enumerate(modules)}
        for place, tensor in enumerate(given):
            parts.setdefault(id(tensor), ("tensor", place))
        return {
            (at, name): image(self.attributes.value(modules[at] if isinstance(at, int) else at, name), parts)
            for at, name in names
        }

    def _block(self, module: Module, watch: Watch, span: Span, result: Any) -> _Block:
        modules = list(module.modules())
        if watch.wrote or span.start == span.stop:
            raise _Open
        for (_, name), (each, found) in watch.reads.items():
            if image(self.attributes.value(each, name), {}) != found:
                raise _Open  # what it read has changed since
        for each in modules:  # what a class has as well is read unseen
            for name in vars(each).keys() - MACHINERY:
                watch.note(each, name, vars(each)[name])
        places = {id(each): place for place, each in enumerate(modules)}
        names = [(places.get(number, each), name) for (number, name), (each, _) in watch.reads.items()]
        made = self._closed(span, {self.layers[each].module for each in modules})
        returned, build = _result(result, span.given, made)
        return _Block(replace(span, returned=returned), modules, self._reads(names, modules, span.given), build)

    def _closed(self, span: Span, paths: set[str]) -> set[int]:
        """The storages that the steps made, if they take no tensors but those given and are all of these modules."""
        known = set(map(storage_of, span.given))
        made = set[int]()
        for step in self.recording.steps[span.start : span.stop]:
            foreign = any(tensor.dim() and storage_of(tensor) not in known for tensor in step.taken)
            if foreign or step.layer.module not in paths:
                raise _Open
            made |= set(map(storage_of, step.made)) - known
            known |= made
        return made

    def _again(self, block: _Block, module: Module, given: Tensors) -> Any:
        modules, span, recording = list(module.modules()), block.span, self.recording
        with self.unseen():
            returned = tuple(
                torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in span.returned
            )
        copy = Copy(span, given, returned)
        layers = {
            self.layers[one].module: self.layers[other] for one, other in zip(block.modules, modules, strict=True)
        }
        for index in range(span.start, span.stop):
            step = recording.steps[index]
            layer = layers[step.layer.module]
            recording.steps.append(Step(step.operator, step.args, step.kwargs, step.result, layer, copy, index))
        self.here()  # notes the modules around it, which call what it does
        for path in [path for path in recording.modules if path in layers]:
            recording.modules.setdefault(layers[path].module, layers[path].module_type)
        for watch in self.attributes.watches:
            for at, name in block.reads:
                each = modules[at] if isinstance(at, int) else at
                watch.note(each, name, self.attributes.value(each, name))
        return block.result(given, returned)


def _kinds(model: Module) -> dict[Module, int]:
    """A number for each module that has submodules and a twin: of the same class, parts, and shapes of weights."""
    numbers: dict[Any, int] = {}
    kinds: dict[Module, int | None] = {}

    def number(module: Module) -> int | None:
        if module not in kinds:
            parts = [(name, number(child)) for name, child in module._modules.items() if child is not None]
            simple = is_plain(module) and None not in dict(parts).values() and not _hooks(module)
            shapes = [(name, likeness(each)) for name, each in _named_weights(module)]
            kind = (type(module), *map(tuple, (sorted(vars(module)), parts, shapes)))
            kinds[module] = numbers.setdefault(kind, len(numbers)) if simple else None
        return kinds[module]

    number(model)
    count = Counter(kinds.values())
    return {
        module: kind
        for module, kind in kinds.items()
        if kind is not None and count[kind] > 1 and module._modules and not _shares_parts(module)
    }


def _hooks(module: Module) -> bool:
    return any(vars(module)[name] for name in MACHINERY if name.endswith(("_hooks", "_hooks_with_kwargs")))


def _shares_parts(module: Module) -> bool:
    paths = [id(each) for _, each in module.named_modules(remove_duplicate=False)]
    return len(set(paths)) < len(paths)


def _named_weights(module: Module) -> list[tuple[str, torch.Tensor]]:
    tables = (*module._parameters.items(), *module._buffers.items())
    return [(name, tensor) for name, tensor in tables if tensor is not None]


def _weights(module: Module) -> list[torch.Tensor]:
    return [tensor for _, tensor in _named_weights(module)]


def _result(result: Any, given: Tensors, made: set[int]) -> tuple[Tensors, Callable[[Tensors, Tensors], Any]]:
    """The new tensors of a result, and a function that builds it anew of others."""
    leaves, structure = pytree.tree_flatten(result)
    places = {id(tensor): place for place, tensor in reversed(list(enumerate(given)))}
    new = list({id(leaf): leaf for leaf in tensors_in(leaves) if id(leaf) not in places}.values())
    if len({storage_of(tensor) for tensor in new}) < len(new) or not all(_stands_alone(each, made) for each in new):
        raise _Open
    if not all(isinstance(leaf, (torch.Tensor, torch.SymInt, *SIMPLE)) for leaf in leaves):
        raise _Open
    fresh = {id(tensor): place for place, tensor in enumerate(new)}

    def build(given: Tensors, returned: Tensors) -> Any:
        def put(leaf: Any) -> Any:
            if id(leaf) in places:
                return given[places[id(leaf)]]
            return returned[fresh[id(leaf)]] if id(leaf) in fresh else leaf

        return pytree.tree_unflatten([put(leaf) for leaf in leaves], structure)

    return tuple(new), build


def _stands_alone(tensor: torch.Tensor, made: set[int]) -> bool:
    """Whether a new tensor like it is all that others need of it."""
    offset = tensor.storage_offset()
    return type(tensor) is torch.Tensor and storage_of(tensor) in made and isinstance(offset, int) and offset == 0

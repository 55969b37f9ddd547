"""What of a model did not run: submodules none of whose parameters an operation uses."""

# pyright: reportUnknownMemberType=false
# torch is typed in part.

from collections.abc import Iterator, Mapping

from torch.fx import Graph
from torch.nn import Module

from fxcost.costs.model import NOT_RUN
from fxcost.graph import operations
from fxcost.models.building import signature_of
from fxcost.passes.parameters import unused_parameters
from fxcost.tracing.sizes.tensors import names_in
from fxcost.tracing.source import Source

MOST_NAMED = 3
SENSES = (
    "pixel_values", "pixel_values_videos", "input_features", "input_values", "input_ids", "decoder_input_ids",
)  # fmt: skip
"""What models of several kinds of input take each of them by."""


def leftover_notes(source: Source, graph: Graph) -> tuple[str, ...]:
    """Which submodules did not run, and which inputs may be why; nothing where all of them did."""
    if source.module is None:
        return ()
    unused = unused_parameters(graph)
    left = {
        id(tensor)
        for name, tensor in source.module.named_parameters()
        if unused and all(each in unused for each in names_in(name, tensor))
    }
    if not left:
        return ()
    sizes = {path: sum(p.numel() for p in each.parameters()) for path, each in _left(source.module, left)}
    if not sizes or _has_unseen(graph):  # which may be where they ran
        return ()
    return (f"{NOT_RUN}{_listed(sizes)}{_missing(source)}",)


def _has_unseen(graph: Graph) -> bool:
    return any(str(node.target) == "fxcost.unseen.default" for node in operations(graph))


def _left(module: Module, left: set[int], path: str = "") -> Iterator[tuple[str, Module]]:
    """The largest submodules all of whose parameters are among those left."""
    for name, child in module.named_children():
        inside = f"{path}.{name}".lstrip(".")
        numbers = {id(parameter) for parameter in child.parameters()}
        if numbers and numbers <= left:
            yield inside, child
        elif numbers & left:
            yield from _left(child, left, inside)


def _listed(sizes: Mapping[str, int]) -> str:
    """The largest by name, with their parameters."""
    largest = sorted(sizes, key=lambda path: -sizes[path])
    told = [f"{path} ({sizes[path]:,} parameters)" for path in largest[:MOST_NAMED]]
    more = largest[MOST_NAMED:]
    if more:
        told.append(f"{len(more)} more ({sum(sizes[path] for path in more):,} parameters)")
    return ", ".join(told)


def _missing(source: Source) -> str:
    """What the model takes beside what it was given."""
    if source.module is None or source.arguments.call is not None:
        return ""
    takes = signature_of(source.module).parameters
    given = {spec.name for spec in source.arguments.specs()}
    missing = [name for name in SENSES if name in takes and name not in given]
    return f"; no {' and no '.join(missing)} was given: add it with --input" if missing and given & {*SENSES} else ""

"""A model whose elements are told by the formats that a scheme stores them in, so that bytes are counted as ever."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from fxcost.costs.graph.cost_graph import CostGraph
from fxcost.costs.model import Cost, CostModel, LayerCost, State, mixed_products
from fxcost.errors import FxcostError
from fxcost.formats.schemes import Scheme
from fxcost.formats.storing import Placement, placed


def as_stored(model: CostModel, scheme: Scheme) -> CostModel:
    """The model with formats in the place of its own dtype, their bits in `CostModel.bits`, and what layers compute in.

    Rows may be operations or kernels. What other dtypes hold, and what views a storage as another dtype, stays as it
    is. Raises `FxcostError` for a model that was saved without its storages.
    """
    here = placed(_with_kernels(model), scheme)
    model = here.model
    costs: dict[tuple[int, ...], Cost] = {}
    labels = _labels(here)
    storages = tuple(replace(each, dtype=labels.get(n, each.dtype)) for n, each in enumerate(here.graph.storages))
    tensors = tuple(
        each._replace(dtype=labels[each.storage]) if each.dtype == model.dtype and each.storage in labels else each
        for each in here.graph.tensors
    )
    graph = replace(here.graph, storages=storages, tensors=tensors)
    caches = {label for place, label in labels.items() if here.graph.storages[place].role == "state"}
    return replace(
        model,
        layers=tuple(_row(each, graph, here, costs) for each in model.layers),
        graph=graph,
        state=None if model.state is None else _state(model.state, model.dtype, caches, scheme),
        widths={label: here.bits[place] for place, label in labels.items()},
    )


def _with_kernels(model: CostModel) -> CostModel:
    """The model with the kernels of its operations found, which are of what it was written in: formats are deployed as they are."""
    known = all(layer.edges.parts or layer.members for layer in model.used_layers)
    if known or model.graph is None:
        return model
    from fxcost.costs.fusion.groups import with_parts  # for files that were saved before they held them

    return replace(model, layers=(*with_parts(model.used_layers, model.graph), *model.unused_layers))


def _labels(here: Placement) -> Mapping[int, str]:
    """A name for the elements of each storage that a rule fits, one for all that have the same bits."""
    places = [place for place, rule in enumerate(here.rules) if rule is not None]
    usual: dict[str, Fraction] = {}
    for place in places:
        usual.setdefault(here.formats[place].text, here.bits[place])
    texts = ((place, here.formats[place].text, here.bits[place]) for place in places)
    return {place: text if usual[text] == bits else f"{text} of {bits} bit" for place, text, bits in texts}


def _row(layer: LayerCost, graph: CostGraph, here: Placement, costs: dict[tuple[int, ...], Cost]) -> LayerCost:
    """The row by formats; a kernel computes in what its first contraction does, or its first operation.

    Rows that shared a cost share one again, which is then solved and evaluated once.
    """
    members = tuple(_row(each, graph, here, costs) for each in layer.members)
    first = min(members, key=lambda each: each.cost.matrix == 0, default=None)
    computes = here.precisions(layer) if first is None else first.computes
    cost = layer.cost
    if layer.edges.accesses:
        reads, writes = graph.counts(layer.edges)
        cost = costs.setdefault((id(cost), id(reads), id(writes)), replace(cost, reads=reads, writes=writes))
    return replace(layer, cost=cost, computes=computes, members=members, mixed=mixed_products(members))


def _state(state: State, own: str, caches: set[str], scheme: Scheme) -> State:
    """The cache, whose amounts are known of all layers together."""
    if len(caches) > 1:
        raise FxcostError(
            f"{scheme.name} stores the cache of some layers in {', '.join(sorted(caches))}; give all one format"
        )
    (label,) = caches or {own}
    return replace(
        state,
        per_token={label if dtype == own else dtype: amount for dtype, amount in state.per_token.items()},
        whole={label if dtype == own else dtype: amount for dtype, amount in state.whole.items()},
    )

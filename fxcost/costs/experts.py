"""How many experts a step reads: as many as are expected, or as there can be."""

from dataclasses import replace
from functools import cache

from fxcost.costs.model import CostModel, LayerCost
from fxcost.formulas.algebra import Formula, Touched, least_of, parts_of, replaced
from fxcost.request import Experts


def with_experts(model: CostModel, experts: Experts) -> CostModel:
    """The model with the experts read that are asked for; ``most`` is a bound on ``expected`` from above."""
    if experts == "expected":
        return model
    change = cache(_most)

    def changed(layer: LayerCost) -> LayerCost:
        return replace(layer.map(change), edges=layer.edges.map(change))

    return replace(model, layers=tuple(map(changed, model.layers)))


def _most(formula: Formula) -> Formula:
    found: dict[Formula, Formula] = {
        part: _all_different(part) for part in parts_of(formula) if isinstance(part, Touched)
    }
    return replaced(formula, found) if found else formula


def _all_different(touched: Touched) -> Formula:
    things, picked, rows = touched.children
    return least_of(things, picked * rows)

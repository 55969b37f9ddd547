"""A model at every size it runs at: traced again where formulas do not hold."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError

Again = Callable[[Mapping[str, int]], CostModel]
"""Traces the model at other sizes."""


class Traces:
    """Costs by size: of the first trace whose formulas hold there, else of a new one.

    ``again`` is None for a saved model, which holds where its one trace does.
    """

    def __init__(self, first: CostModel, again: Again | None = None) -> None:
        self.first, self._again = first, again
        self._known = [first]

    def at(self, sizes: Mapping[str, int]) -> CostModel:
        """Formulas that hold at these sizes. Raises `FxcostError` where the model does not run, or is not at hand."""
        refusals: list[FxcostError] = []
        for known in self._known:
            try:
                known.point(sizes)
            except FxcostError as error:
                refusals.append(error)
            else:
                return known
        if self._again is None:
            raise FxcostError(
                f"{refusals[0]}; give the model itself in the place of the saved file, which is traced again"
            )
        self._known.append(self._again(sizes))
        self._known[-1].point(sizes)
        return self._known[-1]

    def over(
        self, grid: Mapping[str, Sequence[int]], at: Mapping[str, int], say: Callable[[str], None]
    ) -> list[tuple[dict[str, int], dict[int, CostModel]]]:
        """`along` the sizes of a grid's last symbol, for each combination of the others that the model runs at."""
        *others, last = grid
        lines: list[tuple[dict[str, int], dict[int, CostModel]]] = []
        refused: list[FxcostError] = []
        for name in others:
            self.first.check_symbol(name)
        for sizes in product(*(grid[name] for name in others)):
            beside = dict(zip(others, sizes, strict=True))
            try:
                lines.append((beside, self.along(last, grid[last], {**at, **beside}, say)))
            except FxcostError as error:
                refused.append(error)
                if beside:
                    say(f"{', '.join(f'{n}={s}' for n, s in beside.items())} left out: {str(error).splitlines()[0]}")
        if not lines:
            raise refused[0]
        return lines

    def along(
        self, name: str, sizes: Sequence[int], at: Mapping[str, int], say: Callable[[str], None]
    ) -> dict[int, CostModel]:
        """The costs at each size of a symbol, the others at ``at``; ``say`` is told of sizes the model does not run at.

        Raises `FxcostError` for a symbol that the model does not have, or when it runs at none of the sizes.
        """
        self.first.check_symbol(name)
        found: dict[int, CostModel] = {}
        refused: list[str] = []
        for size in sizes:
            try:
                found[size] = self.at({**at, name: size})
            except FxcostError as error:
                refused.append(f"{name}={size} left out: {str(error).splitlines()[0]}")
        if not found:
            raise FxcostError(f"{self.first.ref} runs at none of the sizes of {name}; {refused[0]}")
        for text in refused:
            say(text)
        return found

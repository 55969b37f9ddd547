"""pytest's fixture ``cost_regression``, which pytest finds by its entry point; it loads torch when first used."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fxcost.regression import CostRegression


@pytest.fixture
def cost_regression(request: pytest.FixtureRequest) -> "CostRegression":
    """Keeps a model's formulas in a file beside the test: ``cost_regression.check(model, inputs, symbolic="B,S")``."""
    if find_spec("pytest_regressions") is None:
        pytest.fail("cost_regression needs pytest-regressions: pip install 'fxcost[pytest]'", pytrace=False)
    from fxcost.regression import CostRegression

    return CostRegression(request.getfixturevalue("data_regression"))

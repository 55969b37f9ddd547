"""What several test files need."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def costs_of() -> Callable[..., Any]:
    """Costs of a module or function with inputs such as ``"x: float32[B,8]"``, at sizes such as ``B=2``.

    Traced at sizes unlike those asked for, so that formulas are what is checked.
    """
    from torch import nn

    from fxcost.analysis import trace

    class Function(nn.Module):
        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, *tensors: Any) -> Any:
            return self.function(*tensors)

    def cost(model: Any, *inputs: str, **sizes: int) -> Any:
        module = model if isinstance(model, nn.Module) else Function(model)
        return trace(module, inputs=inputs, at={name: size + 7 for name, size in sizes.items()}).at(sizes)

    return cost

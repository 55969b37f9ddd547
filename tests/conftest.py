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


@pytest.fixture
def fxcost_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, what it printed, what it said on stderr."""
    from fxcost.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fxcost", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        said = "\n".join(line for line in printed.err.splitlines() if not line.startswith("building and tracing"))
        return code, printed.out, said

    return run


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A saved model of two layers: a convolution over images and a classifier."""
    from torch import nn

    from fxcost.analysis import trace

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.relu = nn.ReLU()
            self.head = nn.Linear(8, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.relu(self.conv(x)).mean((2, 3)))

    path = tmp_path_factory.mktemp("saved") / "small.json"
    trace(Small(), inputs=("x: float32[B,3,H,W]",), at={"H": 33, "W": 35}).save(path)
    return path

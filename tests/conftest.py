"""What several test files need."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"model_type": "gpt2"},
    "llama": {
        "model_type": "llama", "num_hidden_layers": 3, "hidden_size": 256, "intermediate_size": 688, "vocab_size": 1000,
        "num_attention_heads": 8, "num_key_value_heads": 2,
    },
    "bert": {"model_type": "bert", "num_hidden_layers": 3},
    "t5": {"model_type": "t5", "num_layers": 2},
    "mixtral": {
        "model_type": "mixtral", "num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 512,
        "vocab_size": 1000, "num_attention_heads": 8, "num_key_value_heads": 2,
    },
    "llama-2-7b": {
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008,
        "vocab_size": 32000, "num_attention_heads": 32,
    },
}  # fmt: skip
"""Configurations by their differences from the family's defaults; ``gpt2`` is the 124M model itself."""
SYMBOLIC = {"swin_t": "B"}
"""What Swin does depends on H and W in too many ways to keep; in B alone it is not recorded twice."""


@pytest.fixture(scope="session")
def costs_of() -> Callable[..., Any]:
    """Costs of a module or function with inputs such as ``"x: float32[B,8]"``, at sizes such as ``B=2``.

    Traced at sizes unlike those asked for, so that formulas are what is checked; in this process, which takes half the time.
    """
    from torch import nn

    from fxcost.api import trace

    class Function(nn.Module):
        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, *tensors: Any) -> Any:
            return self.function(*tensors)

    def cost(model: Any, *inputs: str, **sizes: int) -> Any:
        module = model if isinstance(model, nn.Module) else Function(model)
        at = {name: size + 7 for name, size in sizes.items()}
        return trace(module, inputs=inputs, at=at, isolated=False).at(sizes)

    return cost


@pytest.fixture
def leave_to_export(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on no run is recorded, so that models are exported."""
    from fxcost.tracing import TraceError
    from fxcost.tracing import fallback as ladder

    def refuse(*_: Any) -> Any:
        raise TraceError("not recorded")

    return lambda: monkeypatch.setattr(ladder, "record_module", refuse)


@pytest.fixture
def fxcost_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, what it printed, what it said on stderr."""
    from fxcost.cli.main import main

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

    from fxcost.api import trace

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


@pytest.fixture(scope="session")
def small_records(small_model: Path) -> Path:
    """The same model as a file of version 1 holds it."""
    from fxcost.costs.files.records import to_record
    from fxcost.costs.files.saved import load

    path = small_model.with_name("records.json")
    path.write_text(to_record(load(small_model)).model_dump_json(indent=1))
    return path


@dataclass(frozen=True)
class Subject:
    """A model beside its costs."""

    source: Any
    costs: Any

    @property
    def module(self) -> Any:
        return self.source.module


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A model reference: of a configuration above, or of torchvision."""

    def refer(name: str) -> str:
        if name not in LANGUAGE:
            return f"torchvision:{name}"
        folder = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps(LANGUAGE[name]))
        return f"hf:{folder}"

    return refer


@pytest.fixture(scope="session")
def subject(reference: Callable[[str], str]) -> Callable[[str], Subject]:
    """Each model traced once in a session."""
    from fxcost.costs.analysis import Request, trace_source
    from fxcost.models.references import load_source

    known: dict[str, Subject] = {}

    def take(name: str) -> Subject:
        if name not in known:
            source = load_source(reference(name))
            known[name] = Subject(source, trace_source(source, Request(SYMBOLIC.get(name)), warn=lambda text: None))
        return known[name]

    return take

"""What models are called with: examples whose dimensions are named, parts of dictionaries and lists, factories that say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.inputs import InputSpec, as_called, parse_input
from fxcost.tracing import arguments_like

Command = Callable[..., tuple[int, str, str]]
TOKENS = torch.zeros(2, 8, dtype=torch.int64)
NAMED: dict[str, tuple[nn.Module | None, tuple[Any, ...], list[str]]] = {
    "an image": (None, (torch.zeros(2, 3, 8, 10),), ["B,3,H,W"]),
    "features of a convolution": (nn.Conv2d(4, 8, 3), (torch.zeros(2, 4, 8, 10),), ["B,4,H,W"]),
    "heads": (nn.Linear(16, 16), (torch.zeros(2, 4, 10, 16),), ["B,4,10,16"]),
    "a picture for a model without convolutions": (nn.Linear(10, 16), (torch.zeros(2, 3, 8, 10),), ["B,3,H,W"]),
    "tokens": (None, (TOKENS,), ["B,S"]),
    "a position before a batch": (None, (torch.zeros(1, 10, 16), torch.zeros(4, 10, 16)), ["1,10,16", "B,10,16"]),
    "a batch before a position": (None, (torch.zeros(4, 10, 16), torch.zeros(1, 10, 16)), ["B,10,16", "1,10,16"]),
    "batches of one": (None, (torch.zeros(1, 10), torch.zeros(1, 10)), ["B,10", "B,10"]),
    "time first": (nn.LSTM(4, 8), (torch.zeros(5, 3, 4),), ["S,B,4"]),
    "batch first": (nn.LSTM(4, 8, batch_first=True), (torch.zeros(5, 3, 4),), ["B,3,4"]),
    "no batch": (nn.LSTM(4, 8), (torch.zeros(5, 4),), ["B,4"]),
    "attention, time first": (nn.MultiheadAttention(4, 2), (torch.zeros(5, 3, 4),), ["S,B,4"]),
    "an encoder, time first": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 1, enable_nested_tensor=False),
        (torch.zeros(5, 3, 4),),
        ["S,B,4"],
    ),
    "a sequence that begins time first": (nn.Sequential(nn.GRU(4, 8)), (torch.zeros(5, 3, 4),), ["S,B,4"]),
}


@pytest.mark.parametrize("name", NAMED)
def test_dimensions_are_named_by_what_they_are(name: str) -> None:
    module, examples, expected = NAMED[name]
    arguments, sizes = arguments_like(module, examples, {})
    assert [",".join(map(str, spec.dims)) for spec in arguments.specs()] == expected
    for spec, example in zip(arguments.specs(), examples, strict=True):
        assert spec.shape(sizes) == list(example.shape)


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Adds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, point: Any) -> torch.Tensor:
        return self.linear(point.x) + point.y


def test_tuples_with_names_keep_them() -> None:
    costs = trace(Adds(), inputs=(Point(torch.zeros(2, 4), torch.zeros(2, 4)),))
    assert costs.at(B=5).total.macs == 5 * 4 * 4


# Texts


@pytest.mark.parametrize(
    "text", ["lengths: int64[B] = T", "n: int = 4", "n: int = S", "n: int64[] = 0", "b[x][0]: int8[B]"]
)
def test_values_and_parts_are_read_and_printed_alike(text: str) -> None:
    assert str(parse_input(text)) == text
    assert parse_input(str(parse_input(text))) == parse_input(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n: int", "a number as 'n: int = 4'"),
        ("n: float32", "such as 'n: float32\\[B,16\\]'"),
        ("x: float32[B] = 3", "a value is given to whole numbers alone"),
        ("n: int = x y", "not of the form"),
        ("n: int = -1", "no value such as 4, S, S-1"),
        ("n: int = 0*S", "multiplies, divides or adds 0"),
        ("n: int = S-9999999999999999", "is more than 10"),
        ("b[: int64[B]", "not of the form"),
        ("b[]: int64[B]", "not of the form"),
        ("0: int64[B]", "not of the form"),
    ],
)
def test_other_values_and_parts_are_refused(text: str, said: str) -> None:
    with pytest.raises(FxcostError, match=said):
        parse_input(text)


def _specs(*names: str) -> list[InputSpec]:
    return [InputSpec(name, "float32", ("B",)) for name in names]


def test_parts_make_dictionaries_and_lists() -> None:
    parts = _specs("b.ids", "x[1]", "b[more][0]", "x[0]", "y")
    ids, second, more, first, plain = parts
    assert as_called(parts) == {"b": {"ids": ids, "more": [more]}, "x": [first, second], "y": plain}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("x", "x"), "--input x is given twice"),
        (("x[0]", "x"), "--input x is given twice or in parts"),
        (("x", "x[0]"), "x is given as a tensor too"),
        (("x[0]", "x[2]"), r"x\[1\] is missing"),
        (("x[0]", "x[a]"), r"x\[1\] is missing"),
    ],
)
def test_parts_that_make_nothing_are_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(FxcostError, match=said):
        as_called(_specs(*names))


FACTORIES = """
import torch
from torch import nn

class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
    def forward(self, batch, n=2, *, scale=None):
        rows = batch["x"] if isinstance(batch, dict) else batch[0]
        return self.linear(rows[:, :n])

class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
    def forward(self, *rows):
        return sum(map(self.linear, rows))

class Embeds(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Linear(16, 32)
    def forward(self, ids):
        return self.table(torch.zeros(ids.shape[0], int(ids.max()) + 1, 16))

class Only(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
    def forward(self, x, /):
        return self.linear(x)

class HandsOn(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
    def forward(self, *args, **kwargs):
        return self.linear(*args, **kwargs)

class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(8, 8))
    def forward(self):
        return self.table @ self.table

takes, many, embeds, only, hands_on, nothing = Takes, Many, Embeds, Only, HandsOn, Nothing
def hooked():
    model = nn.Linear(8, 8)
    model.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    return model
def lazy():
    return nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d())
def with_inputs():
    return Takes(), ({"x": torch.zeros(2, 6, 8)}, 3)
def with_names():
    return Takes(), {"batch": {"x": torch.zeros(2, 6, 8)}, "n": 3}
def with_a_dictionary():
    return Takes(), {"x": torch.zeros(2, 6, 8)}
def with_both():
    return Takes(), ({"x": torch.zeros(2, 6, 8)},), {"n": 3}
def with_a_tensor():
    return nn.Linear(8, 8), torch.zeros(2, 8)

def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
def recorded():
    return torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.randn(2, 8))
def frozen():
    return torch.jit.freeze(torch.jit.script(nn.Linear(8, 8)).eval())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "factories.py"
    path.write_text(FACTORIES)
    return path


CALLS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a part of a dictionary": ("takes", ("batch[x]: float32[B,6,8]",), "MACs = 128·B"),
    "the same, with a dot": ("takes", ("batch.x: float32[B,6,8]",), "MACs = 128·B"),
    "a list": ("takes", ("batch[0]: float32[B,6,8]",), "MACs = 128·B"),
    "a number": ("takes", ("batch[x]: float32[B,6,8]", "n: int = 3"), "MACs = 192·B"),
    "a number that is a symbol": ("takes", ("batch[x]: float32[B,6,8]", "n: int = N"), "MACs = 64·B·N"),
    "a value below a symbol": ("embeds", ("ids: int64[B,S] = T-1",), "MACs = 512·B·T"),
    "a value above a part of one": ("embeds", ("ids: int64[B,S] = 2*T//2+3",), "MACs = 512·B·(T+4)"),
    "by position alone": ("only", ("x: float32[B,8]",), "MACs = 64·B"),
    "to what hands all on": ("hands_on", ("x: float32[B,8]",), "MACs = 64·B"),
    "to a hook": ("hooked", ("input: float32[B,8]",), "MACs = 64·B"),
    "nothing": ("nothing", (), "1.024 kFLOPs, 512 MACs"),
    "lazy modules": ("lazy", ("input: float32[B,8]",), "MACs = 128·B"),
    "several by position": ("many", ("rows[0]: float32[B,8]", "rows[1]: float32[B,8]"), "MACs = 128·B"),
    "inputs of the factory's": ("with_inputs", (), "MACs = 192·B"),
    "by name": ("with_names", (), "MACs = 192·B"),
    "one dictionary": ("with_a_dictionary", (), "MACs = 128·B"),
    "by position and by name": ("with_both", (), "MACs = 192·B"),
    "a tensor": ("with_a_tensor", (), "MACs = 64·B"),
    "TorchScript": ("scripted", ("input: float32[B,8]",), "MACs = 64·B"),
    "TorchScript of a trace": ("recorded", ("input: float32[B,8]",), "MACs = 64·B"),
    "frozen TorchScript": ("frozen", ("input: float32[B,8]",), "MACs = 64·B"),
}


@pytest.mark.parametrize("name", CALLS)
def test_inputs_at_the_command_line(name: str, file: Path, fxcost_command: Command) -> None:
    factory, inputs, expected = CALLS[name]
    options = [part for text in inputs for part in ("--input", text)]
    sizes = ["--at", "N=3"] if "N" in expected else ["--at", "S=2,T=3"] if "T" in expected else []
    code, out, err = fxcost_command("trace", f"{file}:{factory}", *options, *sizes)
    assert code == 0, err
    assert expected in out


def test_a_part_of_an_input_that_there_is_none_of_is_named(file: Path, fxcost_command: Command) -> None:
    code, _, err = fxcost_command("trace", f"{file}:takes", "--input", "btch[x]: float32[B,6,8]")
    assert code == 1
    assert "has no input 'btch'; near: batch" in err


def test_a_file_of_torchscript_is_refused_by_name_with_the_next_step(tmp_path: Path, fxcost_command: Command) -> None:
    path = tmp_path / "saved.pt"
    path.write_bytes(b"PK")
    code, _, err = fxcost_command("trace", path)
    assert code == 1
    assert "TorchScript comes from a factory that loads it" in err.splitlines()[-1]


def test_heads_that_are_left_out_are_told(fxcost_command: Command) -> None:
    _, out, _ = fxcost_command("trace", "googlenet")
    assert "its auxiliary heads, which run in training alone, are left out" in out
    _, out, _ = fxcost_command("trace", "googlenet", "--set", "aux_logits=true")
    assert "left out" not in out
    assert "not run: aux2 (3,191,016 parameters), aux1 (3,188,968 parameters)" in out


def test_a_crossover_needs_no_size_of_the_symbol_that_it_is_solved_for(file: Path, fxcost_command: Command) -> None:
    inputs = ("--input", "batch[x]: float32[B,T,8]", "--input", "n: int = T", "-p", "h100-sxm5-80gb")
    code, out, err = fxcost_command("crossover", f"{file}:takes", *inputs, "--over", "T")
    assert code == 0, err
    code, swept, err = fxcost_command("sweep", f"{file}:takes", *inputs, "--over", "T=4,8")
    assert code == 0, err
    assert "T" in out
    assert "T=8" in swept or " 8 " in swept

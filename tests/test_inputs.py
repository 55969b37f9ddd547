"""Inputs and sizes as users write them."""

import pytest

from fxcost.errors import FxcostError
from fxcost.inputs import Arguments, InputSpec, parse_input, parse_sizes, parse_sweep, parse_symbolic


def test_an_input_is_read_and_printed_alike() -> None:
    spec = parse_input(" x: float32[B, 3,H , W] ")
    assert spec == InputSpec("x", "float32", ("B", 3, "H", "W"))
    assert parse_input(str(spec)) == spec
    assert parse_input("n: int64[]").dims == ()


@pytest.mark.parametrize(
    "text", ["x", "x: float32", "x: float32[B,-1]", "x: float32[B,0]", "x: float32[B,H*2]", "x: f[B]"]
)
def test_other_inputs_are_refused(text: str) -> None:
    with pytest.raises(FxcostError, match="--input"):
        parse_input(text)


def test_symbols_and_multiples() -> None:
    assert parse_symbolic("H%32, W,B") == {"H": 32, "W": 1, "B": 1}
    assert parse_symbolic("") == {}
    for text in ("%3", "H%x", "1B", "B,B", "H%-2"):
        with pytest.raises(FxcostError, match="--symbolic"):
            parse_symbolic(text)


def test_sizes() -> None:
    assert parse_sizes("B=8, H = 224") == {"B": 8, "H": 224}
    for text in ("B", "B=", "B=-1", "B=0", "B=1.5", "=3", "B=²"):
        with pytest.raises(FxcostError, match="--at"):
            parse_sizes(text)


def test_sweeps_hold_both_ends() -> None:
    assert parse_sweep("B=1:16:*2") == ("B", (1, 2, 4, 8, 16))
    assert parse_sweep("H=224:320:32") == ("H", (224, 256, 288, 320))
    assert parse_sweep("B=1,8,8,64") == ("B", (1, 8, 64))
    assert parse_sweep("B=3:20:*3") == ("B", (3, 9))
    for text in ("B", "B=", "B=1:9", "B=0:9:1", "B=9:1:1", "B=1:9:*1", "B=1:9:0", "B=1:1000000000:1", "B=a"):
        with pytest.raises(FxcostError, match="--over"):
            parse_sweep(text)


def test_symbols_of_nested_arguments_in_order() -> None:
    image, words = InputSpec("i", "float32", ("B", 3, "H", "W")), InputSpec("w", "int64", ("B", "S"))
    arguments = Arguments(({"a": [image, 3]},), {"words": words, "flag": False})
    assert arguments.specs() == (image, words)
    assert arguments.symbols() == ("B", "H", "W", "S")

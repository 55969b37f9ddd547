"""The one table of dtypes: each of torch's, as wide as torch has it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fxcost.api import trace
from fxcost.dtypes import DTYPES
from fxcost.errors import FxcostError
from fxcost.inputs import parse_input

OF_TORCH = {str(each).removeprefix("torch."): each for each in vars(torch).values() if isinstance(each, torch.dtype)}


def test_every_dtype_of_torch_is_known_by_its_width() -> None:
    found = {name: DTYPES[name].bits for name in OF_TORCH}
    assert found == {name: 8 * each.itemsize for name, each in OF_TORCH.items()}
    assert DTYPES.keys() - OF_TORCH.keys() <= {"bcomplex32"}  # of torch 2.14


MODEL = """
import torch
class Holds(torch.nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.held = torch.nn.Parameter(torch.empty(24, dtype=getattr(torch, dtype), device="meta"), requires_grad=False)
    def forward(self, x):
        return x, self.held.view(4, 6).clone()
"""


@pytest.mark.parametrize("dtype", ["uint16", "complex32", "float8_e8m0fnu", "float8_e4m3fnuz", "float4_e2m1fn_x2"])
def test_weights_of_any_dtype_are_printed_by_their_bytes(
    dtype: str, tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "holds.py").write_text(MODEL)
    asked = (f"{tmp_path / 'holds.py'}:Holds", "--set", f"dtype={dtype}", "--input", "x: float32[B]", "-f", "csv")
    code, out, said = fxcost_command("trace", *asked)
    assert code == 0, said
    head, row, *_ = (line.split(",") for line in out.splitlines())
    assert row[head.index("weight_bytes_at")] == str(24 * OF_TORCH[dtype].itemsize)


@pytest.mark.parametrize("dtype", OF_TORCH)
def test_inputs_of_any_dtype_are_taken_or_refused_by_name(dtype: str) -> None:
    """Tensors that need a scale, and bare bits, are none that a model is called with."""
    if (
        OF_TORCH[dtype].is_floating_point
        or OF_TORCH[dtype].is_complex
        or dtype.startswith(("int", "uint", "bool", "bcomplex"))
    ):
        costs = trace(torch.nn.Flatten(), inputs=(f"x: {dtype}[B,4,2]",), isolated=False)
        assert costs.total.reads == {}
    else:
        with pytest.raises(FxcostError, match=f"unknown dtype '{dtype}'"):
            parse_input(f"x: {dtype}[B,4]")

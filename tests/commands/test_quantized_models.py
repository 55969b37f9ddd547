"""A model whose weights lie two in a byte, and its twin in fp16, at the command line: times by hand from what is stored."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

FILE = """
import torch
from torch import nn
from torch.nn import functional


class Packed(nn.Module):
    def __init__(self, inputs, outputs, group):
        super().__init__()
        self.group = group
        self.register_buffer("qweight", torch.zeros(outputs, inputs // 2, dtype=torch.uint8))
        for name in ("scales", "zeros"):
            self.register_buffer(name, torch.zeros(outputs, inputs // group, 1, dtype=torch.float16))

    def forward(self, x):
        halves = torch.stack((self.qweight & 0xF, self.qweight >> 4), dim=-1)
        groups = halves.reshape(*self.scales.shape[:2], self.group).to(x.dtype)
        return functional.linear(x, ((groups - self.zeros) * self.scales).reshape(self.scales.shape[0], -1))


def packed():
    return nn.Sequential(Packed(1024, 4096, 128), nn.SiLU(), Packed(4096, 1024, 128))


def plain():
    return nn.Sequential(nn.Linear(1024, 4096, bias=False), nn.SiLU(), nn.Linear(4096, 1024, bias=False)).half()
"""
WEIGHTS = 1024 * 4096
"""Of each of the two layers."""
OTHERS = 2 * 2 * (1024 + 4096) + 2 * 2 * 4096
"""Bytes that two layers and an activation between them are given and give, in fp16 at a batch of 1."""
STORED = {"packed": 2 * (WEIGHTS // 2 + 2 * 2 * WEIGHTS // 128), "plain": 2 * 2 * WEIGHTS}
"""Bytes of both layers' weights; packed, a scale and a zero point of 16 bits for each 128."""
BANDWIDTH = Fraction("3.35e12")
"""Byte/s of an H100, as its sheet has it from the maker."""
INPUT = "input: float16[B,1024]"


@pytest.fixture
def roofline(tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]) -> Callable[..., Any]:
    """The total of ``fxcost roofline`` of one of the two models."""
    (tmp_path / "mlp.py").write_text(FILE)

    def run(factory: str, fusion: str) -> Any:
        given = ("--input", INPUT, "--at", "B=1", "--fusion", fusion, "-f", "json")
        code, printed, said = fxcost_command(
            "roofline", f"{tmp_path / 'mlp.py'}:{factory}", "-p", "h100-sxm5-80gb", *given
        )
        assert code == 0, said
        return json.loads(printed)["total"]

    return run


@pytest.mark.parametrize("factory", ["packed", "plain"])
def test_a_layer_takes_as_long_as_its_stored_weights_take_to_read(roofline: Callable[..., Any], factory: str) -> None:
    total = roofline(factory, "pointwise")
    assert total["bytes_moved"] == STORED[factory] + OTHERS
    assert total["seconds"] == pytest.approx(float((STORED[factory] + OTHERS) / BANDWIDTH), rel=1e-12)


@pytest.mark.parametrize("fusion", ["pointwise", "epilogue"])
def test_four_bits_take_about_a_quarter_of_sixteen(roofline: Callable[..., Any], fusion: str) -> None:
    """4 + 2 · 16/128 bits beside 16: 0.2656 of the bytes of weights, and of all that moves within a hundredth of it."""
    ratio = roofline("packed", fusion)["seconds"] / roofline("plain", fusion)["seconds"]
    assert ratio == pytest.approx(4.25 / 16, rel=1e-2)


def test_operations_alone_read_what_the_one_before_wrote(roofline: Callable[..., Any]) -> None:
    """As eager PyTorch runs it, unpacking costs more than the fp16 weights would."""
    assert roofline("packed", "none")["seconds"] > 8 * roofline("plain", "none")["seconds"]


def test_what_is_packed_is_told(tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "mlp.py").write_text(FILE)
    code, printed, _ = fxcost_command("trace", f"{tmp_path / 'mlp.py'}:packed", "--input", INPUT, "--at", "B=1")
    assert code == 0
    told = " ".join(printed.split())
    assert "packed: 0.qweight and 1 more hold 8,388,608 numbers of 4 bits in 4,194,304 bytes" in told

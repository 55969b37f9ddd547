"""The line that tells the four times of a whole call."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from fxcost.api import trace


@pytest.mark.parametrize(("size", "told"), [(1, "none 0.014 ms"), (10**6, "none 69.2 ms"), (10**8, "none 6,921 ms")])
def test_no_time_is_told_by_powers_of_ten(
    size: int, told: str, fxcost_command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    trace(nn.Linear(1024, 1024, bias=False), inputs=["input: float32[B,1024]"]).save(tmp_path / "model.json")
    _, printed, _ = fxcost_command("roofline", tmp_path / "model.json", "-p", "l4", "--at", f"B={size}")
    assert f"l4: {told} · pointwise " in printed

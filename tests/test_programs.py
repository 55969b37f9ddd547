"""Exported programs: the same costs as their module's, and the conditions that they carry."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError


def test_an_exported_program_gives_the_same_costs(tmp_path: Path) -> None:
    from torch.export import Dim

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.ReLU(inplace=True)).eval()
    batch = Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "program.pt2")
    said: list[str] = []
    costs = trace(str(tmp_path / "program.pt2"), warn=said.append)
    direct = trace(model, "B", inputs=("input: float32[B,3,H,W]",), at={"H": 16, "W": 16})
    assert costs.at(B=3).total == direct.at(B=3).total
    assert [layer.op for layer in costs.layers] == [layer.op for layer in direct.layers]
    assert costs.fixed["H"].value == 16
    assert costs.symbols["B"].high == 64
    with pytest.raises(FxcostError, match="B=65 is above 64"):
        costs.at(B=65)


def test_what_is_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    path.write_bytes(b"no program")
    with pytest.raises(FxcostError, match="x.pt2 is not a program saved by torch.export.save"):
        trace(str(path))


def test_an_exported_program_keeps_its_conditions(tmp_path: Path) -> None:
    from torch.export import Dim

    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.shape[0] * x.shape[1] <= 256 else x * 2 + 3

    dims = ({0: Dim.AUTO, 1: Dim.AUTO},)
    torch.export.save(torch.export.export(Branch(), (torch.zeros(4, 6, 8),), dynamic_shapes=dims), tmp_path / "p.pt2")
    costs = trace(str(tmp_path / "p.pt2"))
    assert set(costs.symbols) == {"B", "D1"}
    assert costs.at(B=16, D1=16).total.flops == 16 * 16 * 8
    with pytest.raises(FxcostError, match="they were traced where 256 ≥ B·D1"):
        costs.at(B=16, D1=17)


def test_a_programs_guards_are_read_and_never_run() -> None:
    import sympy

    from fxcost.tracing.export.guards import program_conditions

    sizes = {("x", 0): sympy.Symbol("B", integer=True, positive=True), ("x", 1): sympy.Integer(7)}
    (told,) = program_conditions(["L['x'].size()[0] % 2 == 0 "], sizes)
    assert (told.holds({"B": 4}), told.holds({"B": 5})) == (True, False)
    first, second = program_conditions(["3 < L['x'].size()[0] <= 9 and L['x'].size()[1] == 7"], sizes)[:2]
    assert [n for n in range(1, 12) if first.holds({"B": n}) and second.holds({"B": n})] == list(range(4, 10))
    for hostile in ("__import__('os').system('x')", "L['x'].size()[0]", "L['y'].size()[0] > 1", "(", "f(1) > 2"):
        with pytest.raises(FxcostError, match="the program holds only where"):
            program_conditions([hostile], sizes)

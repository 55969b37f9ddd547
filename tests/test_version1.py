"""Files of the first version, as they were written: what they hold is still read, and still what torch counts."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fxcost.costs.files.saved import load
from fxcost.costs.model import CostModel
from fxcost.drift.lock import read_models

Command = Callable[..., tuple[int, str, str]]
FOLDER = Path(__file__).parent / "data" / "version1"
LOCK = FOLDER / "fxcost.lock.json"
SIZES = ({"B": 1, "H": 224, "W": 224}, {"B": 3, "H": 256, "W": 230})


def counted(name: str, sizes: Mapping[str, int]) -> int:
    models = importlib.import_module("fxcost.models.zoos").zoo_module("torchvision.models")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        models.get_model(name).eval()(torch.zeros(sizes["B"], 3, sizes["H"], sizes["W"]))
    return counter.get_total_flops()


def models() -> dict[str, CostModel]:
    return {"resnet18": load(FOLDER / "resnet18.json"), **read_models(LOCK.read_bytes(), "the lock")}


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11689512), ("squeezenet1_1", 1235496), ("alexnet", 61100840)]
)
def test_images_models_cost_what_torch_counts(name: str, parameters: int) -> None:
    """Parameters are those of torchvision's own tables."""
    costs = models()[name]
    assert costs.total.params == parameters
    for sizes in SIZES:
        assert 2 * costs.at(sizes).total.macs == counted(name, sizes)


def test_a_language_model_costs_its_matrices() -> None:
    """Two layers of width 64, 4 heads of 16, 2 of keys and values, 128 within, 256 words; by hand."""
    matrices = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128) + 64 * 256
    whole = load(FOLDER / "llama.json").at(B=3, S=20)
    assert whole.total.macs == 3 * 20 * matrices + 2 * 2 * 3 * 20 * 20 * 64
    step = load(FOLDER / "decode.json").at(B=3, P=20)
    assert step.total.macs == 3 * matrices + 2 * 2 * 3 * 21 * 64
    assert step.state is not None
    assert step.state.per_token == {"float32": 2 * 2 * 2 * 16}


@pytest.mark.parametrize("file", ["resnet18.json", "llama.json", "decode.json"])
def test_every_command_reads_them(file: str, fxcost_command: Command) -> None:
    for command in (
        ("trace",),
        ("crossover", "-p", "l4"),
        ("roofline", "-p", "l4"),
        ("sweep", "-p", "l4", "--over", "B=1,8"),
    ):
        code, out, said = fxcost_command(command[0], FOLDER / file, *command[1:])
        assert code == 0, said
        assert out
    assert fxcost_command("diff", FOLDER / file, FOLDER / file)[0] == 0


def test_a_lock_is_checked_against_the_models_of_today(tmp_path: Path, fxcost_command: Command) -> None:
    (tmp_path / "fxcost.lock.json").write_bytes(LOCK.read_bytes())
    code, out, said = fxcost_command("check", tmp_path / "fxcost.lock.json")
    assert code == 0, (out, said)

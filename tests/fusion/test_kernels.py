"""Kernels of small models, their bytes counted by hand, and how commands and files tell them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxcost.api import CostModel, load, trace
from fxcost.costs.fusion.models import fused
from fxcost.errors import FxcostError
from fxcost.machines.sheets import load_platform
from fxcost.request import Fusion
from fxcost.roofline.crossover import containing, crossovers
from fxcost.roofline.rate import Machine


class Residual(nn.Module):
    """A convolution, its batch norm and relu, a second of each, and what came in added."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1, bias=bias) for _ in range(2))
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x)).relu()
        return (self.other(self.second(y)) + x).relu()


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "biased"])
def residual(request: pytest.FixtureRequest) -> tuple[CostModel, int]:
    """The model, and the elements of a convolution's bias."""
    return trace(Residual(bias=request.param), inputs=[torch.zeros(1, 8, 10, 10)]), 8 * request.param


def rows(costs: CostModel, fusion: Fusion) -> dict[str, int]:
    """Elements that each kernel moves at B=2, H=W=10, by its name."""
    evaluated = fused(costs, fusion).at(B=2, H=10, W=10)
    return {row.name: int(row.cost.bytes_moved({"float32": 8})) for row in evaluated.layers}


MAP, WEIGHT = 2 * 8 * 10 * 10, 8 * 8 * 9
"""Elements of a feature map, and of a convolution's weight."""


def test_pointwise_joins_what_runs_over_the_same_elements(residual: tuple[CostModel, int]) -> None:
    costs, bias = residual
    assert rows(costs, "pointwise") == {
        "first": 2 * MAP + WEIGHT + bias,
        "norm + relu#1": 2 * MAP + 4 * 8,
        "second": 2 * MAP + WEIGHT + bias,
        "other + add + relu#2": 3 * MAP + 4 * 8,
    }


def test_epilogues_join_the_contraction_before_and_batch_norm_folds_into_it(residual: tuple[CostModel, int]) -> None:
    """Of the norm one number a channel is left, and none where the convolution has a bias that takes it in."""
    costs, _ = residual
    assert rows(costs, "epilogue") == {
        "first + norm + relu#1": 2 * MAP + WEIGHT + 8,
        "second + other + add + relu#2": 3 * MAP + WEIGHT + 8,
    }


def test_ideal_moves_what_is_given_and_returned_alone(residual: tuple[CostModel, int]) -> None:
    """Of a norm that folds into a convolution one number a channel is left, or none beside a bias."""
    costs, _ = residual
    assert rows(costs, "ideal") == {"(whole model)": 2 * MAP + 2 * (WEIGHT + 8)}


def test_work_and_parameters_are_those_of_the_operations(residual: tuple[CostModel, int]) -> None:
    costs, _ = residual
    fusions: tuple[Fusion, ...] = ("pointwise", "epilogue", "ideal")
    for fusion in fusions:
        total, alone = fused(costs, fusion).at().total, costs.at().total
        assert (total.flops, total.macs, total.params) == (alone.flops, alone.macs, alone.params)


class Forked(nn.Module):
    """A convolution that two read: neither may take the other's away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y.relu(), y.flatten(1).softmax(-1)


def test_a_result_that_others_read_is_written() -> None:
    costs = trace(Forked(), inputs=[torch.zeros(1, 8, 10, 10)])
    assert rows(costs, "epilogue")["conv"] == 2 * MAP + 64


class Sorted(nn.Module):
    """A sort between two additions over the same elements, which cannot be one kernel around it."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        return y.sort().values + y


def test_nothing_is_merged_around_what_needs_it_and_is_needed() -> None:
    costs = trace(Sorted(), inputs=["x: float32[10,10]"]).fused("pointwise")
    assert [row.name for row in costs.layers] == ["add#1", "sort", "add#2"]


def test_the_cache_is_read_once_whatever_runs_as_one(tmp_path: Path) -> None:
    """A step of decoding reads all positions of the past; what it writes of its own it has at hand."""
    config = {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    (tmp_path / "llama.json").write_text(json.dumps(config))
    costs = trace(f"hf:{tmp_path / 'llama.json'}", mode="decode")
    whole = fused(costs, "ideal").at(B=3, P=100).total
    assert whole.reads["state"] == {"float32": 2 * 2 * 3 * 100 * 2 * 16}
    assert whole.writes["state"] == {"float32": 2 * 2 * 3 * 2 * 16}


# Files and commands


def test_kernels_are_saved(residual: tuple[CostModel, int], tmp_path: Path) -> None:
    costs, _ = residual
    costs.save(tmp_path / "model.json")
    again = load(tmp_path / "model.json")
    assert again == costs
    assert rows(again, "epilogue") == rows(costs, "epilogue")
    text = json.loads((tmp_path / "model.json").read_text())
    for kind in text["operations"]["kinds"]:
        del kind["parts"]
    (tmp_path / "bare.json").write_text(json.dumps(text))
    assert rows(load(tmp_path / "bare.json"), "epilogue") == rows(costs, "epilogue")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda part: part.update(back=50), "there is no operation"),
        (lambda part: part.update(back=-1, joined="merged"), "is part of a kernel that operation"),
        (lambda part: part.update(joined="merged"), "is part of a kernel that operation"),
        (lambda part: part.update(accesses=[[99, 0, 0]]), "there is no tensor"),
        (lambda part: part.update(accesses=[[0, 999, 0]]), "there is no formula 999"),
        (lambda part: part.update(joined="torn"), "Input should be"),
    ],
)
def test_a_file_with_broken_kernels_is_refused(
    residual: tuple[CostModel, int], change: Callable[[Any], None], said: str, tmp_path: Path
) -> None:
    residual[0].save(tmp_path / "model.json")
    document = json.loads((tmp_path / "model.json").read_text())
    change(document["operations"]["kinds"][0]["parts"][0])
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(FxcostError, match=said):
        load(tmp_path / "model.json")


def test_explain_says_why(
    residual: tuple[CostModel, int], fxcost_command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    residual[0].save(tmp_path / "model.json")
    _, printed, _ = fxcost_command("explain", tmp_path / "model.json", "relu#1")
    assert "norm + relu#1: it runs over the same elements" in printed
    assert "first + norm + relu#1: nothing else reads what the contraction before it makes" in printed
    code, printed, _ = fxcost_command("explain", tmp_path / "model.json", "first + norm + relu#1")
    assert code == 0
    assert printed.count("kernel, epilogue") == 3


def test_a_version_1_file_has_operations_alone(
    small_records: Path, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    code, printed, said = fxcost_command("crossover", small_records, "-p", "l4")
    assert code == 0
    assert "operations" in printed
    assert said.count("each operation is told alone, as with --fusion none") == 1
    code, _, said = fxcost_command("crossover", small_records, "-p", "l4", "--fusion", "epilogue")
    assert (code, "ask with --fusion none" in said) == (1, True)


def test_verdicts_beside_epilogues(residual: tuple[CostModel, int]) -> None:
    costs, _ = residual
    machine = Machine(load_platform("raspberry-pi-5"), "fp32")
    alone = crossovers(fused(costs, "pointwise"), machine, "B", {"H": 10, "W": 10})
    among = crossovers(fused(costs, "epilogue"), machine, "B", {"H": 10, "W": 10})
    beside = containing(alone, among)
    assert [each.layer.name for each in beside] == 2 * [among[0].layer.name] + 2 * [among[1].layer.name]
    assert [one.outcome == other.outcome for one, other in zip(alone, beside, strict=True)] == [
        True,
        False,
        True,
        False,
    ]

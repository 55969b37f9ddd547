"""What kernels and formats change of what is held, by hand; and that no moment is dropped that ever counts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench.memory import UNet
from fxcost.api import CostModel, load, trace
from fxcost.costs.graph.cost_graph import Access, CostGraph, Edges, Storage, StoredTensor
from fxcost.costs.model import Cost, LayerCost
from fxcost.errors import FxcostError
from fxcost.formulas.algebra import ONE, ZERO
from fxcost.formulas.evaluation import evaluate
from fxcost.memory.kernel_order import in_order


def costs_of(model: nn.Module, spec: str, **at: int) -> CostModel:
    return trace(model, inputs=(spec,), at=at or None, isolated=False)


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 100, bias=False), nn.Linear(100, 4, bias=False)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x).sigmoid().tanh())


def test_what_a_kernel_keeps_inside_never_exists() -> None:
    """Of 100 numbers a row in float32: alone, sigmoid and tanh each write theirs; joined, one of them does; then neither."""
    costs = costs_of(Chain(), "x: float32[B,8]")
    at = {fusion: costs.memory(fusion=fusion, B=10) for fusion in ("none", "pointwise", "epilogue", "ideal")}
    row = 10 * 4
    assert at["none"].activations == 2 * 100 * row  # what sigmoid reads and writes; then tanh
    assert at["pointwise"].activations == 2 * 100 * row
    assert at["epilogue"].activations == (100 + 4) * row  # what the second product reads and writes
    assert at["ideal"].activations == 4 * row
    for use in at.values():
        assert (use.weights, use.inputs, use.state) == (4 * 8 * 100 + 4 * 100 * 4, 8 * row, 0)


class Three(nn.Module):
    def forward(self, x: Any) -> Any:
        first = x.sigmoid()
        return first.tanh() * first.exp()


def test_one_kernel_of_many_operations_holds_its_output_alone() -> None:
    costs = costs_of(Three(), "x: float32[B,8]")
    assert costs.memory(fusion="none", B=10).activations == 4 * 10 * 8 * 4
    assert costs.memory(fusion="pointwise", B=10).activations == 10 * 8 * 4


def test_of_a_norm_within_a_kernel_only_what_it_gives_is_held() -> None:
    costs = costs_of(nn.Sequential(nn.LayerNorm(8), nn.ReLU()), "x: float32[B,8]")
    assert costs.memory(fusion="pointwise", B=10).activations == 10 * 8 * 4


def test_bytes_follow_the_formats_of_storages() -> None:
    """Weights in int4 with a scale of 16 bits for each 128, by hand: a row of 100 has one scale; activations in 2 bytes."""
    costs = costs_of(Chain(), "x: float32[B,8]")
    use = costs.memory(precision="weights=int4:g128,activations=fp16", fusion="none", B=10)
    elements, scales = 8 * 100 + 100 * 4, 100 + 4
    assert use.weights == costs.stored_bytes("weights=int4:g128,activations=fp16") >= elements // 2 + 2 * scales
    assert use.activations == 2 * 100 * 10 * 2
    assert use.inputs == 8 * 10 * 2


def test_parameters_that_nothing_uses_are_held_too() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Parameter(torch.zeros(1000))
            self.register_buffer("kept", torch.zeros(8), persistent=False)

        def forward(self, x: Any) -> Any:
            return x + self.kept

    use = costs_of(Idle(), "x: float32[B,8]").memory(fusion="none", B=1)
    assert (use.weights, use.buffers) == (4000, 32)


@pytest.mark.parametrize("fusion", ["none", "pointwise", "epilogue"])
def test_no_moment_is_dropped_that_is_ever_the_most(fusion: Any) -> None:
    costs = costs_of(UNet(4), "x: float32[B,3,H,W]", H=64, W=64)
    told = costs.footprint(fusion=fusion)
    for height in (16, 64, 80):
        along = told.along("B", {"H": height, "W": 64})
        assert len(along.moments) <= 2 < len(told.moments)
        for batch in (1, 2, 3, 17, 1000):
            sizes = {"B": batch, "H": height, "W": 64}
            whole, kept = told.at(sizes), along.at(sizes)
            assert (whole.peak, whole.activations) == (kept.peak, kept.activations)
            assert evaluate(told.peak, sizes) == whole.peak


def test_a_kernel_waits_for_what_it_reads() -> None:
    """The first takes in an operation that reads what the second writes, as one that sums up another's result does."""
    storages = [Storage("activation", "float32", ONE)] * 2
    tensors = [StoredTensor(place, 0, "float32", (ONE,), (ONE,)) for place in range(2)]
    graph = CostGraph(storages, tensors, (1,))
    cost = Cost(ZERO, ZERO)
    later = LayerCost(
        "later", "", "", "add", "counted", "", cost, edges=Edges(accesses=(Access(0, read=ONE), Access(1, written=ONE)))
    )
    sooner = replace(later, name="sooner", edges=Edges(accesses=(Access(0, written=ONE),)))
    assert [each.name for each in in_order([later, sooner], graph)] == ["sooner", "later"]


def test_a_kernel_waits_for_all_that_it_reads() -> None:
    storages = [Storage("activation", "float32", ONE)] * 2
    tensors = [StoredTensor(place, 0, "float32", (ONE,), (ONE,)) for place in range(2)]
    cost = Cost(ZERO, ZERO)
    both, one, other = (
        LayerCost(name, "", "", "add", "counted", "", cost, edges=Edges(accesses=accesses))
        for name, accesses in (
            ("both", (Access(0, read=ONE), Access(1, read=ONE))),
            ("one", (Access(0, written=ONE),)),
            ("other", (Access(1, written=ONE),)),
        )
    )
    ordered = in_order([both, one, other], CostGraph(storages, tensors, ()))
    assert [each.name for each in ordered] == ["one", "other", "both"]


def test_a_file_without_edges_is_refused_by_name(small_records: Any) -> None:
    with pytest.raises(FxcostError, match="before files held who feeds whom"):
        load(small_records).memory(B=1)

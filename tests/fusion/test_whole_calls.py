"""The two rows that stand for a whole call, of every model."""

from pathlib import Path

import torch
from torch import nn

from fxcost.api import trace
from fxcost.costs.fusion.models import fused
from fxcost.machines.sheets import load_platform
from fxcost.roofline.crossover import step_crossovers
from fxcost.roofline.rate import Machine

TPU_V1 = """
name = "tpu-v1"
title = "TPU v1"
vendor = "Google"
kind = "tpu"
year = 2015
[sources]
isca17 = "Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017"
[peak.matrix]
int8 = {op_per_s = 92e12, source = "isca17"}
[memory]
type = "DDR3"
bandwidth = {byte_per_s = 34e9, source = "isca17"}
"""


def test_a_perceptron_on_a_tpu_v1(tmp_path: Path) -> None:
    """1,353 by weights alone, and never by all that moves: 2 operations a byte of weight meet a ridge of 2,706."""
    sheet = tmp_path / "tpu-v1.toml"
    sheet.write_text(TPU_V1)
    layers = (module for _ in range(5) for module in (nn.Linear(2000, 2000, bias=False), nn.ReLU()))
    costs = trace(nn.Sequential(*layers), inputs=[torch.zeros(1, 2000)])
    machine = Machine(load_platform(str(sheet)), "int8")
    for fusion in ("none", "pointwise"):
        whole, weights = step_crossovers(fused(costs, fusion), machine, "B")
        assert (whole.outcome, weights.outcome, weights.threshold) == ("never", "at", 1353)

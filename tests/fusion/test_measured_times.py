"""No bound lies above a time that somebody measured; roofline times of other fusions may, and do."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from fxcost.api import CostModel, trace

FILE = Path(__file__).parents[1] / "data" / "measured" / "resnet50.csv"
MEASURED = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
STORED_AS = {"amp": "fp16"}


@pytest.fixture(scope="module")
def resnet50() -> CostModel:
    return trace("torchvision:resnet50")


def test_no_bound_lies_above_a_measurement(resnet50: CostModel) -> None:
    above: list[tuple[str, float, float]] = []
    for row in MEASURED:
        precision = STORED_AS.get(row["precision"], row["precision"])
        placed = resnet50.on(row["platform"], precision=precision)
        bound, measured = placed.bound(B=int(row["batch"])) * 1000, Fraction(row["milliseconds"])
        if bound > measured:
            above.append((f"{row['platform']} {row['precision']} {row['batch']}", float(bound), float(measured)))
    assert not above
    assert len(MEASURED) > 70


def test_each_fusion_takes_no_longer_than_the_one_before(resnet50: CostModel) -> None:
    for platform, precision in (("l4", "fp16"), ("a100-sxm4-80gb", "int8"), ("h100-sxm5-80gb", "fp16")):
        times = [
            resnet50.on(platform, precision=precision, fusion=fusion).roofline_seconds(B=8)
            for fusion in ("none", "pointwise", "epilogue", "ideal")
        ]
        assert times == sorted(times, reverse=True)
        assert len(set(times)) == 4
        assert resnet50.on(platform, precision=precision).bound(B=8) <= times[-1]

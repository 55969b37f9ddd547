"""Work and parameters are whole and not negative: a rule or a file that says otherwise is told by its name."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch
from torch import nn

from fxcost.api import trace
from fxcost.costs.files.records import SavedModel
from fxcost.costs.files.saved import load
from fxcost.costs.model import CostModel
from fxcost.drift.lock import Lock, LockedModel, read_models
from fxcost.errors import FxcostError
from fxcost.formulas.with_sympy import symbol
from fxcost.ops import rules
from fxcost.ops.rules import Call, Rule
from fxcost.options import Asked

torch.library.define("amounts::halve", "(Tensor x) -> Tensor")
torch.library.register_fake("amounts::halve", lambda x: x.clone())


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.amounts.halve(x)


Traced = Callable[..., CostModel]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Traced:
    """A model of one layer, traced with a rule that gives what is given here."""

    def with_rule(flops: Any, **parts: Any) -> CostModel:
        rule = Rule("halve", "a test", vector=flops, **parts)
        monkeypatch.setitem(rules._RULES, "amounts.halve", rule)  # pyright: ignore[reportPrivateUsage]
        return trace(nn.Sequential(Halves()), inputs=("x: float32[B,3]",), isolated=False)

    return with_rule


def elements(call: Call) -> sympy.Expr:
    return call.output.elements


WRONG: dict[str, tuple[Any, str]] = {
    "negative": (lambda call: -elements(call), "is -3 at B=1, and no amount is negative"),
    "negative at the lowest": (lambda call: elements(call) - 6, "is -3 at B=1, and no amount is negative"),
    "half": (lambda call: elements(call) / 2, "is 3/2 at B=1, and no whole number"),
    "none": (lambda _: None, "gives no value, for its FLOPs"),
    "float": (lambda _: 2.5, "gives 2.5, which is no whole number"),
    "inexact": (lambda call: 2.0 * elements(call), "cannot hold Float"),
    "text": (lambda _: "4*B", r"gives '4\*B', which is no whole number"),
    "true": (lambda _: True, "gives True, which is no whole number"),
    "logarithm": (lambda call: elements(call) * sympy.log(elements(call)), "cannot hold log"),
    "endless": (lambda _: sympy.oo, "cannot hold Infinity"),
    "stranger": (lambda _: symbol("N"), "has no symbol N"),
    "error": (lambda call: call["y"].elements, "raised KeyError: 'y'"),
}


@pytest.mark.parametrize(("flops", "told"), WRONG.values(), ids=WRONG)
def test_a_rule_that_gives_no_amount_is_named_with_its_layer(flops: Any, told: str, traced: Traced) -> None:
    with pytest.raises(FxcostError, match=told) as raised:
        traced(flops)
    assert "'halve' of amounts.halve.default" in str(raised.value)
    assert "in layer 0" in str(raised.value)


def test_accesses_may_be_expectations_and_are_not_negative(traced: Traced) -> None:
    costs = traced(elements, reads=lambda call: {"x": elements(call) / 2})
    assert costs.at(B=1).total.reads["activation"]["float32"] == Fraction(3, 2)
    with pytest.raises(FxcostError, match=r"reads.activation.float32 is -3 at B=1, and no amount is negative"):
        traced(elements, reads=lambda call: {"x": -elements(call)})
    with pytest.raises(FxcostError, match="says what it reads of 'y', which is no argument"):
        traced(elements, reads=lambda call: {"y": elements(call)})
    with pytest.raises(FxcostError, match="gives no value, for its writes of output"):
        traced(elements, writes=lambda _: {"output": None})


def test_what_is_false_elsewhere_alone_is_found_when_it_is_evaluated(traced: Traced) -> None:
    """B·(40 − B)·3 is positive at the usual size and at the lowest."""
    costs = traced(lambda call: elements(call) * (40 - call.output.shape[0]))
    assert costs.at(B=40).total.flops == 0
    with pytest.raises(FxcostError, match=r"'halve' of amounts.halve.default, in layer 0.flops is -123 at B=41"):
        costs.at(B=41)


def edited(small_records: Path, edit: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = json.loads(small_records.read_text())
    edit(document)
    return document


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "negative work": (lambda d: d["layers"][0].update(flops="-4*B"), "layer 'conv'.flops is -4 at B=1, H=33, W=35, and no amount"),
    "half work": (lambda d: d["layers"][0].update(macs="B/2"), "layer 'conv'.macs is 1/2 at B=1, H=33, W=35, and no whole number"),
    "negative access": (
        lambda d: d["layers"][0]["reads"]["weight"].update(float32="3 - 4*B"),
        "layer 'conv'.reads.weight.float32 is -1 at B=1, H=33, W=35, and no amount",
    ),
    "no number": (lambda d: d["layers"][0].update(flops="1/(B - 1)"), "layer 'conv'.flops is no amount: a cost expression divides by zero"),
    "negative parameters": (lambda d: d["layers"][0].update(params=-1), "layers.0.params"),
    "half parameters": (lambda d: d["layers"][0].update(params=1.5), "layers.0.params"),
    "negative total": (lambda d: d["totals"].update(flops="-B"), "totals.flops is -1 at B=1, H=33, W=35, and no amount"),
    "half total": (lambda d: d["totals"].update(macs="B/2"), "totals.macs is 1/2 at B=1, H=33, W=35, and no whole number"),
    "negative parameters together": (lambda d: d["totals"].update(params=-3), "totals.params"),
    "fewer free than free": (lambda d: d["coverage"].update(free=-1), "coverage.free"),
    "cache": (
        lambda d: d.update(state={"per_token": {"float32": 1}, "whole": {"float32": "-B"}}),
        "state.whole.float32 is -1 at B=1, H=33, W=35, and no amount",
    ),
    "cache of a token": (
        lambda d: d.update(state={"per_token": {"float32": -1}, "whole": {}}),
        "state.per_token.float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "told"), EDITS.values(), ids=EDITS)
def test_a_file_that_holds_no_amount_is_named_with_the_place(
    edit: Callable[[dict[str, Any]], Any], told: str, small_records: Path, tmp_path: Path
) -> None:
    document = edited(small_records, edit)
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(document))
    with pytest.raises(FxcostError, match=told) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_a_lock_that_holds_no_amount_is_named_with_the_model(small_records: Path) -> None:
    document = edited(small_records, lambda d: d["layers"][0].update(flops="-4*B"))
    lock = Lock(models=[LockedModel(model="mine.py:make", options=Asked(), costs=SavedModel.model_validate(document))])
    with pytest.raises(FxcostError, match=r"costs.lock.json: mine.py:make: layer 'conv'.flops is -4"):
        read_models(lock.model_dump_json().encode(), "costs.lock.json")


def test_accesses_of_a_file_may_be_expectations(small_records: Path, tmp_path: Path) -> None:
    document = edited(small_records, lambda d: d["layers"][0]["reads"]["weight"].update(float32="7*B/2"))
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert load(tmp_path / "x.json").at(B=1).layers[0].cost.reads["weight"]["float32"] == Fraction(7, 2)

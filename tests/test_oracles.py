"""Numbers from elsewhere: torch's own counter, torchvision's published operations, ledgers of known models."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fxcost.api import trace
from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.model import CostModel
from fxcost.costs.retracing import Traces
from fxcost.inputs import Arguments, InputSpec
from fxcost.models.references import Source, load_source
from fxcost.ops import rules
from fxcost.verify.flop_counter_mode import flops_by_torch
from fxcost.verify.random_sizes import drawn_sizes

VISION = (
    "resnet50", "vgg16", "mobilenet_v3_large", "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
    "deeplabv3_resnet50",
)  # fmt: skip
COUNTED = (*VISION, "gpt2", "llama", "bert", "t5", "mixtral")

each_model = pytest.mark.parametrize("name", COUNTED)


# torch's own counter


def disagreements(subject: Any, many_sizes: list[dict[str, int]]) -> list[tuple[dict[str, int], int, int]]:
    """Sizes at which our contractions and torch's differ: the sizes, ours, torch's."""
    found: list[tuple[dict[str, int], int, int]] = []
    for sizes in many_sizes:
        at = subject.costs.at(sizes)
        ours = sum(int(layer.flops) for layer in at.layers if layer.unit == "matrix")
        assert ours == 2 * int(at.total.macs)
        held = {name: pin.value for name, pin in subject.costs.fixed.items()}
        theirs = flops_by_torch(subject.source, {**held, **sizes})
        if ours != theirs:
            found.append((sizes, ours, theirs))
    return found


@each_model
def test_contractions_equal_torchs_own_count(name: str, subject: Callable[[str], Any]) -> None:
    model = subject(name)
    sizes = drawn_sizes(model.costs, seed=name, many=5)
    assert len(sizes) == 5
    assert sizes[0]["B"] == 1
    assert disagreements(model, sizes) == []


@each_model
def test_no_operator_is_unknown(name: str, subject: Callable[[str], Any]) -> None:
    assert subject(name).costs.unknown == {}


@each_model
def test_parameters_are_the_modules_own(name: str, subject: Callable[[str], Any]) -> None:
    model = subject(name)
    assert model.costs.total.params == sum(parameter.numel() for parameter in model.module.parameters())


@pytest.mark.parametrize(
    ("ref", "side"), [("torchvision:swin_t", 231), ("timm:davit_tiny", 200), ("timm:halonet26t", 512)]
)
def test_windowed_models_are_traced_again_at_other_sizes(ref: str, side: int) -> None:
    """Sizes that their windows have to be padded for, or do not divide the usual size."""
    source = load_source(ref)

    def again(sizes: Mapping[str, int]) -> CostModel:
        return trace_source(source, Request("B", sizes), warn=lambda text: None)

    image = {"H": side, "W": side}
    costs = Traces(trace_source(source, Request("B"), warn=lambda text: None), again).at(image)
    assert (costs.rung, list(costs.symbols)) == ("fixed", ["B"])
    for batch in (1, 3):
        assert 2 * int(costs.at({"B": batch, **image}).total.macs) == flops_by_torch(source, {"B": batch, **image})


def test_a_wrong_rule_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: a convolution one multiply-add an output element short, at every size."""
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(2), torch.nn.Linear(7 * 7, 5))
    source = Source("net", module, Arguments((InputSpec("x", "float32", ("B", 3, 9, 9)),)))
    sizes = [{"B": 1}, {"B": 7}]
    right = SimpleNamespace(source=source, module=module, costs=trace_source(source, Request(), warn=print))
    assert disagreements(right, sizes) == []

    def macs(call: rules.Call) -> Any:
        return convolution.macs(call) - call.output.elements

    convolution = rules._RULES["aten.conv2d"]
    monkeypatch.setitem(rules._RULES, "aten.conv2d", replace(convolution, macs=macs))
    wrong = SimpleNamespace(source=source, module=module, costs=trace_source(source, Request(), warn=print))
    # One multiply-add short for each of 4 channels of 7 by 7 outputs, and two FLOPs each.
    assert [(at, theirs - ours) for at, ours, theirs in disagreements(wrong, sizes)] == [
        ({"B": batch}, 2 * batch * 4 * 7 * 7) for batch in (1, 7)
    ]


# Published figures


@pytest.mark.parametrize("name", VISION)
def test_torchvisions_published_figures(
    name: str, subject: Callable[[str], Any], reference: Callable[[str], str]
) -> None:
    """Each weight entry's GMACs to all printed decimals and its parameters, at the size the entry was measured at."""
    costs = subject(name).costs
    from torchvision.models import get_model_weights  # importable once a model has been loaded

    entries = list(get_model_weights(name))
    assert entries
    published = {entry.name: (entry.meta["_ops"], entry.meta["num_params"]) for entry in entries}
    measured: dict[str, tuple[float, int]] = {}
    for entry in entries:
        # Segmentation transforms crop nothing; torchvision measures those models at 520 by 520, their resize.
        side = entry.transforms.keywords.get("crop_size") or entry.transforms.keywords["resize_size"]
        sides = {"H": side, "W": side}
        if "H" in costs.fixed and costs.fixed["H"].value != side:
            # The end-to-end SWAG weights of ViT are of a model with more positions.
            own = trace(reference(name), "B", at=sides, settings={"image_size": side})
        else:
            own = costs
        total = own.at({"B": 1, **{n: side for n in own.symbols if n != "B"}}).total
        measured[entry.name] = (round(int(total.macs) / 1e9, 3), total.params)
    assert measured == published


def test_resnet50(subject: Callable[[str], Any]) -> None:
    """25.6 million parameters and 4.089 GMACs, as torchvision's page of the model prints them."""
    total = subject("resnet50").costs.at(B=1, H=224, W=224).total
    assert total.params == 25_557_032
    assert f"{int(total.macs) / 1e9:.3f}" == "4.089"


def test_gpt2_ledger(subject: Callable[[str], Any]) -> None:
    """The ledger that nanoGPT publishes of GPT-2 124M at 1024 tokens: every matrix product, two FLOPs each."""
    total = subject("gpt2").costs.at(B=1, S=1024).total
    assert 2 * int(total.macs) == 291_648_307_200
    assert total.params == 124_439_808


def test_llama_2_7b_ledger(subject: Callable[[str], Any]) -> None:
    """6,738,415,616 parameters and 850 GMACs at batch 1 and 128 tokens, as calflops publishes."""
    total = subject("llama-2-7b").costs.at(B=1, S=128).total
    assert total.params == 6_738_415_616
    assert f"{int(total.macs) / 1e9:.0f}" == "850"
    # A token meets q, k, v and o of 4096 by 4096, three matrices of 4096 by 11008, and 128 keys and values of 4096;
    # then the vocabulary.
    layer = 4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 128 * 4096
    assert int(total.macs) == 128 * (32 * layer + 4096 * 32000)
    assert f"{2 * int(total.macs) / 1e9:.4f}" == "1700.0017"


def test_a_table_of_positions_limits_the_sequence(subject: Callable[[str], Any]) -> None:
    """GPT-2's table has 1,024 rows, and no line of its code asks whether a position has one."""
    assert subject("gpt2").costs.symbols["S"].high == 1024
    assert subject("llama").costs.symbols["S"].high is None

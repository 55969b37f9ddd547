"""Model references: every form, its inputs and usual sizes, built without memory for weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fxcost.errors import FxcostError
from fxcost.inputs import InputSpec
from fxcost.models.references import load_source

IMAGE = ("B", 3, "H", "W")


@pytest.mark.parametrize(
    ("ref", "size"),
    [
        ("resnet18", 224),
        ("torchvision:inception_v3", 342 - 43),
        ("timm:vit_tiny_patch16_384", 384),
        ("levit_128s", 224),
    ],
)
def test_zoo_models_take_their_own_sizes(ref: str, size: int) -> None:
    source = load_source(ref)
    (spec,) = source.arguments.specs()
    assert spec.dims == IMAGE
    assert source.defaults == {"B": 1, "H": size, "W": size}
    assert source.module is not None
    assert all(p.is_meta for p in source.module.parameters())


def test_a_bare_name_is_torchvisions_first() -> None:
    assert load_source("resnet18").ref == "torchvision:resnet18"
    assert load_source("resnet18d").ref == "timm:resnet18d"


def test_segmentation_models_come_as_their_weights_have_them() -> None:
    """520 pixels, and the auxiliary head that torchvision's published counts include."""
    source = load_source("fcn_resnet50")
    assert source.defaults["H"] == 520
    assert any(name.startswith("aux_classifier") for name, _ in source.module.named_parameters())  # type: ignore[union-attr]
    without = load_source("fcn_resnet50", {"aux_loss": False})
    assert not any(name.startswith("aux_classifier") for name, _ in without.module.named_parameters())  # type: ignore[union-attr]


def config(folder: Path, **values: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_a_configuration_by_folder_or_file(tmp_path: Path) -> None:
    folder = config(tmp_path / "m", model_type="gpt2", n_layer=1, n_positions=77)
    for ref in (f"hf:{folder}", f"hf:{folder}/config.json"):
        source = load_source(ref)
        assert type(source.module).__name__ == "GPT2LMHeadModel"
        assert [spec.name for spec in source.arguments.specs()] == ["input_ids", "attention_mask"]
        assert source.defaults == {"B": 1, "S": 77}


def test_a_configuration_names_its_class_and_dtype(tmp_path: Path) -> None:
    folder = config(
        tmp_path / "m",
        model_type="bert",
        num_hidden_layers=1,
        dtype="bfloat16",
        architectures=["BertForTokenClassification"],
    )
    module = load_source(f"hf:{folder}").module
    assert type(module).__name__ == "BertForTokenClassification"
    assert next(module.parameters()).dtype == torch.bfloat16  # type: ignore[union-attr]


def test_settings_change_a_configuration(tmp_path: Path) -> None:
    folder = config(tmp_path / "m", model_type="llama", hidden_size=64, num_attention_heads=4, intermediate_size=96)
    module = load_source(f"hf:{folder}", {"num_hidden_layers": 2}).module
    assert len(module.model.layers) == 2  # type: ignore[union-attr]
    with pytest.raises(FxcostError, match="no 'num_hidden_layer'; near: num_hidden_layers"):
        load_source(f"hf:{folder}", {"num_hidden_layer": 2})


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "fields that disagree": (
        {"model_type": "zamba2", "num_hidden_layers": 2},
        {},
        "transformers refuses this configuration: `num_hidden_layers` (2) must be equal to the number of `layer_types`",
    ),
    "a list of another length": (
        {"model_type": "gpt_neo", "num_layers": 2},
        {},
        "is required that `len(config.attention",
    ),
    "a text for a number": (
        {"model_type": "llama", "hidden_size": "a"},
        {},
        "Field 'hidden_size' expected int, got str",
    ),
    "no kind": ({"hidden_size": 64}, {}, "Should have a `model_type` key"),
    "a setting of the wrong kind": (
        {"model_type": "llama"},
        {"hidden_size": "a"},
        "does not take --set hidden_size=a: Field 'hidden_size' expected int, got str",
    ),
    "a setting that is made of others": (
        {"model_type": "prophetnet"},
        {"num_hidden_layers": 2},
        "does not take --set num_hidden_layers=2: This model does not support the setting",
    ),
    "a class that is not there": (
        {"model_type": "voxtral_realtime_text"},
        {},
        "has no model for a VoxtralRealtimeText",
    ),
    "inputs that no field tells": (
        {"model_type": "parakeet_encoder"},
        {},
        "says nothing of its inputs; give each with",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_refuses_is_told_in_two_lines(case: str, tmp_path: Path) -> None:
    fields, settings, said = REFUSED[case]
    with pytest.raises(FxcostError) as refusal:
        load_source(f"hf:{config(tmp_path / 'm', **fields)}", settings)
    assert str(refusal.value).startswith(f"hf:{tmp_path}")
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 2
    assert len(str(refusal.value)) < 500


def test_tensors_that_a_constructor_left_without_values_stay_so(tmp_path: Path) -> None:
    """SpeechT5 makes some weights on the CPU whatever it is told, and buffers where it is told."""
    module = load_source(
        f"hf:{config(tmp_path / 'm', model_type='speecht5')}", {}, [InputSpec("x", "float32", (2,))]
    ).module
    assert module is not None


def test_a_70_billion_parameter_model_needs_no_memory(tmp_path: Path) -> None:
    folder = config(
        tmp_path / "m", model_type="llama", hidden_size=8192, num_attention_heads=64, num_key_value_heads=8,
        intermediate_size=28672, num_hidden_layers=80, vocab_size=128256,
    )  # fmt: skip
    module = load_source(f"hf:{folder}").module
    assert sum(p.numel() for p in module.parameters()) == 70_553_706_496  # type: ignore[union-attr]
    assert all(p.is_meta for p in module.parameters())  # type: ignore[union-attr]


def test_a_package_factory() -> None:
    spec = InputSpec("input", "float32", ("B", 4))
    source = load_source("torch.nn:Linear", {"in_features": 4, "out_features": 5}, [spec])
    assert source.arguments.args == (spec,)
    with pytest.raises(FxcostError, match="torch.nn has no factory 'Linnear'; near: Bilinear, Linear"):
        load_source("torch.nn:Linnear")


def test_a_constructor_that_needs_values_is_built_on_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "needs_values.py"
    path.write_text(
        "import torch\n"
        "def make():\n"
        "    rates = [r.item() for r in torch.linspace(0, 1, 3)]\n"
        "    return torch.nn.Sequential(*(torch.nn.Dropout(r) for r in rates), torch.nn.Linear(2, 2))\n"
    )
    source = load_source(f"{path}:make", inputs=[InputSpec("input", "float32", ("B", 2))])
    assert [m.p for m in source.module if hasattr(m, "p")] == [0, 0.5, 1]  # type: ignore[union-attr]

"""Gaps between other counters and ours: each explained to the last unit, and what is not explained is said."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.costs.analysis import Request, trace_source
from fxcost.inputs import Arguments, parse_input
from fxcost.tracing.source import Source
from fxcost.verify.comparison import Agreement, Comparison, compare_counters, explained
from fxcost.verify.conventions.ledger import Row, rows_of
from fxcost.verify.counters import COUNTERS, Counter, Device
from fxcost.verify.flop_counter_mode import flops_by_torch


class Classifier(nn.Sequential):
    """Convolution with bias, normalization, activation and a linear layer over images of 8×8."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5)
        )


class Tagger(nn.Module):
    """Embedding, a bidirectional LSTM of two layers, and a linear layer at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 7, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(14, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(self.embedding(tokens))[0])


class Spelled(nn.Module):
    """The same operations as operators and by name, a shared module, and modules of rarer kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.act = nn.GroupNorm(2, 8), nn.GELU()
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)
        shared = nn.Conv2d(6, 6, 1)
        self.first, self.second = nn.Sequential(shared), nn.Sequential(shared)
        self.pool, self.average = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.resize, self.softmax = nn.Upsample(scale_factor=2, mode="bilinear"), nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.act(self.norm(self.conv(x))))
        x = torch.add(self.first(x), self.second(x)) * 2
        x = self.average(self.resize(self.pool(nn.functional.silu(x))))
        return torch.matmul(self.softmax(x), x.transpose(-1, -2)) @ x


class Rarer(nn.Module):
    """Attention written out, einsum, padding by name, cells, and sums of unlike shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.conv = nn.Conv1d(16, 16, 3, padding="same")
        self.lstm, self.gru, self.rnn = nn.LSTMCell(16, 8), nn.GRUCell(16, 8), nn.RNNCell(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attention(x, x, x)[0]
        x = torch.mul(self.conv(x.transpose(1, 2)).transpose(1, 2), x[0, 0])
        y = torch.einsum("b i d, b j d -> b i j", x, x)
        y = torch.matmul(y[:1], x) + torch.add(x, 1)
        return self.lstm(y[:, 0])[0] + self.gru(y[:, 1]) + self.rnn(y[:, 2])


class Named(nn.Module):
    """Modules with two names in one parent, which counters meet once there, and with places in other modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Linear(8, 8)
        self.norm = self.same = nn.BatchNorm1d(8)
        self.block = self.repeated = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8))
        self.held = nn.ModuleList([self.block, self.first, self.first])
        self.nested = nn.ModuleList([nn.ModuleList([self.norm])])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.same(self.again(self.norm(self.first(x))))
        x = self.repeated(self.block(x))
        for layer in self.held:
            x = layer(x)
        return self.norm(x)


class Resized(nn.Module):
    """Asked for a scale or a size, for all sides or for each; sizes are rounded, and so scales are not met."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.up = nn.Upsample(scale_factor=1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        resize = nn.functional.interpolate
        x = resize(resize(self.up(self.conv(x)), scale_factor=2), scale_factor=0.5, mode="bilinear")
        return resize(resize(x, size=(7, 9)), 11)


class ByScales(nn.Module):
    """A scale for each side, which calflops cannot read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.interpolate(x, scale_factor=(2, 3)))


class Unbiased(nn.Module):
    """Attention without biases, written out and fused."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.MultiheadAttention(16, 4, batch_first=True, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x, x, x)[0]
        return self.second(x, x, x, need_weights=False)[0]


class Contracted(nn.Module):
    """Einsums of three operands, which torch multiplies from left to right, and of forms that fvcore knows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(40, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        chained = torch.einsum("bij,bjk,bkl->bil", y, x.transpose(1, 2), x)
        by_vector = torch.einsum("bij,bkj,k->bi", y, x, x[0, :, 0])
        known = torch.einsum("n c t, n c p -> n t p", x, y[..., :37]).sum() + torch.einsum("abc,adc->adb", y, x).sum()
        return chained.sum(-1) + by_vector + known


def vision_transformer() -> nn.Module:
    models = importlib.import_module("fxcost.models.zoos").zoo_module("torchvision.models")
    return models.VisionTransformer(32, 16, 2, 4, 24, 48)


def swin_transformer() -> nn.Module:
    swin = importlib.import_module("fxcost.models.zoos").zoo_module("torchvision.models.swin_transformer")
    return swin.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4])


def timm_transformer() -> nn.Module:
    timm = importlib.import_module("fxcost.models.zoos").zoo_module("timm.models.vision_transformer")
    return timm.VisionTransformer(img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=4, num_classes=5)


def bert() -> nn.Module:
    transformers = importlib.import_module("fxcost.models.zoos").zoo_module("transformers")
    config = transformers.BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=60
    )
    return transformers.BertModel(config)


def gpt2() -> nn.Module:
    transformers = importlib.import_module("fxcost.models.zoos").zoo_module("transformers")
    return transformers.GPT2Model(transformers.GPT2Config(n_embd=24, n_layer=2, n_head=4, vocab_size=60))


@dataclass(frozen=True)
class Case:
    """A model, its input and its usual sizes."""

    make: Callable[[], nn.Module]
    input: str
    at: Mapping[str, int]


IMAGE = "x: float32[B,3,32,32]"
CASES = {
    "classifier": Case(Classifier, "input: float32[B,3,8,8]", {"B": 2}),
    "tagger": Case(Tagger, "tokens: int64[B,S]", {"B": 1, "S": 9}),
    "spelled": Case(Spelled, "x: float32[B,3,H,W]", {"B": 1, "H": 16, "W": 20}),
    "resized": Case(Resized, "x: float32[B,3,H,W]", {"B": 1, "H": 21, "W": 34}),
    "unbiased": Case(Unbiased, "x: float32[B,S,16]", {"B": 1, "S": 13}),
    "contracted": Case(Contracted, "x: float32[B,S,40]", {"B": 1, "S": 133}),
    "named": Case(Named, "x: float32[B,8]", {"B": 1}),
    "vision transformer": Case(vision_transformer, IMAGE, {"B": 1}),
    "timm transformer": Case(timm_transformer, IMAGE, {"B": 1}),
    "swin": Case(swin_transformer, IMAGE, {"B": 1}),
    "rarer": Case(Rarer, "x: float32[B,S,16]", {"B": 2, "S": 13}),
    "gpt2": Case(gpt2, "input_ids: int64[B,S]", {"B": 1, "S": 16}),
    "bert": Case(bert, "input_ids: int64[B,S]", {"B": 1, "S": 16}),
}


def source(case: Case, device: Device) -> Source:
    with torch.device(device):
        module = case.make()
    return Source("model", module.eval(), Arguments((parse_input(case.input),)), case.at)


def compared(case: Case, seed: int = 0) -> Comparison:
    costs = trace_source(source(case, "meta"), Request(), warn=lambda _: None)
    return compare_counters(costs, lambda device: source(case, device), {}, seed, lambda _: None)


@pytest.fixture(scope="module")
def comparison() -> Callable[[str], Comparison]:
    known: dict[str, Comparison] = {}
    return lambda name: known[name] if name in known else known.setdefault(name, compared(CASES[name]))


def verdict(comparison: Comparison, counter: str) -> Agreement:
    if counter in comparison.missing:
        pytest.skip(f"{counter} is not installed")
    return next(each for each in comparison.verdicts if each.counter == counter)


@pytest.mark.parametrize("name", CASES)
def test_every_gap_is_explained_to_the_last_unit(comparison: Any, name: str) -> None:
    """By the counters that are installed; what the others count is skipped below."""
    found = comparison(name)
    assert len(found.sizes) == 3
    for each in found.verdicts:
        assert not each.failure, each.counter
        assert set(each.unexplained) == {0}, (each.counter, each.reasons)
    assert set(found.torchs.gaps) == {0}


def test_a_scale_for_each_side() -> None:
    """Of deepspeed and ptflops, 6 for each element of 3·10·12."""
    found = compared(Case(ByScales, "x: float32[B,3,H,W]", {"B": 1, "H": 10, "W": 12}))
    for each in found.verdicts:
        assert each.failure.startswith("TypeError" if each.counter == "calflops" else ""), each.counter
        assert bool(each.failure) == (each.counter == "calflops")
        assert not any(each.unexplained), (each.counter, each.reasons)
    for name in ("ptflops", "deepspeed"):
        reasons = verdict(found, name).reasons
        assert reasons["upsample_nearest2d is counted, 1 for each output"][0] == 6 * 3 * 10 * 12


CLASSIFIER = {
    "fvcore": (16384 + 1024, {"batch_norm is counted, 2 for each element": 1024}),
    "thop": (16384 + 2048, {"BatchNorm2d is counted, 4 for each element": 2048}),
    "ptflops": (
        16384 + 522 + 1024 + 512 + 512,
        {
            "biases are counted": 512 + 10,
            "BatchNorm2d is counted, 2 for each element": 1024,
            "relu is counted, 1 for each element": 512,
            "relu is counted again, by the function that its module calls": 512,
        },
    ),
    "calflops": (
        2 * 16384 + 512 + 1024 + 512,
        {
            "biases are counted": 512,
            "batch_norm is counted, 2 for each element": 1024,
            "relu is counted, 1 for each element": 512,
        },
    ),
    "deepspeed": (
        2 * 16384 + 512 + 1024 + 512,
        {
            "biases are counted": 512,
            "batch_norm is counted, 2 for each element": 1024,
            "relu is counted, 1 for each element": 512,
        },
    ),
    "torchinfo": (
        16384 + 522 + 16,
        {"biases are counted": 512 + 10, "parameters of BatchNorm2d are counted once a sample": 2 * (4 + 4)},
    ),
}
"""Two images: 2·4·8·8 = 512 outputs of 3·3·3 multiply-adds and 2·5 of 256 are 16,384; 512 elements pass the others."""


@pytest.mark.parametrize("name", CLASSIFIER)
def test_reasons_have_the_size_that_was_worked_out_by_hand(comparison: Any, name: str) -> None:
    found = verdict(comparison("classifier"), name)
    total, reasons = CLASSIFIER[name]
    assert found.totals[0] == total
    assert {reason: amounts[0] for reason, amounts in found.reasons.items()} == reasons


def test_missed_attention_is_the_sum_of_our_attention(comparison: Any) -> None:
    """Two layers of 4 heads over 5 tokens (4 patches and a class) of 24 features: QKᵀ and AV, 2·5·5·24 each layer."""
    found = verdict(comparison("vision transformer"), "fvcore")
    assert found.reasons["fused attention is not counted"][0] == -2 * 2 * 5 * 5 * 24


def test_an_operator_is_told_from_a_call_by_name(comparison: Any) -> None:
    """Of the two matrix products the one written ``@`` is not seen: 6·16·16·20 multiply-adds at 33×41 pooled by 2."""
    found = verdict(comparison("spelled"), "calflops")
    assert found.reasons["matmul called in Spelled is not counted"][0] == -2 * 6 * 16 * 16 * 20


# What is not explained


def wrong(counter: Counter, by: int) -> Counter:
    return replace(counter, run=lambda model, inputs: counter.run(model, inputs) + by)


def test_a_total_that_is_off_by_one_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxcost.verify.comparison.flops_by_torch", lambda *given: flops_by_torch(*given) + 1)
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", tuple(wrong(each, -1) for each in COUNTERS))
    found = compared(CASES["classifier"])
    assert set(found.torchs.unexplained) == {1}
    assert {amount for each in found.verdicts[1:] for amount in each.unexplained} <= {-1}


def test_an_operation_that_we_lost_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the linear layer 2·256·5 multiply-adds, and of its biases 2·5 where they are counted."""
    monkeypatch.setattr("fxcost.verify.comparison.rows_of", lambda *given: rows_of(*given)[:-1])
    found = compared(CASES["classifier"])
    lost = {"FlopCounterMode": 5120, "fvcore": 2560, "thop": 2560, "ptflops": 2570}
    lost |= {"calflops": 5120, "deepspeed": 5120, "torchinfo": 2570}
    unexplained = {each.counter: each.unexplained[0] for each in found.verdicts}
    assert unexplained == {name: amount for name, amount in lost.items() if name not in found.missing}


def test_a_reason_must_hold_at_every_size() -> None:
    """A total that fits at the first size alone leaves something unexplained at the second."""
    rows = [Row("relu", "default", nn.ReLU(), "", (), ((size,),), ((size,),), 0, 1) for size in (8, 16)]
    found = explained("thop", "MACs", [0, 5], [[row] for row in rows])
    assert found.unexplained == (0, 5)


def test_where_there_is_no_gap_there_is_no_reason() -> None:
    """Its rules say that fvcore counts 2 for each of 8 elements, but it gives our total."""
    shapes = ((2, 4), (4,), (4,), (4,), (4,))
    norm = Row("batch_norm", "default", nn.BatchNorm1d(4), "", (), shapes, ((2, 4),), 0, 1)
    assert explained("fvcore", "MACs", [16], [[norm]]).reasons == {"batch_norm is counted, 2 for each element": (16,)}
    assert explained("fvcore", "MACs", [0], [[norm]]).reasons == {}


def test_a_counter_that_fails_and_one_that_is_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise ValueError("no such luck\nmore")

    failing = Counter("torch", fails, "MACs")
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", (failing, Counter("no_such_counter", fails, "MACs")))
    found = compared(CASES["classifier"])
    assert [each.failure for each in found.verdicts] == ["", "ValueError: no such luck"]
    assert found.missing == ("no_such_counter",)


class ByVector(nn.Module):
    """A product with a vector, which torch's counter does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x[0]


class Complex(nn.Module):
    """A product of complex matrices, which it counts as one of real ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.complex(x, x)
        return torch.matmul(z, z.transpose(0, 1)).real


@pytest.mark.parametrize(
    ("module", "torchs", "ours"), [(ByVector, 0, 2 * 3 * 8), (Complex, 2 * 3 * 8 * 3, 4 * 2 * 3 * 8 * 3)]
)
def test_what_torchs_counter_misses(
    module: type[nn.Module], torchs: int, ours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 3 rows of 8."""
    monkeypatch.setattr("fxcost.verify.comparison.COUNTERS", ())
    found = compared(Case(module, "x: float32[B,8]", {"B": 3})).torchs
    assert (found.totals[0], found.ours[0]) == (torchs, ours)
    assert set(found.unexplained) == {0}


class OneKey(nn.Module):
    """Products whose summed axis has size 1, beside one of several."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = torch.einsum("bhi,bhj->bij", x[:, :1], x[:, :1])
        return one + torch.einsum("bhi,bhj->bij", x, x)


def test_an_einsum_over_an_axis_of_size_one_is_a_multiplication_to_torch() -> None:
    """16·16 multiply-adds of a sample, 2 FLOPs each, that FlopCounterMode sees as products of elements."""
    found = compared(Case(OneKey, "x: float32[B,3,16]", {"B": 2}))
    reason = "an einsum over an axis of size 1 is a multiplication to torch, and not counted"
    assert found.torchs.reasons == {reason: tuple(-512 * point["B"] for point in found.sizes)}
    assert not any(found.torchs.unexplained)

"""Tracing: symbols, pins and ranges read off real code, and the model left as it was found."""

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError
from fxcost.formulas.ranges.domain import SymbolRange

IMAGE = "x: float32[B,3,H,W]"


class Calls(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> Any:
        return self.function(x, *more)


def traced(function: Callable[..., Any], *inputs: str, said: list[str] | None = None, **at: int) -> Any:
    told = said if said is not None else []
    return trace(
        Calls(function), inputs=inputs or (IMAGE,), at={"H": 32, "W": 36, **at} if not inputs else at, warn=told.append
    )


def pinned(x: torch.Tensor) -> torch.Tensor:
    torch._assert(x.shape[2] == 32, "Wrong height")
    return x + 1


def test_a_pinned_size_is_reported_with_its_line() -> None:
    said: list[str] = []
    costs = traced(pinned, said=said)
    assert set(costs.symbols) == {"B", "W"}
    assert costs.fixed["H"].value == 32
    line = Path(__file__).read_text().splitlines().index('    torch._assert(x.shape[2] == 32, "Wrong height")') + 1
    assert f"test_tracing.py:{line}" in costs.fixed["H"].where
    assert any("H is fixed at 32" in text and f":{line}" in text for text in said)
    with pytest.raises(FxcostError, match="H is fixed at 32"):
        costs.at(H=64)


def limited(x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.shape[1] <= 512 else x


def test_a_limit_in_the_code_is_the_symbols_range() -> None:
    costs = traced(limited, "x: int64[B,S]", S=16)
    assert costs.symbols["S"] == SymbolRange(1, 512)
    assert costs.at(B=1, S=512).total.flops == 512
    with pytest.raises(FxcostError, match="S=513 is above 512"):
        costs.at(B=1, S=513)


def test_a_branch_on_a_batch_of_one_is_no_secret() -> None:
    """The formulas of the branch for more than one example must not be given for one."""
    costs = traced(lambda x: x + 1 if x.shape[0] > 1 else x, "x: float32[B,4]")
    assert costs.symbols["B"].low == 2
    with pytest.raises(FxcostError, match="B=1 is below 2"):
        costs.at(B=1)


def test_a_batch_of_one_is_inside_ordinary_formulas() -> None:
    assert traced(torch.relu, "x: float32[B,4]").at(B=1).total.flops == 4


def test_a_relation_between_sizes_is_a_condition() -> None:
    costs = traced(lambda x: x + 1 if x.shape[3] > x.shape[2] else x - x * 2)
    assert costs.at(B=1, H=3, W=5).total.flops == 3 * 3 * 5
    with pytest.raises(FxcostError, match="do not hold: they were traced where"):
        costs.at(B=1, H=5, W=3)


def test_a_required_multiple_is_part_of_the_range() -> None:
    def windows(x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] % 8:
            raise ValueError("height")
        return x + 1

    costs = traced(windows)
    assert costs.symbols["H"].multiple_of == 8
    with pytest.raises(FxcostError, match="H=12 is not a multiple of 8"):
        costs.at(B=1, H=12, W=8)


def test_one_letter_in_two_inputs_is_one_symbol() -> None:
    costs = traced(torch.add, "x: float32[B,T]", "y: float32[B,T]", T=9)
    assert set(costs.symbols) == {"B", "T"}
    assert costs.conditions == ()
    assert costs.at(B=3, T=5).total.flops == 15


def test_floors_are_exact() -> None:
    """Stride 2 twice: ⌈⌈H/2⌉/2⌉ rows of ⌈⌈W/2⌉/2⌉ outputs, 2·3·9·4 then 2·4·9·4 FLOPs each."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.Conv2d(4, 4, 3, 2, 1, bias=False))
    costs = trace(model, inputs=("input: float32[B,3,H,W]",), at={"H": 32, "W": 36})
    for h, w in ((1, 1), (5, 8), (33, 47), (224, 223)):
        once = ceil(h / 2) * ceil(w / 2)
        twice = ceil(ceil(h / 2) / 2) * ceil(ceil(w / 2) / 2)
        assert costs.at(B=3, H=h, W=w).total.flops == 3 * (once * 2 * 27 * 4 + twice * 2 * 36 * 4)


def test_declared_multiples_make_polynomials() -> None:
    model = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
    inputs = ("input: float32[B,3,H,W]",)
    plain = trace(model, "B,H,W", inputs=inputs, at={"H": 32, "W": 32})
    even = trace(model, "B,H%2,W%2", inputs=inputs, at={"H": 32, "W": 32})
    assert "//" in str(plain.total.flops)
    assert "//" not in str(even.total.flops)
    assert even.at(B=2, H=6, W=8).total == plain.at(B=2, H=6, W=8).total
    with pytest.raises(FxcostError, match="H=7 is not a multiple of 2"):
        even.at(B=2, H=7, W=8)


def test_a_size_from_data_is_refused() -> None:
    with pytest.raises(FxcostError, match="values of its data"):
        traced(lambda x: x[x > 0] + 1, "x: float32[B,4]")
    with pytest.raises(FxcostError, match="values of its data"):
        traced(lambda x: x + 1 if x.sum() > 0 else x, "x: float32[B,4]")


def test_an_output_that_cannot_be_searched_is_refused_not_dropped() -> None:
    class Slots:
        __slots__ = ("hidden",)

        def __init__(self, hidden: torch.Tensor) -> None:
            self.hidden = hidden

    with pytest.raises(FxcostError, match="returns a Slots"):
        traced(lambda x: Slots(x + 1), "x: float32[B,4]")


def test_outputs_in_any_container_count() -> None:
    class Plain:
        def __init__(self, hidden: torch.Tensor) -> None:
            self.hidden = [hidden]

    for wrap in (Plain, lambda y: {"a": [y]}, lambda y: (None, 1, y)):
        assert traced(lambda x, wrap=wrap: wrap(x + 1), "x: float32[B,4]").at(B=1).total.flops == 4


# The ladder


def test_past_the_budget_image_sizes_are_fixed_and_it_is_said() -> None:
    """A pace of a sleep for each symbolic height stands in for guard reasoning that takes minutes."""
    import time

    def paced(x: torch.Tensor) -> torch.Tensor:
        if isinstance(x.shape[2], torch.SymInt):
            end = time.monotonic() + 20
            while time.monotonic() < end:
                sum(range(1000))
        return x + 1

    said: list[str] = []
    start = time.monotonic()
    costs = trace(Calls(paced), "H,W,B", inputs=(IMAGE,), at={"H": 32, "W": 36}, budget=1.5, warn=said.append)
    assert time.monotonic() - start < 15
    assert set(costs.symbols) == {"B"}
    assert (costs.rung, costs.fixed["H"].value, costs.fixed["W"].value) == ("fixed", 32, 36)
    assert len(said) == 1
    assert len(said[0].splitlines()) == 2
    assert "H=32 and W=36 fixed" in said[0]
    assert costs.at(B=2).total.flops == 2 * 3 * 32 * 36
    # What was interrupted left nothing behind.
    assert trace(nn.ReLU(), inputs=("input: float32[B,4]",)).at(B=1).total.flops == 4


def test_past_the_budget_without_images_is_an_error() -> None:
    import time

    def stuck(x: torch.Tensor) -> torch.Tensor:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            sum(range(1000))
        return x

    with pytest.raises(FxcostError, match="took longer than 1 s\nGive it more with --budget 4"):
        trace(Calls(stuck), inputs=("x: float32[B,4]",), budget=1)


# The model as it was found


def test_the_model_is_left_as_it_was_found() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.drop = nn.Dropout(0.5)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.drop(self.norm(x))[:, None]
            return self.attention(y, y, y)[0] + torch.rand(1)

    model = Model().train()
    model.norm.eval()
    handle = model.register_forward_hook(lambda *_: None)
    before: dict[str, Any] = {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "ids": {name: (id(value), value.data_ptr()) for name, value in model.named_parameters()},
        "modes": [each.training for each in model.modules()],
        "attributes": {name: sorted(vars(each)) for name, each in model.named_modules()},
        "hooks": list(model._forward_hooks),
        "requires": [p.requires_grad for p in model.parameters()],
        "random": torch.get_rng_state(),
        "fast": torch.backends.mha.get_fastpath_enabled(),
    }
    costs = trace(model, inputs=(torch.zeros(3, 4),))
    assert costs.total.flops != 0
    assert all(torch.equal(before["state"][name], value) for name, value in model.state_dict().items())
    assert before["ids"] == {name: (id(value), value.data_ptr()) for name, value in model.named_parameters()}
    assert before["modes"] == [each.training for each in model.modules()]
    assert before["attributes"] == {name: sorted(vars(each)) for name, each in model.named_modules()}
    assert before["hooks"] == list(model._forward_hooks) == [handle.id]
    assert before["requires"] == [p.requires_grad for p in model.parameters()]
    assert torch.equal(before["random"], torch.get_rng_state())
    assert before["fast"] == torch.backends.mha.get_fastpath_enabled()


def test_training_mode_does_not_change_the_answer() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))
    inputs = (torch.zeros(2, 4),)
    assert trace(model.train(), inputs=inputs).total.flops == trace(model.eval(), inputs=inputs).total.flops


def test_nested_tensors_by_keyword() -> None:
    class Nested(nn.Module):
        def forward(self, batch: dict[str, list[torch.Tensor]], *, scale: torch.Tensor) -> torch.Tensor:
            return batch["images"][0] * scale

    costs = trace(Nested(), inputs=({"images": [torch.zeros(2, 3, 8, 10)]},), kwargs={"scale": torch.zeros(1)})
    assert costs.at(B=5, H=2, W=3).total.flops == 5 * 3 * 2 * 3


# Never silently wrong


def test_autocast_is_told_and_not_followed() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x.device.type, dtype=torch.bfloat16):
                y = self.fc(x)
            return y.float()

    costs = trace(Mixed(), inputs=(torch.zeros(2, 4),))
    assert costs.at(B=3).total.macs == 3 * 4 * 4
    assert any("autocast is not followed" in each for each in costs.assumptions)
    assert costs.total.params == 20


def test_a_squeeze_excludes_the_size_at_which_it_would_change_the_rank() -> None:
    costs = traced(lambda x: x.squeeze().mean(0), "x: float32[B,8]")
    assert costs.symbols["B"].low == 2
    assert traced(lambda x: x.unsqueeze(1).squeeze(1) + 1, "x: float32[B,8]").symbols["B"].low == 1


def test_sizes_that_rounding_decides_are_fixed() -> None:
    """97 times 800/97 is 799.99… in floating point: a formula would say 800."""
    resize = nn.functional.interpolate
    factor = traced(lambda x: resize(x, scale_factor=0.7))
    assert "the factor 0.7" in factor.fixed["H"].where
    assert list(factor.symbols) == ["B"]
    to_800 = lambda x: resize(x, size=(int((800 / x.shape[2]) * x.shape[2]), 8))  # noqa: E731
    scaled = traced(to_800, H=97, W=4)
    assert "rounded quotient" in scaled.fixed["H"].where
    assert scaled.at(B=1).total.writes == {"activation": {"float32": 3 * 799 * 8}}
    half = traced(lambda x: resize(x, scale_factor=1.5))
    for size in (1, 2, 7, 31):
        assert half.at(B=1, H=size, W=4).total.writes == {"activation": {"float32": 3 * int(size * 1.5) * 6}}


def test_tensors_that_forward_makes_are_on_the_models_device() -> None:
    with torch.device("meta"):
        model = nn.Linear(4, 8)

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + torch.ones(8)

    assert trace(Adds(), inputs=("x: float32[B,4]",)).at(B=1).total.macs == 32


def test_attributes_that_forward_sets_are_put_back() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.seen: list[Any] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = self.fc(x)
            self.seen.append(self.last)
            return self.last

    model = Keeps()
    trace(model, inputs=("x: float32[B,4]",))
    assert not hasattr(model, "last")
    assert model.seen == []

"""Where formulas are said to hold they are right: small networks that depend on their sizes in every way, run for real.

Each network is drawn from parts that branch on sizes, slice, pad, pool, fold and turn sizes into text. It is traced, and at
the low ends of what its formulas are said to hold for, and between, it is run on the CPU with torch's own counter.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError

WIDTH = 4
FEW, MANY = 200, 2000
TOO_MANY_REFUSED = 0.25
"""The share of networks that may be refused: tests would show nothing of those."""

Forward = Callable[[Any, torch.Tensor], torch.Tensor]


class Part(nn.Module):
    """A narrow and a wide matrix, and a function that chooses between them or shapes what they give."""

    def __init__(self, name: str, forward: Forward) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.back = nn.Linear(3 * WIDTH, WIDTH)
        self.named = nn.ModuleDict({"default": nn.Linear(WIDTH, WIDTH), "7": nn.Linear(WIDTH, WIDTH, bias=False)})
        self.name, self.run, self.calls = name, forward, iter(range(10_000))

    def large(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(self.wide(x))

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def either(asks: Callable[[Any], Any]) -> Forward:
    """The wide way where a question of the length is true."""
    return lambda part, x: part.large(x) if asks(x.shape[1]) else part.narrow(x)


def over_rows(layer: nn.Module) -> Forward:
    """A layer over the length, given ``[B, WIDTH, S]``."""
    return lambda _part, x: layer.to(x.device)(x.transpose(1, 2)).transpose(1, 2)


def sequence_parts(n: int, k: int) -> dict[str, Callable[[], Forward]]:
    """Parts of a network over ``[B, S, WIDTH]``, by name, each with two small numbers in it."""
    texts = {str(n), str(n + 4)}
    return {
        "plain": lambda: lambda part, x: part.narrow(x),
        "above": lambda: either(lambda s: s > n),
        "at least": lambda: either(lambda s: s >= 2 * n),
        "below": lambda: either(lambda s: s < n),
        "equal": lambda: either(lambda s: s == n),
        "unequal": lambda: either(lambda s: s != n),
        "even": lambda: either(lambda s: s % 2 == 0),
        "quotient": lambda: either(lambda s: s // (k + 1) > n),
        "two questions": lambda: either(lambda s: s > n or s == 1),
        "between": lambda: either(lambda s: 1 < s < n + 3),
        "text": lambda: either(lambda s: str(s) in texts),
        "text of a product": lambda: either(lambda s: f"{s * 2}" == str(2 * n)),
        "length of text": lambda: either(lambda s: len(f"{s}") > 1),
        "formatted": lambda: either(lambda s: f"{s:03d}".startswith("00")),
        "a name": lambda: lambda part, x: part.named[str(x.shape[1]) if str(x.shape[1]) in part.named else "default"](x),
        "a shape's text": lambda: lambda part, x: part.large(x) if f", {n}, " in str(x.shape) else part.narrow(x),
        "a set": lambda: either(lambda s: s in {n, n + 1}),
        "a table": lambda: either(lambda s: {n: True}.get(s, False)),
        "a list": lambda: either(lambda s: s in [n, n + 1]),
        "a kind": lambda: either(lambda s: isinstance(s, int)),
        "a message": lambda: lambda part, x: (torch._assert(x.dim() == 3, f"{x.shape} is no sequence"), part.narrow(x))[1],  # type: ignore[func-returns-value]
        "hidden": lambda: lambda part, x: part.large(x) if x.shape[1] > (n, n, n + 5)[next(part.calls) % 3] else part.narrow(x),
        "first": lambda: lambda part, x: part.narrow(x[:, :n]),
        "last": lambda: lambda part, x: part.narrow(x[:, -n:]),
        "without first": lambda: lambda part, x: part.narrow(x[:, k:]),
        "without last": lambda: lambda part, x: part.narrow(x[:, :-k]),
        "one": lambda: lambda part, x: part.narrow(x[:, n - 1 : n]),
        "steps": lambda: lambda part, x: part.narrow(x[:, :: k + 1]),
        "narrowed": lambda: lambda part, x: part.narrow(x.narrow(1, 0, n)),
        "chunks": lambda: lambda part, x: part.narrow(x.chunk(k + 1, 1)[-1]),
        "reflected": lambda: lambda part, x: part.narrow(functional.pad(x.transpose(1, 2), (k, 0), "reflect").transpose(1, 2)),
        "replicated": lambda: lambda part, x: part.narrow(functional.pad(x.transpose(1, 2), (k, k), "replicate").transpose(1, 2)),
        "circular": lambda: lambda part, x: part.narrow(functional.pad(x.transpose(1, 2), (0, k), "circular").transpose(1, 2)),
        "cropped": lambda: lambda part, x: part.narrow(functional.pad(x, (0, 0, -k, 0))),
        "convolved": lambda: over_rows(nn.Conv1d(WIDTH, WIDTH, n, k + 1)),
        "dilated": lambda: over_rows(nn.Conv1d(WIDTH, WIDTH, 2, 1, 0, n)),
        "transposed": lambda: over_rows(nn.ConvTranspose1d(WIDTH, WIDTH, n, 2, k)),
        "pooled": lambda: over_rows(nn.AvgPool1d(n, k)),
        "greatest": lambda: over_rows(nn.MaxPool1d(2, 2)),
        "windows": lambda: lambda part, x: part.narrow(x.unfold(1, n, k).mean(-1)),
        "adapted": lambda: over_rows(nn.AdaptiveAvgPool1d(n)),
        "squeezed": lambda: lambda part, x: part.narrow(x.mean(1).squeeze()).view(-1, 1, WIDTH),
        "halves": lambda: lambda part, x: part.narrow(x[:, : x.shape[1] // 2 + 1]),
        "scores": lambda: lambda part, x: part.narrow((x @ x.mT).softmax(-1) @ x),
        "cut to": lambda: lambda part, x: part.narrow(x[:, : min(x.shape[1], n)]),
        "a loop": lambda: lambda part, x: [part.narrow(x[:, i]) for i in range(min(x.shape[1], n))][-1].unsqueeze(1),
        "swallowed": lambda: swallowed(k),
    }  # fmt: skip


def swallowed(n: int) -> Forward:
    """Another way where a shape does not fit, which a run with memory goes as well."""

    def run(part: Any, x: torch.Tensor) -> torch.Tensor:
        try:
            return part.narrow(x.reshape(x.shape[0], -1, n + 1, WIDTH)[:, :, 0])
        except RuntimeError:
            return part.large(x)

    return run


class Images(nn.Module):
    """Layers over ``[B, WIDTH, H, W]``, in a row."""

    def __init__(self, names: list[str], layers: list[Any]) -> None:
        super().__init__()
        self.names, self.layers = names, layers
        self.held = nn.ModuleList(each for each in layers if isinstance(each, nn.Module))

    def extra_repr(self) -> str:
        return ", ".join(self.names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def image_layers(n: int, k: int) -> dict[str, Callable[[], Any]]:
    """Layers over images, by name; those that are no modules shape what the others work on."""
    return {
        "convolution": lambda: nn.Conv2d(WIDTH, WIDTH, n, k),
        "padded": lambda: nn.Conv2d(WIDTH, WIDTH, 3, k + 1, k),
        "reflected": lambda: nn.Conv2d(WIDTH, WIDTH, 2 * k + 1, padding=k, padding_mode="reflect"),
        "dilated": lambda: nn.Conv2d(WIDTH, WIDTH, 2, dilation=n),
        "transposed": lambda: nn.ConvTranspose2d(WIDTH, WIDTH, n, 2, k),
        "pooled": lambda: nn.MaxPool2d(k + 1),
        "pooled up": lambda: nn.AvgPool2d(n, 2, 1, ceil_mode=True),
        "unfolded": lambda: nn.Sequential(nn.Unfold(k + 1), nn.Conv1d(WIDTH * (k + 1) ** 2, WIDTH, 1), nn.Unflatten(2, (-1, 1))),
        "larger": lambda: nn.Upsample(scale_factor=2),
        "shuffled": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * WIDTH, WIDTH, 1)),
        "cropped": lambda: lambda x: x[:, :, : n + 1, k:],
        "mirrored": lambda: lambda x: functional.pad(x, (k, 0, 0, k), "reflect"),
        "tall": lambda: Branch(lambda x: x.shape[2] > x.shape[3]),
        "high": lambda: Branch(lambda x: x.shape[2] >= n),
        "of one row": lambda: Branch(lambda x: x.shape[2] == 1),
        "by text": lambda: Branch(lambda x: f"{x.shape[2]}x{x.shape[3]}" == f"{n}x{n}"),
        "even": lambda: Branch(lambda x: x.shape[3] % 2 == 0),
        "flat": lambda: lambda x: x.flatten(2).unsqueeze(-1),
    }  # fmt: skip


class Branch(nn.Module):
    """A convolution of one place, or of three in a row where a question of the input is true."""

    def __init__(self, asks: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.asks, self.small, self.large = asks, nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.large(x) if self.asks(x) else self.small(x)


def network(seed: int) -> tuple[Callable[[], nn.Module], str, dict[str, int]]:
    """How a network is made, the same each time, its input, and the sizes that it is traced at."""
    random = Random(f"network {seed}")  # noqa: S311  # networks, not secrets
    draws = [(random.random(), random.randint(2, 4), random.randint(1, 2)) for _ in range(random.randint(1, 3))]
    if seed % 3:
        length = random.choice([9, 12, 16, 21])
        return lambda: nn.Sequential(*_parts(draws)), f"x: float32[B,S,{WIDTH}]", {"S": length}
    sides = {"H": random.choice([8, 11, 16]), "W": random.choice([8, 12, 13])}
    return lambda: _images(draws), f"x: float32[B,{WIDTH},H,W]", sides


def _parts(draws: list[tuple[float, int, int]]) -> Iterator[Part]:
    for place, n, k in draws:
        parts = sequence_parts(n, k)
        name = list(parts)[int(place * len(parts))]
        yield Part(f"{name} {n} {k}", parts[name]())


def _images(draws: list[tuple[float, int, int]]) -> Images:
    names = [(list(image_layers(2, 1))[int(place * len(image_layers(2, 1)))], n, k) for place, n, k in draws]
    layers = [image_layers(n, k)[name]() for name, n, k in names]
    return Images([f"{name} {n} {k}" for name, n, k in names], [nn.Conv2d(WIDTH, WIDTH, 1), *layers])


def points(costs: CostModel, seed: int) -> Iterator[dict[str, int]]:
    """The lowest size of each symbol at once, each of them alone, the sizes of the trace, and some between."""
    random = Random(f"point {seed}")  # noqa: S311  # sizes, not secrets
    low = {name: each.smallest for name, each in costs.symbols.items()}
    usual = dict(costs.defaults)
    yield low
    yield usual
    for name, least in low.items():
        yield {**usual, name: least}
        yield {**usual, name: least + costs.symbols[name].multiple_of}
    for _ in range(6):
        yield {n: random.randint(low[n], max(low[n], 2 * usual[n])) for n in low}


def torchs_count(model: nn.Module, sizes: dict[str, int]) -> int:
    """What the model multiplies, run for real."""
    shape = (sizes["B"], sizes["S"], WIDTH) if "S" in sizes else (sizes["B"], WIDTH, sizes["H"], sizes["W"])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(shape))
    return counter.get_total_flops()


def check(seed: int) -> int:
    """Hold a network's formulas against torch's count wherever they are said to hold; how many sizes that was."""
    make, spec, at = network(seed)
    try:
        costs = trace(make(), inputs=(spec,), at=at, warn=lambda _: None, isolated=False)
    except FxcostError:
        return 0
    held = 0
    for point in points(costs, seed):
        try:
            found = costs.at(point)
        except FxcostError:
            continue
        sizes = costs.with_fixed(found.sizes)
        said = 2 * sum(int(layer.macs) for layer in found.layers if layer.unit == "matrix")
        model = make()
        try:
            counted = torchs_count(model, sizes)
        except Exception as error:
            raise AssertionError(f"{model} at {sizes} is said to cost {said}, and does not run: {error}") from error
        assert said == counted, f"{model} at {sizes}, traced at {at}"
        held += 1
    return held


@pytest.mark.parametrize("start", range(0, FEW, 20))
def test_formulas_are_right_wherever_they_are_said_to_hold(start: int) -> None:
    held = [check(seed) for seed in range(start, start + 20)]
    assert held.count(0) <= TOO_MANY_REFUSED * len(held)


@pytest.mark.ranges
@pytest.mark.parametrize("start", range(FEW, FEW + MANY, 100))
def test_formulas_of_many_networks_are_right(start: int) -> None:
    held = [check(seed) for seed in range(start, start + 100)]
    assert held.count(0) <= TOO_MANY_REFUSED * len(held)

"""Blocks that look alike and are not: costs are those that torch counts, whatever a block reads, keeps, or hands on."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.errors import FxcostError

INPUT = "x: float32[B,S,8]"


class Block(nn.Module):
    """Two linear layers and whatever a function of the block and its input does between them."""

    def __init__(self, between: Callable[[Any, torch.Tensor], Any], **attributes: Any) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(8, 16), nn.Linear(16, 8), between
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.last(self.between(self, self.first(x)))


class Stack(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def stack(between: Callable[[Any, torch.Tensor], Any], count: int = 4, **attributes: Callable[[int], Any]) -> Stack:
    """Blocks that differ in nothing but what each attribute's function makes of their number."""
    return Stack(*(Block(between, **{n: of(i) for n, of in attributes.items()}) for i in range(count)))


def narrowed(block: Any, x: torch.Tensor) -> torch.Tensor:
    return x.relu() if block.number % 2 else x[:, :1].expand(x.shape)


def counted(held: Any, x: torch.Tensor) -> torch.Tensor:
    held["calls"] = held.get("calls", 0) + 1
    for _ in range(held["calls"]):
        x = x.relu()
    return x


class Numbered(nn.Module):
    calls = 0


def by_class(_block: Any, x: torch.Tensor) -> torch.Tensor:
    Numbered.calls += 1
    return x.relu() if Numbered.calls % 2 else x.sigmoid()


def keeps(block: Any, x: torch.Tensor) -> torch.Tensor:
    block.kept = x
    return x


class Keeping(Stack):
    """Adds what its last block kept."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), *stack(keeps).blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        kept: Any = self.blocks[-1].kept
        return x + kept[..., :8]


def looks_up(block: Any, x: torch.Tensor) -> torch.Tensor:
    """The shape of what a pool gives does not tell its kernel."""
    kernel = block.__dict__.get("kernel", 3)
    return nn.functional.max_pool1d(x, kernel, 1, kernel // 2)


def converts(block: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float16 if id(block) in ODD else torch.float64).to(x.dtype)


ODD: set[int] = set()


class Listed(Block):
    """Known to be odd by a table that is not its own."""

    def __init__(self, number: int) -> None:
        super().__init__(converts)
        (ODD.add if number % 2 else ODD.discard)(id(self))


class Late(Stack):
    """Gives its last block a kernel when it runs, which that looks for."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), *stack(looks_for).blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        object.__setattr__(self.blocks[-1], "kernel", 7)
        return super().forward(x)


def looks_for(block: Any, x: torch.Tensor) -> torch.Tensor:
    kernel = getattr(block, "kernel", 3)
    return nn.functional.max_pool1d(x, kernel, 1, kernel // 2)


class Leaving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8))

    def forward(self, x: torch.Tensor, held: list[torch.Tensor]) -> torch.Tensor:
        held[0] = self.inner(x)
        return held[0].relu()


class Lists(nn.Module):
    """Hands its blocks a list that they leave something in."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Leaving() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        for block in self.blocks:
            held = [x]
            x = block(x, held) + held[0]
        return x


def tells(block: Any, x: torch.Tensor) -> torch.Tensor:
    block.others[0].told = x
    return x


class Telling(Stack):
    """Adds what its last block told it."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.blocks.extend(stack(tells, others=lambda _: [self]).blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        told: Any = self.told
        return x + told[..., :8]


class Parts(nn.Module):
    def __init__(self, one: nn.Module, other: nn.Module | None = None) -> None:
        super().__init__()
        self.one, self.other = one, other or one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.one(x))


class Classed(Block):
    number = 0

    def __init__(self, number: int) -> None:
        super().__init__(narrowed, number=number)


class Reads(Block):
    def __init__(self, number: int) -> None:
        super().__init__(narrowed, number=number)


def writes(block: Any, x: torch.Tensor) -> torch.Tensor:
    block.number = block.number + 1
    return x.relu()


def looks_at_its_table(block: Any, x: torch.Tensor) -> torch.Tensor:
    return x.relu() if block.__dict__["number"] % 2 else x.sigmoid()


def appends(block: Any, x: torch.Tensor) -> torch.Tensor:
    block.shared.append(len(block.shared))
    return x * float(len(block.shared)) if len(block.shared) % 2 else x.relu()


SHARED: list[int] = []
HELD: dict[str, int] = {}
TABLE = torch.ones(16, device="meta")

NARROW = SimpleNamespace(width=8)

RELU = lambda _block, x: x.relu()  # noqa: E731


class Passes(nn.Module):
    """Hands on more than one value: a tensor that it was given, one that it made, a size and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8))

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int, None]:
        return kept, self.inner(x) + kept, x.shape[1], None


class Handing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Passes() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x.relu()
        for block in self.blocks:
            kept, x, size, _ = block(x, kept=kept)
            x = x[:, :size]
        return x + kept


class Views(nn.Module):
    """Returns what shares memory with its input, or two views of one tensor."""

    def __init__(self, give: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.give = nn.Sequential(nn.Linear(8, 8)), give

    def forward(self, x: torch.Tensor) -> Any:
        self.inner(x)
        return self.give(x)


class Viewing(nn.Module):
    def __init__(self, give: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Views(give) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        for block in self.blocks:
            given = block(x)
            x = x[:, : given.shape[1]] * given if isinstance(given, torch.Tensor) else given[0] * given[1]
        return x[:, :1].relu_()


def tied() -> nn.Module:
    model = stack(RELU)
    for block in model.blocks[1:]:
        block.first.weight = model.blocks[0].first.weight  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return model


def hooked() -> nn.Module:
    model = stack(RELU)
    model.blocks[2].register_forward_hook(lambda _module, _args, output: output.sigmoid())
    return model


CASES: dict[str, Callable[[], nn.Module]] = {
    "a number that is never read": lambda: stack(RELU, number=lambda i: i),
    "equal lists": lambda: stack(lambda b, x: x.view(*x.shape[:2], *b.split).flatten(2), split=lambda _: [4, 4]),
    "one configuration": lambda: stack(lambda b, x: x[..., : b.of.width].repeat(1, 1, 2), of=lambda _: NARROW),
    "in place": lambda: stack(lambda _b, x: x.mul_(2).relu_()),
    "an absent attribute": lambda: stack(lambda b, x: x.relu() if getattr(b, "scale", None) is None else x),
    "sizes": lambda: stack(lambda _b, x: x[:, : x.shape[1] // 2].repeat(1, 2, 1)[:, : x.shape[1]], 3),
    "stages of blocks": lambda: Stack(*(stack(RELU, 2) for _ in range(3))),

    "a number that is read": lambda: stack(narrowed, 3, number=lambda i: 2 * i),
    "an attribute that it writes": lambda: stack(writes, number=lambda _: 0),
    "a list that all append to": lambda: stack(appends, shared=lambda _: SHARED),
    "a table of the run's own": lambda: stack(lambda b, x: counted(b.held, x), held=lambda _: HELD),
    "an attribute that it writes for others": Keeping,
    "parts that are one": lambda: Stack(nn.ReLU(), Parts(nn.ReLU()), Parts(nn.ReLU(), nn.ReLU())),
    "an attribute of another that it writes": Telling,
    "a tensor from elsewhere": lambda: stack(lambda _b, x: x * TABLE),
    "an unequal absent attribute": lambda: Stack(Block(RELU), Block(RELU, extra=1)),
    "another class": lambda: Stack(Block(RELU), type("Other", (Block,), {})(RELU)),
    "another width": lambda: Stack(Block(RELU), nn.Sequential(nn.Linear(8, 8), nn.ReLU())),
    "a number that the class has as well": lambda: Stack(*(Classed(i) for i in range(4))),
    "a number in a part that repeats another": lambda: Stack(
        nn.ReLU(), *(Stack(*map(Reads, n)) for n in [(0, 0), (0, 1)])
    ),
    "a default, where its table lacks a number": lambda: stack(looks_up, kernel=lambda i: 3 + 2 * i),
    "a dtype that no attribute shows": lambda: Stack(nn.ReLU(), *(Listed(i) for i in range(4))),
    "a read that was of nothing": Late,
    "a list that it is handed": Lists,
    "its own table of attributes": lambda: stack(looks_at_its_table, number=lambda i: i),
    "a counter of the class": lambda: stack(by_class),
    "values handed on": Handing,
    "its input": lambda: Viewing(lambda x: x),
    "a view of its input": lambda: Viewing(lambda x: x.transpose(0, 1).transpose(0, 1)),
    "a part of its input": lambda: Viewing(lambda x: x[:, :5]),
    "two faces of one": lambda: Viewing(lambda x: (y := x * 2, y.view_as(y))),
    "two views of one": lambda: Viewing(lambda x: (x * 2).repeat(1, 1, 2).split([8, 8], 2)),
    "weights that blocks share": tied,
    "a hook": hooked,
    "one block again": lambda: Stack(*[stack(RELU, 1)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_that_torch_counts(name: str) -> None:
    """At every size that the formulas are said to hold at, of a model made anew."""
    costs = trace(fresh(name), inputs=(INPUT,), at={"S": 6}, symbolic="B,S", warn=lambda _: None)
    held = 0
    for length in (1, 2, 3, 6, 9):
        try:
            found = costs.at(B=2, S=length)
        except FxcostError:
            continue
        held += 1
        expected = torchs_count(fresh(name), length)
        assert 2 * sum(int(layer.macs) for layer in found.layers) == expected
    assert held


def fresh(name: str) -> nn.Module:
    for start in (SHARED, HELD):
        start.clear()
    Numbered.calls = 0
    return CASES[name]()


def torchs_count(model: nn.Module, length: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to("meta").eval()(torch.zeros(2, length, 8, device="meta"))
    return counter.get_total_flops()


class Slotted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


def counting(calls: list[int]) -> Callable[[], int]:
    def count() -> int:
        calls.append(0)
        return len(calls) - 1

    return count


HIDDEN: dict[str, Callable[[], Any]] = {
    "an object's dict": lambda: SimpleNamespace(calls=0),
    "a closure": lambda: counting([]),
    "an iterator": lambda: iter(range(10_000)),
    "a generator": lambda: (n for n in range(10_000)),
    "a slot": Slotted,
    "a deque": lambda: deque(range(4)),
}


def next_number(held: Any) -> Any:
    """0, 1, 2 and so on, told by state of any kind that several blocks share."""
    if isinstance(held, deque):
        held.rotate(-1)
        return held[-1]
    if hasattr(held, "calls"):
        held.calls += 1
        return held.calls - 1
    return held() if callable(held) else next(held)


class Threshold(nn.Module):
    """Works narrowly up to a length that hidden state tells, and widely above."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.narrow, self.wide, self.held = nn.Linear(8, 8), nn.Linear(8, 80), held

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        limit = (4, 4, 4, 64)[next_number(self.held) % 4]
        return self.narrow(x) if x.shape[1] > limit else self.wide(x)[..., :8]


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_condition_of_each_block_limits_the_sizes(kind: str) -> None:
    """The last block of four asks for more than 64 positions, the others for more than 4."""
    held = HIDDEN[kind]()
    costs = trace(Stack(*(Threshold(held) for _ in range(4))), inputs=(INPUT,), at={"S": 128}, warn=lambda _: None)
    assert costs.symbols["S"].low == 65
    assert int(costs.at(B=1, S=100).total.macs) == 4 * 100 * 8 * 8

"""A module that is given is left as it was found, whatever it keeps and wherever: it is traced in a child process."""

import asyncio
import functools
import io
import itertools
import multiprocessing
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import weakref
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from fxcost.api import trace
from fxcost.costs.files.saved import save
from fxcost.costs.model import CostModel
from fxcost.errors import FxcostError, UnknownOperatorsError
from fxcost.tracing import TraceError, isolation

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, and used

ROWS = "x: float32[B,8]"
ROW_MACS = 8 * 8
Keep = Callable[[Any, torch.Tensor], Any]


class Model(nn.Module):
    """A linear layer whose output is multiplied by what it keeps."""

    def __init__(self, keep: Keep, **kept: Any) -> None:
        super().__init__()
        self.linear, self.keep = nn.Linear(8, 8), keep
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.keep(self, x)
        # As a tensor: a number that differs from call to call would be another argument of the product.
        return self.linear(x) * (kept if isinstance(kept, torch.Tensor) else torch.tensor(float(kept)))


# Kinds of state: each a function that gives a model anew, and whatever it keeps outside itself

KINDS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {}
MACS = {"spectral_norm": 2 * ROW_MACS + 8 * 8 + 8}
"""Where they are more than the layer's at a batch of 2: the weight by a vector, and that by another."""
BEYOND: set[str] = set()
"""What restoring cannot reach: only code does."""


def kind(make: Callable[[], Any]) -> Callable[[], Any]:
    def pair() -> tuple[nn.Module, Any]:
        made = make()
        return made if isinstance(made, tuple) else (made, None)

    KINDS[make.__name__] = pair
    return make


def beyond(make: Callable[[], Any]) -> Callable[[], Any]:
    BEYOND.add(make.__name__)
    return kind(make)


@kind
def counter():
    def keep(self, x):
        self.count += 1
        return self.count

    return Model(keep, count=0)


@kind
def dictionary():
    return Model(lambda self, x: self.table.setdefault("scale", torch.ones(8) * 3), table={})


@kind
def list_of_tensors():
    def keep(self, x):
        self.seen.append(torch.ones(8))
        return sum(self.seen)

    return Model(keep, seen=[])


@kind
def set_of_sizes():
    def keep(self, x):
        self.seen.add(len(self.seen))
        return len(self.seen)

    return Model(keep, seen=set())


@kind
def double_ended_queue():
    def keep(self, x):
        self.seen.append(self.seen[-1] + 1)
        return self.seen[0]

    return Model(keep, seen=deque([1, 2], maxlen=2))


@kind
def order_of_a_dictionary():
    def keep(self, x):
        self.table.move_to_end("a")
        return self.table["a"] if next(iter(self.table)) == "b" else 7

    return Model(keep, table=OrderedDict(a=2, b=3))


@kind
def default_dictionary():
    def keep(self, x):
        self.table["calls"] += 1
        return self.table["calls"]

    return Model(keep, table=defaultdict(int))


@kind
def counts():
    def keep(self, x):
        self.table.update(["calls"])
        return self.table["calls"]

    return Model(keep, table=Counter())


@kind
def plain_object():
    def keep(self, x):
        self.held.calls += 1
        self.held.scale = torch.ones(8) * self.held.calls
        return self.held.scale

    return Model(keep, held=SimpleNamespace(calls=0))


class Slots:
    __slots__ = ("calls", "scale")

    def __init__(self) -> None:
        self.calls = 0


@kind
def slots():
    def keep(self, x):
        self.held.calls += 1
        self.held.scale = getattr(self.held, "scale", torch.ones(8)) * self.held.calls
        return self.held.scale

    return Model(keep, held=Slots())


@dataclass
class Held:
    calls: list[int] = field(default_factory=lambda: [0])


@kind
def deep_inside():
    def keep(self, x):
        calls = self.held[0]["a"][0].calls
        calls[0] += 1
        return calls[0]

    return Model(keep, held=({"a": (Held(),)},))


@kind
def list_of_a_class_of_its_own():
    class Guarded(list):
        def __setitem__(self, place, value):
            raise TypeError("append only")

    def keep(self, x):
        self.seen.append(1)
        return len(self.seen)

    return Model(keep, seen=Guarded())


class Frozen(OrderedDict):
    """A dictionary that may be cleared and not updated, as configurations of diffusion libraries are."""

    def update(self, *_, **__):
        raise TypeError("no update of a frozen dictionary")


@kind
def frozen_dictionary():
    return Model(lambda self, x: self.config["width"], config=Frozen(width=8, depth=2))


@kind
def frozen_dictionary_that_thaws():
    def keep(self, x):
        OrderedDict.__setitem__(self.config, "width", self.config["width"] + 1)
        return self.config["width"]

    return Model(keep, config=Frozen(width=8, depth=2))


@kind
def queue_of_the_library():
    def keep(self, x):
        self.queue.put(2)
        return self.queue.qsize()

    return Model(keep, queue=queue.Queue())


@beyond
def iterator():
    return Model(lambda self, x: next(self.numbers), numbers=itertools.count(1))


@beyond
def generator():
    return Model(lambda self, x: next(self.numbers), numbers=(n for n in range(1, 1000)))


@beyond
def closure():
    calls = 0

    def keep(self, x):
        nonlocal calls
        calls += 1
        return calls

    return Model(keep), lambda: calls


@beyond
def table_in_a_closure():
    table: dict[str, Any] = {}
    return Model(lambda self, x: table.setdefault("rope", torch.ones(8) * 2)), table


TABLES: dict[str, Any] = {}


@beyond
def table_in_a_global():
    TABLES.clear()
    return Model(lambda self, x: TABLES.setdefault("rope", torch.ones(8) * 2)), TABLES


@beyond
def tensor_in_a_global():
    TABLES.clear()
    TABLES["sum"] = torch.zeros(8)
    return Model(lambda self, x: TABLES["sum"].add_(1).clone()), TABLES


@beyond
def class_attribute():
    class Counts(Model):
        calls = 0

    def keep(self, x):
        type(self).calls += 1
        return self.calls

    return Counts(keep), lambda: Counts.calls


@beyond
def table_of_a_class():
    class Caches(Model):
        table: dict[str, Any] = {}  # noqa: RUF012

    return Caches(lambda self, x: self.table.setdefault("rope", torch.ones(8) * 2)), Caches.table


@beyond
def attribute_of_a_function():
    def keep(self, x):
        vars(keep)["calls"] += 1
        return vars(keep)["calls"]

    vars(keep)["calls"] = 0
    return Model(keep), vars(keep)


@beyond
def default_argument():
    def keep(self, x, seen=[]):  # noqa: B006
        seen.append(1)
        return len(seen)

    return Model(keep), lambda: keep.__defaults__


@beyond
def least_recently_used():
    @functools.lru_cache
    def rope():
        return torch.ones(8) * 2

    return Model(lambda self, x: rope()), rope.cache_info


@kind
def cached_property():
    class Caches(Model):
        @functools.cached_property
        def scale(self):
            return torch.ones(8) * 2

    return Caches(lambda self, x: self.scale)


@beyond
def weak_dictionary():
    class Key:
        pass

    table, key = weakref.WeakKeyDictionary(), Key()
    return Model(lambda self, x: table.setdefault(self.key, torch.ones(8)), key=key), lambda: len(table)


@beyond
def context_variable():
    calls = ContextVar("calls", default=0)

    def keep(self, x):
        calls.set(calls.get() + 1)
        return calls.get()

    return Model(keep), calls.get


@beyond
def thread_local():
    local = threading.local()
    local.calls = 0

    def keep(self, x):
        local.calls += 1
        return local.calls

    return Model(keep), lambda: local.calls


@beyond
def environment():
    os.environ.pop("FXCOST_TEST_CALLS", None)

    def keep(self, x):
        os.environ["FXCOST_TEST_CALLS"] = str(int(os.environ.get("FXCOST_TEST_CALLS", "0")) + 1)
        return int(os.environ["FXCOST_TEST_CALLS"])

    return Model(keep), lambda: os.environ.get("FXCOST_TEST_CALLS")


@beyond
def method_of_another_class():
    class Other:
        scale = staticmethod(lambda: 1)

    def keep(self, x):
        found = Other.scale()
        Other.scale = staticmethod(lambda: found + 1)
        return found

    return Model(keep), lambda: image(Other.scale)


@beyond
def default_dtype():
    torch.set_default_dtype(torch.float32)

    def keep(self, x):
        if torch.get_default_dtype() == torch.float64:
            return 2
        torch.set_default_dtype(torch.float64)
        return 1

    return Model(keep), torch.get_default_dtype


@kind
def numbers_in_an_array():
    def keep(self, x):
        self.numbers += 1
        return float(self.numbers[0])

    return Model(keep, numbers=np.zeros(3))


@beyond
def numbers_in_an_array_of_bytes():
    def keep(self, x):
        self.numbers[0] += 1
        return self.numbers[0]

    return Model(keep, numbers=array("b", [0]))


@kind
def tensor_in_a_dictionary():
    return Model(lambda self, x: self.seen["sum"].add_(1).clone(), seen={"sum": torch.zeros(8)})


@kind
def tensor_in_a_nested_list():
    return Model(lambda self, x: self.seen[0][0].add_(1).clone(), seen=[[torch.zeros(8)]])


@kind
def tensor_written_as_an_array():
    def keep(self, x):
        self.seen["sum"].numpy()[:] += 1  # which its version does not tell
        return float(self.seen["sum"].numpy()[0])

    return Model(keep, seen={"sum": torch.zeros(8)})


@kind
def tensor_attribute():
    return Model(lambda self, x: self.sum.add_(1).clone(), sum=torch.zeros(8))


@kind
def attribute_that_forward_makes():
    def keep(self, x):
        self.last = getattr(self, "last", 0) + torch.ones(8)
        return self.last

    return Model(keep)


@kind
def attribute_that_forward_deletes():
    def keep(self, x):
        if hasattr(self, "once"):
            del self.once
            return 2
        return 1

    return Model(keep, once=1)


def with_buffer(keep: Keep) -> Model:
    model = Model(keep)
    model.register_buffer("total", torch.zeros(8))
    return model


@kind
def buffer_in_place():
    return with_buffer(lambda self, x: self.total.add_(1).clone())


@kind
def buffer_replaced():
    def keep(self, x):
        self.total = self.total + 1
        return self.total

    return with_buffer(keep)


@kind
def buffer_that_forward_registers():
    def keep(self, x):
        if not hasattr(self, "mask"):
            self.register_buffer("mask", torch.ones(8) * 2, persistent=False)
            return 1
        return self.mask

    return Model(keep)


@kind
def parameter_in_place():
    def keep(self, x):
        self.linear.bias.add_(1)
        return 1

    return Model(keep)


@kind
def parameter_that_forward_registers():
    def keep(self, x):
        if not hasattr(self, "scale"):
            self.register_parameter("scale", nn.Parameter(torch.ones(8) * 2))
            return 1
        return self.scale

    return Model(keep)


@kind
def module_that_forward_adds():
    def keep(self, x):
        if not hasattr(self, "late"):
            self.add_module("late", nn.ReLU())
            return 1
        return self.late(torch.ones(8) * 2)

    return Model(keep)


@kind
def module_that_forward_replaces():
    def keep(self, x):
        self.act = nn.ReLU() if isinstance(self.act, nn.Identity) else nn.Identity()
        return self.act(-torch.ones(8))

    return Model(keep, act=nn.Identity())


@kind
def hook_that_forward_registers():
    def keep(self, x):
        self.linear.register_forward_hook(lambda *given: given[-1] * 2)
        return 1

    return Model(keep)


@kind
def hook_that_forward_removes():
    def keep(self, x):
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
        return 1

    model: Any = Model(keep)
    model.handle = model.linear.register_forward_hook(lambda *given: given[-1] * 2)
    return model


@kind
def hook_that_counts():
    model: Any = Model(lambda self, x: len(self.calls) + 1, calls=[])
    model.linear.register_forward_hook(lambda *_: model.calls.append(1))
    return model


@kind
def modes_of_submodules():
    def keep(self, x):
        self.drop.train(not self.drop.training)
        return self.drop.training + 1

    model = Model(keep, drop=nn.Dropout(0.0))
    model.linear.eval()
    return model


@kind
def statistics_of_a_batch_norm():
    model = Model(lambda self, x: self.norm(x).mean())
    model.norm = nn.BatchNorm1d(8)
    return model


@kind
def gradients_wanted():
    def keep(self, x):
        wanted = self.linear.weight.requires_grad
        self.linear.weight.requires_grad_(not wanted)
        return wanted + 1

    return Model(keep)


@kind
def gradients():
    model = Model(lambda self, x: 1)
    model.linear.weight.grad = torch.ones(8, 8)
    return model, lambda: model.linear.weight.grad


@kind
def random_of_torch():
    return Model(lambda self, x: torch.rand(8))


@kind
def random_of_python():
    return Model(lambda self, x: random.random())  # noqa: S311


@kind
def random_of_numpy():
    return Model(lambda self, x: float(np.random.rand()))  # noqa: NPY002


@beyond
def random_of_its_own():
    draws = random.Random(3)  # noqa: S311
    return Model(lambda self, x: self.draws.random(), draws=draws), draws.getstate


@kind
def dropout():
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))


@kind
def weight_norm():
    return parametrizations.weight_norm(nn.Linear(8, 8))


@kind
def spectral_norm():
    return parametrizations.spectral_norm(nn.Linear(8, 8))


@kind
def parametrization_that_counts():
    class Twice(nn.Module):
        calls = 0

        def forward(self, weight):
            self.calls += 1
            return weight * self.calls

    layer = nn.Linear(8, 8)
    parametrize.register_parametrization(layer, "weight", Twice())
    return layer


@kind
def scripted():
    model = torch.jit.script(nn.Linear(8, 8))
    return model, lambda: dict(model.state_dict())


@kind
def scripted_child():
    child = torch.jit.script(nn.Linear(8, 8))
    return nn.Sequential(child, nn.ReLU()), lambda: (dict(child.state_dict()), child.training)


@kind
def traced():
    model: Any = torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.zeros(3, 8))
    return model, lambda: dict(model.state_dict())


class Scripted(nn.Module):
    calls: int

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls, self.total = nn.Linear(8, 8), 0, torch.zeros(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.total.add_(1)
        return self.linear(x) + self.total


@kind
def scripted_state():
    model = torch.jit.script(Scripted())
    return model, lambda: (model.calls, model.total, dict(model.state_dict()))


@kind
def scripted_and_loaded():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(8, 8)), file)
    file.seek(0)
    model = torch.jit.load(file)
    return model, lambda: dict(model.state_dict())


@kind
def tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.one(x) if self.one.weight is self.other.weight else x

    return Tied()


CODE = (type, FunctionType, MethodType, functools.partial)


def image(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """What is equal for two looks at one value that has not changed."""
    if isinstance(value, torch.Tensor):
        return type(value), value.device.type, value.requires_grad, value.tolist() if not value.is_meta else None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if id(value) in inside or isinstance(value, CODE):
        return id(value)
    inside = (*inside, id(value))
    held = [(name, image(each, inside)) for name, each in getattr(value, "__dict__", {}).items() if name != "forward"]
    if isinstance(value, dict):
        return type(value), [(name, image(each, inside)) for name, each in value.items()], held
    if isinstance(value, (list, tuple, set, deque)):
        return type(value), [image(each, inside) for each in value], held
    if isinstance(value, Slots):
        return {name: image(getattr(value, name)) for name in Slots.__slots__ if hasattr(value, name)}
    return (id(value), held) if held or "object at" in repr(value) else (type(value), repr(value))


def randoms() -> Any:
    numpys: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), numpys[1].tolist()


def seed() -> None:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002


@pytest.fixture
def default_settings() -> Any:
    yield
    torch.set_default_dtype(torch.float32)
    os.environ.pop("FXCOST_TEST_CALLS", None)


def check_left_as_found(name: str, isolated: bool) -> None:
    """Nothing of it differs after a trace, its costs are right, and the next real call gives what a fresh one's does."""
    rows = torch.ones(2, 8)

    def called(model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model(rows)

    seed()
    expected = called(KINDS[name]()[0])
    torch.set_default_dtype(torch.float32)
    seed()
    model, outside = KINDS[name]()

    def look() -> Any:
        return image(model), image(outside() if callable(outside) else outside), randoms()

    before = look()
    costs = trace(model, inputs=(rows,), isolated=isolated, warn=lambda _: None)
    assert look() == before
    assert set(costs.symbols) == {"B"}
    assert costs.at(B=2).total.macs == MACS.get(name, 2 * ROW_MACS)
    assert torch.equal(called(model), expected)


@pytest.mark.usefixtures("default_settings")
@pytest.mark.parametrize("name", KINDS)
def test_a_child_leaves_everything_as_it_was(name: str) -> None:
    check_left_as_found(name, isolated=True)


@pytest.mark.usefixtures("default_settings")
@pytest.mark.parametrize("name", sorted(KINDS.keys() - BEYOND))
def test_in_this_process_what_modules_hold_is_put_back(name: str) -> None:
    check_left_as_found(name, isolated=False)


# What comes back


class Runs(nn.Module):
    """A layer before which something else runs."""

    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__()
        self.linear, self.run = nn.Linear(8, 8), run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.run()
        return self.linear(x)


def in_a_child(run: Callable[[], Any]) -> Callable[[], Any]:
    """Run in any process but this one, which it may end."""
    here = os.getpid()
    return lambda: run() if os.getpid() != here else None


def both_ways(model: nn.Module, **options: Any) -> tuple[CostModel, CostModel]:
    def told(isolated: bool) -> tuple[CostModel, list[str]]:
        said: list[str] = []
        return trace(model, isolated=isolated, warn=said.append, **options), said

    (forked, said), (here, also) = told(isolated=True), told(isolated=False)
    assert said == also
    return forked, here


def sizes_are_limited(x: torch.Tensor) -> torch.Tensor:
    torch._assert(x.shape[3] == 36, "Wrong width")
    return x + 1 if x.shape[2] > 9 else x


class Calls(nn.Module):
    """A function, then a convolution and what has no size of its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.conv(self.function(x)).sort(-1).values


def test_the_costs_are_those_of_a_trace_in_this_process(tmp_path: Any) -> None:
    """Ranges, pins, their places, and how each formula is written."""
    forked, here = both_ways(Calls(sizes_are_limited), inputs=("x: float32[B,3,H,W]",), at={"H": 32, "W": 36})
    assert forked == here
    assert forked.symbols["H"].where == here.symbols["H"].where
    assert "test_isolation.py" in forked.fixed["W"].where
    for name, costs in (("forked", forked), ("here", here)):
        save(costs, tmp_path / name)
    assert (tmp_path / "forked").read_text() == (tmp_path / "here").read_text()


def test_an_empty_batch_is_no_other_there() -> None:
    forked, here = both_ways(nn.Linear(8, 8), inputs=(torch.zeros(0, 8),))
    assert forked == here


def test_a_result_larger_than_a_pipe_holds_comes_through() -> None:
    forked, here = both_ways(nn.Sequential(*(nn.Linear(8, 8) for _ in range(300))), inputs=(torch.ones(2, 8),))
    assert forked == here
    assert len(forked.layers) == 300


def test_leaves_and_all_other_options_reach_the_child() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU()))
    forked, here = both_ways(model, inputs=("input: float32[B,8]",), leaves=["1"], at={"B": 3})
    assert forked == here
    assert list(forked.unknown) == ["fxcost.leaf.default"]


def test_warnings_are_told_here_and_in_their_order() -> None:
    """Two sizes are pinned, each told on its own; told by the parent, whose list it is."""

    def pinned(x: torch.Tensor) -> torch.Tensor:
        torch._assert(x.shape[2] == 32, "Wrong height")
        torch._assert(x.shape[3] == 36, "Wrong width")
        return x

    said: list[str] = []
    trace(Calls(pinned), inputs=("x: float32[B,3,H,W]",), at={"H": 32, "W": 36}, warn=said.append, isolated=True)
    assert [text[:1] for text in said] == ["H", "W"]


def raised(run: Callable[[], Any], isolated: bool = True, **options: Any) -> FxcostError:
    with pytest.raises(FxcostError) as found:
        trace(Runs(run), inputs=(ROWS,), isolated=isolated, **options)
    return found.value


def fails() -> None:
    raise ValueError("no such weather")


def test_errors_come_back_as_what_they_were() -> None:
    forked, here = raised(fails), raised(fails, isolated=False)
    assert type(forked) is type(here) is TraceError
    assert str(forked) == str(here)
    with pytest.raises(UnknownOperatorsError, match="fxcost.leaf") as found:
        trace(Runs(lambda: None), inputs=(ROWS,), leaves=["linear"], strict=True, isolated=True)
    assert found.value.exit_code == 3


def test_an_error_of_a_class_that_only_the_child_knows_is_the_nearest_known() -> None:
    def fails_anew() -> None:
        class LocalError(TraceError):
            pass

        raise LocalError("far from home")

    error = raised(fails_anew)
    assert (type(error), str(error)) == (TraceError, "far from home")


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (lambda: sys.exit(3), "tracing Runs raised SystemExit: 3"),
        (lambda: os._exit(3), "that process ended without a word"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "that process ended by SIGKILL"),
    ],
    ids=["leaves Python", "ends the process", "is killed"],
)
def test_whatever_ends_a_child_is_told_in_two_lines(run: Callable[[], Any], told: str) -> None:
    message = str(raised(in_a_child(run)))
    assert told in message
    assert len(message.splitlines()) == 2


# Children that stand still, and what is left of them


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Any:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert not set(os.listdir("/proc/self/fd")) - before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_child_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, as by a lock that a thread of the parent holds in C: no budget of its own can end it."""
    monkeypatch.setattr(isolation, "MARGIN_SECONDS", 0.0)
    message = str(raised(in_a_child(lambda: os.kill(os.getpid(), signal.SIGSTOP)), budget=0.5))
    assert "tracing Runs in a child process stood still for 0.5 s" in message
    assert "isolated=False" in message


class Slow:
    """The end of a pipe at which each message comes after so many looks."""

    def __init__(self, *messages: tuple[int, bytes]) -> None:
        self.left = list(messages)

    def poll(self, _: float) -> bool:
        looks, message = self.left[0]
        self.left[0] = looks - 1, message
        return looks <= 0

    def recv_bytes(self) -> bytes:
        return self.left.pop(0)[1]


def test_the_margin_counts_from_the_last_that_a_child_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that works as long as its budget allows is not taken for one that stands still."""
    now, said = itertools.count(), list[str]()
    monkeypatch.setattr(isolation.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(isolation, "MARGIN_SECONDS", 5.0)
    monkeypatch.setattr(isolation._Child, "has_ended", lambda _: False)

    def follow(*messages: tuple[int, bytes]) -> bytes:
        receiver: Any = Slow(*messages)
        return isolation._followed(isolation._Child(0), receiver, "tracing", 0.0, said.append)

    assert follow((1, b"began20"), (15, b"said.one"), (1, b"began20"), (15, b"foundit")) == b"it"
    assert said == ["one"]
    with pytest.raises(FxcostError, match="stood still for 25 s"):
        follow((1, b"began20"), (40, b"foundit"))
    with pytest.raises(FxcostError, match="stood still for 5 s"):
        follow((15, b"foundit"))


def test_a_lock_that_another_thread_holds_ends_with_the_budget() -> None:
    lock = threading.Lock()
    with lock:
        message = str(raised(in_a_child(lock.acquire), budget=0.2))
    assert "took longer than 0.2 s" in message


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_interrupts_the_parent_ends_its_child(error: type[BaseException]) -> None:
    """By what is told meanwhile; the child would then run for long."""

    def interrupts(_: str) -> None:
        raise error

    def works(say: Callable[[str], None]) -> bytes:
        say("now")
        while True:
            signal.pause()

    with pytest.raises(error):
        isolation.in_child(works, "waiting", 1000, interrupts)


def test_signal_handlers_of_the_parent_do_not_run_in_a_child() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert "SIGTERM" in str(raised(in_a_child(lambda: os.kill(os.getpid(), signal.SIGTERM))))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_children_that_the_system_waits_for_are_no_trouble() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert trace(nn.Linear(8, 8), inputs=("input: float32[B,8]",)).at(B=1).total.macs == ROW_MACS
    finally:
        signal.signal(signal.SIGCHLD, before)


# Where traces are made


def macs() -> int:
    return trace(nn.Linear(8, 8), inputs=("input: float32[B,8]",)).at(B=1).total.macs  # pyright: ignore[reportReturnType]


def test_beside_threads_that_compute_and_from_several_at_once() -> None:
    done = threading.Event()
    found: list[int] = []
    held = torch.randn(1000, 1000)
    _ = held @ held

    def computes() -> None:
        matrix = torch.randn(300, 300)
        while not done.is_set():
            _ = matrix @ matrix

    busy = [threading.Thread(target=computes) for _ in range(2)]
    tracing = [threading.Thread(target=lambda: found.append(macs())) for _ in range(3)]
    try:
        for each in (*busy, *tracing):
            each.start()
        for each in tracing:
            each.join()
        # A large real operation in the child, which has none of the threads that did it in its parent
        large = trace(Runs(lambda: held @ held), inputs=(ROWS,), isolated=True, budget=20)
    finally:
        done.set()
        for each in busy:
            each.join()
    assert found == [ROW_MACS] * 3
    assert large.symbols.keys() == {"B"}


def test_in_a_loop_of_asyncio() -> None:
    async def main() -> tuple[int, int]:
        in_a_thread = await asyncio.get_running_loop().run_in_executor(None, macs)
        return macs(), in_a_thread

    before = set(os.listdir("/proc/self/fd"))
    assert asyncio.run(main()) == (ROW_MACS, ROW_MACS)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_in_a_daemon() -> None:
    """Which may have no children by Python's own means."""
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)
    daemon = processes.Process(target=lambda: sender.send(macs()), daemon=True)
    with receiver, sender:
        daemon.start()
        assert receiver.recv() == ROW_MACS
        daemon.join()
    daemon.close()


def test_a_compiled_module_stays_compiled() -> None:
    model = nn.Linear(8, 8)
    model.compile(backend="eager")
    before = image(model)
    assert trace(model, inputs=("input: float32[B,8]",), isolated=True).at(B=1).total.macs == ROW_MACS
    assert image(model) == before
    assert model(torch.ones(2, 8)).shape == (2, 8)


def run(code: str, *options: str) -> str:
    """What a program prints that has so long that only one that stands still needs it."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout


def test_what_the_parent_has_not_printed_yet_is_printed_once_and_the_child_prints_nothing() -> None:
    code = (
        "import os, sys, torch\nfrom torch import nn\nimport fxcost\n"
        "class Says(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('here', file=sys.__stdout__, flush=True); os.write(1, b'there'); return super().forward(x)\n"
        "print('once', end=' ')\n"
        "print(fxcost.trace(Says(8, 8), inputs=('input: float32[B,8]',)).total.macs)\n"
    )
    assert run(code) == "once 64*B\n"


DEBUGGED = """
import cProfile, sys, threading
import fxcost
from torch import nn

lines = []
def follow(frame, event, argument):
    lines.append(frame.f_lineno)
    return follow

def after():
    total = 0
    for number in range(3):
        total += number
    return total

def trace(**options):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    return fxcost.trace(model, inputs=("input: float32[B,8]",), **options).at(B=1).total.macs

def traced(isolated):
    sys.settrace(follow)
    assert trace(isolated=isolated) == 64
    assert sys.gettrace() is follow
    before = len(lines)
    assert after() == 3
    sys.settrace(None)
    assert len(lines) > before + 8

for isolated in (True, False):
    trace(isolated=isolated)
    traced(isolated)
    thread = threading.Thread(target=traced, args=(isolated,))
    thread.start()
    thread.join()
    for _ in range(2):
        profile = cProfile.Profile()
        assert profile.runcall(trace, isolated=isolated) == 64
        assert profile.runcall(after) == 3
print("through")
"""


def test_debuggers_and_profilers_run_through_a_trace_and_after_it() -> None:
    """Coverage is such a debugger. After each budget of Python 3.11 the next traced call used to stand still."""
    assert run(DEBUGGED) == "through\n"


# Where there is no child


def test_where_no_process_is_forked_it_is_told_and_the_model_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    def another() -> tuple[nn.Module, list[str]]:
        said: list[str] = []
        model, _ = KINDS["frozen_dictionary"]()
        assert trace(model, inputs=(ROWS,), warn=said.append, isolated=True).at(B=1).total.macs == ROW_MACS
        return model, said

    patches: tuple[tuple[str, str, Any], ...] = (
        ("platform", "no process is safely forked on darwin", (isolation.sys, "platform", "darwin")),
        ("CUDA", "a process that uses CUDA is not safely forked", (torch.cuda, "is_initialized", lambda: True)),
        ("system", "the system forks no process (Resource temporarily unavailable)", (os, "fork", refuse)),
    )
    for name, reason, patch in patches:
        with monkeypatch.context() as patched:
            patched.setattr(*patch)
            model, said = another()
        assert said == [f"Model is traced in this process, and what its modules hold put back: {reason}"], name
        assert dict(model.config) == {"width": 8, "depth": 2}  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert another()[1] == []


def test_a_reference_builds_a_model_of_its_own_and_needs_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", None)
    assert trace("torch.nn:Identity", inputs=("input: float32[B,8]",)).total.macs == 0


# TorchScript


class ReadsSizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        b, c, h, w = y.shape
        return self.linear(y.view(b, c, h * w).permute(0, 2, 1))


def test_torchscript_that_reads_sizes_is_traced_at_those_asked_for_and_it_is_said() -> None:
    said: list[str] = []
    model = nn.Sequential(torch.jit.script(ReadsSizes()))
    costs = trace(model, inputs=("input: float32[B,3,H,W]",), at={"B": 2, "H": 5, "W": 7}, warn=said.append)
    assert costs.symbols == {}
    assert {name: pin.value for name, pin in costs.fixed.items()} == {"B": 2, "H": 5, "W": 7}
    assert costs.at().total.macs == 2 * 5 * 7 * (4 * 3 * 9 + 4 * 4)
    # Where torch takes sizes for numbers by itself, as 2.14 does, each is told.
    assert "0 is TorchScript" in said[0] or said[0].startswith("B is fixed at 2")


def test_torchscript_that_does_not_run_is_named() -> None:
    with pytest.raises(FxcostError, match="^0 is TorchScript, which does not run here"):
        trace(nn.Sequential(torch.jit.script(nn.Linear(8, 8))), inputs=("input: float32[B,9]",))


@pytest.mark.parametrize("isolated", [True, False])
def test_lazy_modules_stay_lazy(isolated: bool) -> None:
    """A first call gives them parameters and another class, which only a copy may take on."""
    model = nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d()).eval()
    costs = trace(model, inputs=("input: float32[B,8]",), isolated=isolated)
    assert costs.at(B=3).total.macs == 3 * 8 * 16
    assert [type(each) for each in model] == [nn.LazyLinear, nn.LazyBatchNorm1d]
    assert model(torch.zeros(2, 5)).shape == (2, 16)


@pytest.mark.parametrize("isolated", [True, False])
def test_lazy_modules_that_cannot_be_copied_are_told(isolated: bool) -> None:
    model = nn.Sequential(nn.LazyLinear(16))
    vars(model)["lock"] = threading.Lock()
    told = "^Sequential has lazy modules and cannot be copied: cannot pickle '_thread.lock' object\nCall it once before"
    with pytest.raises(FxcostError, match=told):
        trace(model, inputs=("input: float32[B,8]",), isolated=isolated)
    model(torch.zeros(2, 8))
    assert trace(model, inputs=("input: float32[B,8]",), isolated=isolated).at(B=3).total.macs == 3 * 8 * 16

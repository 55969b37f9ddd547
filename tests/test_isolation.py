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

from fxcost import isolation
from fxcost.analysis import trace
from fxcost.costs import CostModel
from fxcost.errors import FxcostError, UnknownOperatorsError
from fxcost.tracing import TraceError

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
        keep.calls += 1
        return keep.calls

    keep.calls = 0
    return Model(keep), lambda: keep.calls


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

    return Model(keep), lambda: Other.scale()


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
        self.linear.register_forward_hook(lambda _, __, output: output * 2)
        return 1

    return Model(keep)


@kind
def hook_that_forward_removes():
    def keep(self, x):
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
        return 1

    model = Model(keep)
    model.handle = model.linear.register_forward_hook(lambda _, __, output: output * 2)
    return model


@kind
def hook_that_counts():
    model = Model(lambda self, x: len(self.calls) + 1, calls=[])
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
    model = torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.zeros(3, 8))
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
    if isinstance(value, nn.parameter.UninitializedTensorMixin):
        return "uninitialized"
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
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


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

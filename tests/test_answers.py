"""What a model asks of its surroundings: costs are those of a plain run, or what was answered is told, or it is refused."""

import contextlib
import copy
import logging
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.backends import mha
from torch.nn import functional

from fxcost.api import trace
from fxcost.costs.model import NOT_RUN, CostModel
from fxcost.errors import FxcostError
from fxcost.tracing.environment.answers import AS_EXPORTED, NO_FAST_PATH
from fxcost.tracing.recording.replay import FIRST_CALL

INPUT = "x: float32[B,8]"


class Either(nn.Module):
    """A large matrix where a question is answered with yes, else a small one."""

    def __init__(self, asks: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.asks, self.large, self.small = asks, nn.Linear(8, 80), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.large(x) if self.asks(x) else self.small(x)


def macs(costs: CostModel, **at: int) -> int:
    return int(costs.at(at).total.macs)


THREADS = torch.get_num_threads()
PLAIN: dict[str, Callable[[torch.Tensor], Any]] = {
    "compiling": lambda _: torch.compiler.is_compiling(),
    "exporting": lambda _: torch.compiler.is_exporting(),
    "dynamo": lambda _: torch.compiler.is_dynamo_compiling(),
    "the device's type": lambda x: x.device.type != "cpu",
    "the device": lambda x: x.device == torch.device("meta"),
    "the device's text": lambda x: "meta" in str(x.device),
    "whether it is without memory": lambda x: x.is_meta,
    "whether it is on the CPU": lambda x: not x.is_cpu,
    "the default device": lambda _: torch.get_default_device().type != "cpu",
    "a new tensor's device": lambda x: torch.zeros(1, device=x.device).is_meta,
    "the fast path": lambda _: not mha.get_fastpath_enabled(),
    "a storage's device": lambda x: x.untyped_storage().device.type != "cpu",
    "a type's name": lambda x: x.type() != "torch.FloatTensor",
    "where it lies": lambda x: x.data_ptr() == 0 or x.data_ptr() % 16 != 0,
    "whether two lie at one place": lambda x: x.data_ptr() == (x + 1).data_ptr(),
    "whether two storages do": lambda x: x.untyped_storage().data_ptr() == (x + 1).untyped_storage().data_ptr(),
    "whether a view lies elsewhere": lambda x: x.untyped_storage().data_ptr() != x[1:].untyped_storage().data_ptr(),
    "the number of threads": lambda _: torch.get_num_threads() != THREADS,
    "gradients": lambda _: torch.is_grad_enabled(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_questions_are_answered_as_in_a_plain_run(name: str) -> None:
    with torch.no_grad():
        assert not PLAIN[name](torch.zeros(2, 8))
    costs = trace(Either(PLAIN[name]), inputs=(INPUT,))
    assert macs(costs, B=1) == 8 * 8
    assert AS_EXPORTED not in costs.assumptions


def test_a_model_that_decides_by_data_unless_it_is_exported_runs_as_exported_and_says_so() -> None:
    costs = trace(Either(lambda x: torch.compiler.is_compiling() or bool(x.sum() > 0)), inputs=(INPUT,))
    assert macs(costs, B=1) == 8 * 80
    assert AS_EXPORTED in costs.assumptions


def test_that_torchs_own_layers_run_without_their_fast_path_is_said() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    costs = trace(layer, inputs=("src: float32[B,S,8]",), at={"S": 5})
    assert NO_FAST_PATH in costs.assumptions
    assert mha.get_fastpath_enabled()
    assert NO_FAST_PATH not in trace(nn.Linear(8, 8), inputs=(INPUT,)).assumptions


def swallowing(asks: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], bool]:
    def ask(x: torch.Tensor) -> bool:
        try:
            asks(x)
        except Exception:  # noqa: BLE001  # what is tested: a model that goes on
            return False
        return True

    return ask


DATA: dict[str, Callable[[torch.Tensor], Any]] = {
    "truth": lambda x: bool(torch.isfinite(x).all()),
    "a number": lambda x: x.sum().item(),
    "a list": lambda x: x[0].tolist(),
    "an array": lambda x: x.numpy(),
    "NumPy's array": np.asarray,
    "equality": lambda x: torch.equal(x, x + 1),
    "closeness": lambda x: torch.allclose(x, x + 1),
    "where it is not 0": lambda x: x.nonzero(),
    "what a mask leaves": lambda x: x[x > 0],
    "what is unique": lambda x: x.unique(),
    "a size": lambda x: int(x.sum()),
    "a comparison": lambda x: x.max() > 0 and True,
    "a range": lambda x: list(range(x.argmax())),
    "repeats": lambda x: x.repeat_interleave(x[0].long(), 1),
}


@pytest.mark.parametrize("name", DATA)
def test_a_swallowed_error_of_missing_data_is_still_a_decision_by_data(name: str) -> None:
    assert swallowing(DATA[name])(torch.ones(2, 8).abs())
    with pytest.raises(FxcostError, match="decides by the values of its data"):
        trace(Either(swallowing(DATA[name])), inputs=(INPUT,))


def test_a_swallowed_error_of_shapes_is_as_in_a_plain_run() -> None:
    def fits(x: torch.Tensor) -> bool:
        with contextlib.suppress(RuntimeError):
            x.view(-1, 7, 9)
            return True
        return False

    assert macs(trace(Either(fits), inputs=(INPUT,)), B=1) == 8 * 8


class InThreads(nn.Module):
    """Two layers, each run by a way of its own."""

    def __init__(self, run: Callable[[list[Callable[[], torch.Tensor]]], list[torch.Tensor]]) -> None:
        super().__init__()
        self.run, self.near, self.far = run, nn.Linear(8, 8), nn.Linear(8, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near, far = self.run([lambda: self.near(x), lambda: functional.linear(x, self.far.weight)])
        return near + far[..., :8]


def in_a_pool(work: list[Callable[[], torch.Tensor]]) -> list[torch.Tensor]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: each(), work))


OLD_POOL = ThreadPoolExecutor(1)


def in_an_old_pool(work: list[Callable[[], torch.Tensor]]) -> list[torch.Tensor]:
    return [OLD_POOL.submit(each).result() for each in work]


def in_a_thread(work: list[Callable[[], torch.Tensor]]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for each in work:
        thread = threading.Thread(target=lambda each=each: found.append(each()))
        thread.start()
        thread.join()
    return found


def one_here(work: list[Callable[[], torch.Tensor]]) -> list[torch.Tensor]:
    return [work[0](), *in_a_thread(work[1:])]


@pytest.mark.parametrize("run", [in_a_pool, in_an_old_pool, in_a_thread])
def test_work_that_is_not_seen_is_unknown(run: Any) -> None:
    costs = trace(
        InThreads(run),
        inputs=(INPUT,),
        warn=lambda _: None,
        isolated=run is not in_an_old_pool,  # a child has no threads but one
    )
    assert {op: len(names) for op, names in costs.unknown.items()} == {"fxcost.unseen.default": 2}
    assert not any(text.startswith(NOT_RUN) for text in costs.assumptions)  # nobody knows


def test_what_is_seen_of_it_is_counted() -> None:
    costs = trace(InThreads(one_here), inputs=(INPUT,), warn=lambda _: None)
    assert macs(costs, B=1) == 8 * 8
    assert list(costs.unknown) == ["fxcost.unseen.default"]


TABLE, NUMBERS = torch.ones(8), [1.0] * 8
MADE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a tensor of a list": lambda x: x * torch.tensor(NUMBERS),
    "a tensor of an array": lambda x: x * torch.from_numpy(np.ones(8, np.float32)),
    "as a tensor": lambda x: x * torch.as_tensor(NUMBERS)[None],
    "a global table": lambda x: x * TABLE,
    "a part of a global table": lambda x: x * TABLE[: x.shape[1]],
    "a list of places": lambda x: x[:, [0, 3]],
    "a number": lambda x: x * torch.tensor(2.0),
    "a cache": lambda x: x * cached(x),
}


def cached(x: torch.Tensor, held: dict[str, torch.Tensor] = {}) -> torch.Tensor:  # noqa: B006  # what is tested
    if "table" not in held:
        held["table"] = torch.ones(8, device=x.device)
    return held["table"]


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_numbers_or_held_outside_is_no_unseen_work(name: str) -> None:
    model = Either(lambda x: not MADE[name](x).shape)
    costs = trace(model, inputs=(INPUT,))
    assert not costs.unknown
    assert macs(costs, B=1) == 8 * 8


@dataclass(frozen=True)
class Key:
    number: int


def asserted(text: str) -> bool:
    try:
        assert text == "8"
    except AssertionError:
        return False
    return True


def raised(size: Any) -> str:
    try:
        raise KeyError(f"{size}")  # noqa: TRY301  # what is tested
    except KeyError as error:
        return error.args[0]


NUMBERED: dict[int, torch.Tensor] = {}


def numbered(size: Any) -> Any:
    if size not in NUMBERED:
        NUMBERED[size] = torch.arange(size)
    return NUMBERED[size].shape[0]


@cache
def remembered(size: Any) -> Any:
    return torch.arange(size).shape[0]


TEXT: dict[str, Callable[[Any], bool]] = {
    "text": lambda size: str(size) == "8",
    "a representation": lambda size: repr(size) == "8",
    "a formatted text": lambda size: f"{size}" == "8",
    "with a form": lambda size: f"{size:03d}" == "008",
    "a percent": lambda size: "%s" % size == "8",  # noqa: UP031
    "format": lambda size: "{}".format(size) == "8",  # noqa: UP032
    "joined": lambda size: "x".join(map(str, (size, size))) == "8x8",
    "a fraction's text": lambda size: str(size / 2) == "4.0",
    "a set": lambda size: size in {8, 16},
    "a key": lambda size: {8: True}.get(size, False),
    "a pair as a key": lambda size: (size, 1) in {(8, 1), (0, 1)},
    "a hash": lambda size: hash(size) == hash(8),
    "pickled": lambda size: pickle.loads(pickle.dumps(size)) == 8,  # noqa: S301
    "in an f-string with more": lambda size: f"of {size}, no more" == "of 8, no more",
    "text of an assertion": lambda size: asserted(f"{size}"),
    "text of an error that is caught": lambda size: raised(size) == "8",
    "text of a logarithm": lambda size: math.log2(int(f"{size}")) == 3,
    "text of a dataclass": lambda size: repr(Key(size)).endswith("=8)"),
    "text in code without a file": eval("lambda size: str(size) == '8'"),  # noqa: S307  # as in a notebook
    "bits": lambda size: size & 1 == 0,
    "a table outside": lambda size: numbered(size) == 8,
    "a cache": lambda size: remembered(size) == 8,
    "a module's name": lambda size: str(size) in nn.ModuleDict({"8": nn.ReLU()}),
}


@pytest.mark.parametrize("name", TEXT)
def test_a_size_that_reaches_text_or_a_table_is_held_and_told(name: str) -> None:
    told: list[str] = []
    model = Either(lambda x: TEXT[name](x.shape[1]))
    costs = trace(model, inputs=("x: float32[B,S,8]",), at={"S": 8}, warn=told.append)
    assert costs.fixed["S"].value == 8
    assert any(place in costs.fixed["S"].where for place in ("test_answers.py", "<string>"))
    assert any("S is fixed at 8" in text for text in told)
    assert macs(costs, B=1) == 8 * 8 * 80
    other = trace(model, inputs=("x: float32[B,S,8]",), at={"S": 9}, warn=lambda _: None)
    assert macs(other, B=1) == 9 * 8 * 8


@pytest.mark.parametrize("above", [0, 5])
def test_a_size_that_python_asks_for_its_kind_is_held(above: int) -> None:
    """Also where nothing is otherwise at the lowest size."""
    model = Either(lambda x: is_an_int(x.shape[1]) and x.shape[1] > above)
    costs = trace(model, inputs=("x: float32[B,S,8]",), at={"S": 6}, warn=lambda _: None)
    assert macs(costs, B=1) == 6 * 8 * 80
    assert "S" in costs.fixed


def is_an_int(size: Any) -> bool:
    return isinstance(size, int)


def asserting(x: torch.Tensor) -> bool:
    torch._assert(x.shape[1] > 0, f"a length of {x.shape[1]} for {x.shape}")
    assert x.dim() == 3, f"no sequence: {x.shape}"
    logging.getLogger("model").debug("a length of %s, %s", x.shape[1], f"{x.shape}")
    if x.shape[0] < 1:
        raise ValueError(f"a batch of {x.shape[0]}")
    copy.deepcopy(x.shape[1])
    return False


def test_text_of_messages_holds_nothing() -> None:
    costs = trace(Either(asserting), inputs=("x: float32[B,S,8]",), at={"S": 6})
    assert set(costs.symbols) == {"B", "S"}


def test_libraries_that_go_around_sizes_without_a_hash_keep_them_free() -> None:
    def tries(x: torch.Tensor) -> bool:
        try:
            hash(x.shape[1])
        except TypeError:
            return False
        return False

    assert set(trace(Either(tries), inputs=("x: float32[B,S,8]",), at={"S": 6}).symbols) == {"B", "S"}


BATCHES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "iterated": lambda x: torch.stack([each * 2 for each in x]),
    "unbound": lambda x: torch.stack(x.unbind(0)),
    "its length": lambda x: x.view(len(x), -1, 8),
    "its text": lambda x: x if str(x.shape[0]) == "1" else x.relu(),
    "a range": lambda x: torch.cat([x[i : i + 1] for i in range(x.shape[0])]),
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_must_be_held_is_held_at_the_size_that_was_asked_for(name: str, batch: int) -> None:
    model = nn.Sequential(Calling(BATCHES[name]), nn.Linear(8, 8))
    costs = trace(model, inputs=("x: float32[B,S,8]",), at={"B": batch, "S": 6}, warn=lambda _: None)
    assert costs.fixed["B"].value == batch
    assert "S" in costs.symbols
    assert int(costs.at(S=7).total.macs) == batch * 7 * 8 * 8


class Calling(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def test_how_a_tensor_lies_is_held_against_the_sizes_that_were_asked_for() -> None:
    """At a batch of one a transposed tensor is contiguous, at two it is not: formulas for both would be wrong for one."""
    costs = trace(
        Either(lambda x: x.transpose(0, 1).is_contiguous()),
        inputs=("x: float32[B,S,8]",),
        at={"S": 6},
        warn=lambda _: None,
    )
    assert macs(costs) == 6 * 8 * 80
    assert costs.fixed["B"].value == 1


def test_a_model_that_does_otherwise_in_its_first_call_is_counted_as_later_and_says_so() -> None:
    calls = iter(range(100))
    costs = trace(Either(lambda _: next(calls) > 0), inputs=(INPUT,))
    assert macs(costs, B=1) == 8 * 80
    assert FIRST_CALL in costs.assumptions

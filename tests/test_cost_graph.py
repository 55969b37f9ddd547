"""Who feeds whom: storages, tensors and accesses, as traced, saved and read back."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.api import load, trace
from fxcost.costs.files.repeats import folded, unfolded
from fxcost.errors import FxcostError
from fxcost.formulas.evaluation import evaluate


class Block(nn.Module):
    """A product, a sum in place, and a view of the input that the next block reads."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x)).add_(x).view(-1, 6)


class Deep(nn.Module):
    """Blocks that are alike, and a head whose weight is that of the table."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.head = nn.Linear(6, 10, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def deep(blocks: int) -> Any:
    return trace(Deep(blocks), inputs=("ids: int64[B]",), warn=lambda _: None)


def test_tensors_live_in_storages_and_count_the_writes_in_place() -> None:
    graph = deep(1).graph
    by_name = {each.name: each for each in graph.storages if each.name}
    assert {name: each.role for name, each in by_name.items()} == {
        "input_0": "input",
        "table.weight": "weight",
        "blocks.0.linear.weight": "weight",
        "blocks.0.linear.bias": "weight",
        "blocks.0.norm.weight": "weight",
        "blocks.0.norm.bias": "weight",
        "blocks.0.norm.running_mean": "buffer",
        "blocks.0.norm.running_var": "buffer",
    }
    made = [each.role for each in graph.storages if not each.name]
    assert made == ["activation", "activation", "activation", "output"]  # rows, product, norm with the sum, scores
    assert [str(by_name[name].elements) for name in ("input_0", "table.weight")] == ["B", "60"]
    versions = [
        each.version for each in graph.tensors if graph.storages[each.storage] is graph.storages[made_at(graph, 2)]
    ]
    assert versions == [0, 1]  # as normalised, and with the sum, of which the view has all
    (returned,) = graph.outputs
    assert list(map(str, graph.tensors[returned].shape)) == ["B", "10"]


def made_at(graph: Any, index: int) -> int:
    """The place of a storage among all, by its place among those that operations make."""
    return [place for place, each in enumerate(graph.storages) if not each.name][index]


class Parts(nn.Module):
    """Parts of a weight, of a buffer and of the input are used first; shapes are changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 8, 8))
        self.table: torch.Tensor
        self.register_buffer("table", torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x[:, :3].sum(1, keepdim=True) + x @ self.weight[1] + self.table[1:3].sum()
        return y.unsqueeze_(0).squeeze_(0).t_() * 2


def test_a_storage_is_as_large_as_it_is_and_views_write_nothing() -> None:
    graph: Any = trace(Parts(), inputs=("x: float32[B,8]",), warn=lambda _: None).graph
    sizes = {each.name: str(each.elements) for each in graph.storages if each.name}
    assert sizes == {"input_0": "8*B", "weight": "256", "table": "16"}
    assert {each.version for each in graph.tensors} == {0}


def test_who_reads_what_another_wrote() -> None:
    """Each tensor that an operation is given is a weight, an input, or one that an operation before it gave, or a view of one."""
    costs = deep(2)
    graph = costs.graph
    written: set[int] = set()
    for layer in costs.layers:
        for _, tensor in layer.edges.inputs:
            storage = graph.tensors[tensor].storage
            assert graph.storages[storage].name or storage in written, layer.name
        written |= {graph.tensors[tensor].storage for tensor in layer.edges.outputs}
    add = next(layer for layer in costs.layers if "add" in layer.op)
    (given, other), (gives,) = [tensor for _, tensor in add.edges.inputs], add.edges.outputs
    assert graph.tensors[given].storage == graph.tensors[gives].storage != graph.tensors[other].storage
    moved = {access.tensor: (str(access.read), str(access.written)) for access in add.edges.accesses}
    assert moved == {given: ("6*B", "0"), other: ("6*B", "0"), gives: ("0", "6*B")}


def test_counts_are_sums_of_accesses() -> None:
    costs = trace("resnet18", warn=lambda _: None).at()
    for layer in costs.layers:
        point = costs.sizes
        read = sum(int(evaluate(access.read, point)) for access in layer.edges.accesses)
        assert read == sum(int(n) for by in layer.cost.reads.values() for n in by.values())


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        deep(3).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_blocks_that_repeat_are_written_once(tmp_path: Path) -> None:
    sizes: list[int] = []
    for blocks in (10, 40):
        costs = deep(blocks)
        costs.save(tmp_path / "x.json")
        assert load(tmp_path / "x.json") == costs
        sizes.append((tmp_path / "x.json").stat().st_size)
    assert sizes[1] < sizes[0] + 200


def test_rows_that_nobody_asks_for_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model is read and evaluated in a fraction of the time that its rows take."""
    costs = deep(3)
    costs.save(tmp_path / "x.json")
    total = costs.at(B=3).total
    monkeypatch.setattr("fxcost.costs.files.saved.names_of", refuse)
    monkeypatch.setattr("fxcost.costs.files.saved.Storage", refuse)
    monkeypatch.setattr("fxcost.costs.files.saved.StoredTensor", refuse)
    monkeypatch.setattr("fxcost.costs.model.LayerCost.map", refuse)
    numbers = load(tmp_path / "x.json").at(B=3)
    assert numbers.total == total
    with pytest.raises(NotImplementedError):
        tuple(numbers.layers)


def refuse(*_: object) -> None:
    raise NotImplementedError


def test_models_of_a_file_are_compared_copied_and_pickled(tmp_path: Path) -> None:
    costs = deep(2)
    costs.save(tmp_path / "x.json")

    def read() -> Any:
        return load(tmp_path / "x.json")

    assert read() == costs == copy.deepcopy(read())
    assert read() == read() == pickle.loads(pickle.dumps(read()))  # noqa: S301
    assert costs.at(B=2) == read().at(B=2) != read().at(B=3)
    assert read().layers == tuple(read().layers)
    assert tuple(read().layers) == read().layers
    assert hash(read().graph.storages) == hash(tuple(read().graph.storages))


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 1, 1, 1, 2], [0, ([1], 4), 2]),
        ([5, 0, 1, 2, 0, 1, 2, 0, 1, 2, 7], [5, ([0, 1, 2], 3), 7]),
        ([], []),
    ],
)
def test_a_stretch_that_repeats_is_told_once(order: list[int], told: list[Any]) -> None:
    found = folded(order)
    assert [each if isinstance(each, int) else (each.rows, each.times) for each in found] == told
    assert list(unfolded(found, [1] * 9, "here")) == order


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("graph") / "x.json"
    deep(4).save(path)
    return json.loads(path.read_text())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in a document that are no lists or objects."""
    if isinstance(value, (dict, list)):
        each: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in each:
            yield from places(inner, (*path, key))
    else:
        yield path


STRANGE: list[Any] = [-1, 10**9, 10**40, "x", "", None, [], {}, True, 0.5, "9" * 5000, [0, 0, 0]]


def test_no_value_of_a_file_does_harm(document: dict[str, Any], tmp_path: Path) -> None:
    """A value that another stands for is read as what it says, or refused by name."""
    path = tmp_path / "strange.json"
    read, every = 0, list(places(document))
    for number, place in enumerate(every):
        changed = json.loads(json.dumps(document))
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = STRANGE[number % len(STRANGE)]
        path.write_text(json.dumps(changed))
        with suppress(FxcostError):
            costs = load(path)
            numbers = costs.at()
            read += 1
            rows_of(costs, numbers)
    assert 0 < read < len(every) / 2


def rows_of(costs: Any, numbers: Any) -> list[Any]:
    """All rows that a file stands for, of which nothing is refused once the file is read."""
    try:
        return [*costs.layers, *costs.graph.storages, *costs.graph.tensors, *numbers.layers]
    except FxcostError as error:
        raise AssertionError("told when rows were asked for") from error


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer": (lambda d: d.update(schema_version=3), "newer than 2"),
    "no operations": (lambda d: d.pop("operations"), "operations: Field required"),
    "code": (lambda d: d["formulas"].append("__import__('os')"), "formulas"),
    "endless blocks": (lambda d: d["operations"]["order"].append({"rows": [0], "times": 10**6}), "more than 250,000 rows"),
    "endless storages": (lambda d: d["storages"]["order"].extend([{"rows": [0] * 9, "times": 10**6}] * 9), "more than 250,000"),
    "empty blocks": (lambda d: d["operations"]["order"].append({"rows": [], "times": 10**6}), "operations.order"),
    "wide rows": (
        lambda d: (
            d["operations"]["kinds"][0].update(inputs=[[0, 0]] * 2000),
            d["operations"]["order"].append({"rows": [0], "times": 20_000}),
        ),
        "4,000,000 values",
    ),
    "wide tensors": (
        lambda d: (
            d["tensors"]["kinds"][0].update(shape=[0] * 5000),
            d["tensors"]["order"].append({"rows": [0], "times": 10_000}),
        ),
        "4,000,000 values",
    ),
    "endless modules": (lambda d: d["modules"]["inside"].update({"0..999999999": {"type": "X"}}), "more than 250,000 modules"),
    "long names": (
        lambda d: d["modules"]["inside"].update({"a" * 10**6: {"inside": {"0..9999": {"type": "X"}}}}),
        "paths of 50,000,000 letters",
    ),
    "no such kind": (lambda d: d["operations"]["order"].append(99), "there is no row 99"),
    "no such formula": (lambda d: d["operations"]["kinds"][0].update(vector=9999), "there is no formula 9999"),
    "negative": (lambda d: d["operations"]["kinds"][0].update(rule=-1), "there is no rule -1"),
    "no such tensor": (lambda d: d["operations"]["kinds"][0].update(outputs=["77777"]), "there is no tensor 77777"),
    "no such storage": (lambda d: d["tensors"]["kinds"][0].update(storage="77777"), "there is no storage 77777"),
    "no such module": (lambda d: d["operations"]["kinds"][0].update(module=77777), "there is no module 77777"),
    "no tensor so far before": (lambda d: d["operations"]["kinds"][0]["inputs"][0].__setitem__(1, -99), "there is no tensor -99"),
    "no such argument": (lambda d: d["operations"]["kinds"][0]["inputs"][0].__setitem__(0, 99), "there is no argument 99"),
    "no such operator": (lambda d: d["operations"]["kinds"][0].update(operator=99), "there is no operator 99"),
    "called by no module": (lambda d: d["operations"]["kinds"][0].update(called_as=77777), "there is no module 777"),
    "no such holder": (lambda d: d["storages"]["kinds"][0].update(module=-99), "there is no module -"),
    "no such shape": (lambda d: d["tensors"]["kinds"][0]["shape"].append(9999), "there is no formula 9999"),
    "no such finding": (lambda d: d["operations"]["kinds"][0].update(extra=[["found", 9999]]), "there is no formula 9999"),
    "no such output": (lambda d: d.update(outputs=[77777]), "there is no tensor 77777"),
    "dtype": (lambda d: d["tensors"]["kinds"][0].update(dtype="flaot32"), "flaot32"),
    "negative access": (lambda d: d["formulas"].__setitem__(slice(None), ["-B"] * len(d["formulas"])), "a weight of -B elements"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_by_name(
    document: dict[str, Any], tmp_path: Path, edit: Callable[[dict[str, Any]], Any], told: str
) -> None:
    changed = json.loads(json.dumps(document))
    edit(changed)
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    with pytest.raises(FxcostError) as refused:
        load(tmp_path / "changed.json")
    assert told in str(refused.value)
    assert "changed.json" in str(refused.value)

"""What runs is counted, or refused by name: parts of torch's library that look at data, change dtypes or compile."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.utils import rnn
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.tracing import Refusal, TraceError
from fxcost.tracing.environment.answers import NO_SELF_LOOPS
from fxcost.tracing.environment.libraries import FLEX, NO_AUTOCAST, NOT_VALIDATED
from fxcost.tracing.environment.random_draws import DRAWN

WIDTH = 8
INPUT = f"x: float32[B,{WIDTH}]"


class Runs(nn.Module):
    """A linear layer, a stack of matrices, and a function of the input that uses them."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.linear, self.run = nn.Linear(WIDTH, WIDTH), run
        self.stack = nn.Parameter(torch.ones(4, WIDTH, WIDTH))

    def forward(self, x: torch.Tensor, **others: Any) -> Any:
        return self.run(self, x, **others)


d = torch.distributions
DISTRIBUTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "a normal": lambda m, x: d.Normal(m.linear(x), x.exp()).rsample(),
    "bits": lambda m, x: d.Bernoulli(m.linear(x).sigmoid()).sample(),
    "classes": lambda m, x: d.Categorical(logits=m.linear(x)).log_prob(x[:, 0]),
    "asked to validate": lambda m, x: d.Normal(m.linear(x), x.exp(), validate_args=True).log_prob(x),
    "independent": lambda m, x: d.Independent(d.Normal(m.linear(x), x.exp()), 1).log_prob(x),
    "transformed": lambda m, x: d.TransformedDistribution(
        d.Normal(m.linear(x), x.exp()), [d.TanhTransform()]
    ).rsample(),
    "a divergence": lambda m, x: d.kl_divergence(d.Normal(m.linear(x), x.exp()), d.Normal(x, x.exp())),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_are_not_validated_and_it_is_told(name: str) -> None:
    before = d.Distribution._validate_args  # pyright: ignore[reportPrivateUsage]
    costs = trace(Runs(DISTRIBUTIONS[name]), inputs=(INPUT,), isolated=False)
    assert costs.at(B=3).total.macs == 3 * WIDTH * WIDTH
    assert NOT_VALIDATED in costs.assumptions
    assert d.Distribution._validate_args == before  # pyright: ignore[reportPrivateUsage]


def _with_autocast(m: Any, x: Any) -> Any:
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        return m.linear(x)


def _without_autocast(m: Any, x: Any) -> Any:
    with torch.autocast(x.device.type, enabled=False):
        return m.linear(x)


vmap = torch.func.vmap
COUNTED: dict[str, Callable[[Any, Any], Any]] = {
    "autocast": _with_autocast,
    "no autocast": _without_autocast,
    "vmap over weights": lambda m, x: vmap(lambda weight: x @ weight)(m.stack),
    "vmap over rows": lambda m, x: vmap(m.linear)(x),
    "vmap in vmap": lambda m, x: vmap(lambda weight: vmap(lambda row: row @ weight)(x))(m.stack),
    "compiled": lambda m, x: torch.compile(m.linear)(x),
    "a filling of data": lambda m, x: (
        m.linear(x) + torch.full((WIDTH,), x[0, 0]) + x.new_full((WIDTH,), fill_value=x.sum())
    ),
    "attributes": lambda m, x: m.linear(x) @ m.stack[: m.stack.count],
}


@pytest.mark.parametrize("name", COUNTED)
def test_contractions_are_those_that_torch_counts(name: str) -> None:
    model = Runs(COUNTED[name])
    model.stack.count = 2  # pyright: ignore[reportAttributeAccessIssue]
    costs = trace(model, inputs=(INPUT,))
    torch.compiler.set_stance("force_eager")
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(3, WIDTH))
    torch.compiler.set_stance("default")
    assert 2 * costs.at(B=3).total.macs == counter.get_total_flops() > 0
    assert not costs.unknown
    assert costs.rung == "replayed"
    assert (NO_AUTOCAST in costs.assumptions) == (name == "autocast")


def test_a_convolution_under_vmap_is_counted_at_the_batch_that_is_asked_for() -> None:
    """Its batching rule takes the batch for a number: 3 rows of 6 places and 3 weights."""
    model = Runs(lambda m, x: vmap(lambda row: torch.conv1d(row[None, None], m.stack[:1, :1, :3]))(x))
    costs = trace(model, inputs=(INPUT,), at={"B": 3}, warn=lambda _: None)
    assert costs.total.macs == 3 * 6 * 3


def _gradient(m: Any, x: Any) -> Any:
    with torch.enable_grad():
        inner = x.detach().requires_grad_()
        return torch.autograd.grad(m.linear(inner).sum(), inner)[0]


REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "autograd": _gradient,
    "grad": lambda m, x: torch.func.grad(lambda row: m.linear(row).sum())(x),
    "jvp": lambda m, x: torch.func.jvp(m.linear, (x,), (x,))[1],
    "jacobians": lambda m, x: vmap(torch.func.jacrev(m.linear))(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_gradients_within_a_forward_are_refused_by_name(name: str) -> None:
    with pytest.raises(Refusal, match="computes gradients in its forward"):
        trace(Runs(REFUSED[name]), inputs=(INPUT,))


def test_dtypes_that_are_left_to_autocast_are_refused_as_such() -> None:
    def run(m: Any, x: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.linear(x.bfloat16())

    with pytest.raises(Refusal, match="leaves it to autocast, which is not followed"):
        trace(Runs(run), inputs=(INPUT,))


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_linear_layers_of_dynamic_quantisation_are_counted(dtype: torch.dtype) -> None:
    """Weights of one byte, or two, and a bias of four; parameters are those of the layer that was converted."""
    quantized: Any = torch.ao.quantization
    layers = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 6, bias=False))
    model = quantized.quantize_dynamic(layers, {nn.Linear}, dtype=dtype)
    with torch.no_grad():
        expected = model(torch.zeros(3, 8)).shape
    costs = trace(model, inputs=("input: float32[B,S,8]",), at={"S": 5}).at(B=3, S=5)
    assert costs.total.macs == 3 * 5 * (8 * 4 + 4 * 6)
    assert costs.total.params == 8 * 4 + 4 + 4 * 6
    assert costs.layers[-1].outputs[0][-1] == expected[-1]
    kept = "int8" if dtype == torch.qint8 else "float16"
    weights = [layer.cost.reads["weight"] for layer in costs.layers if layer.cost.macs]
    assert weights == [{kept: 32, "float32": 4}, {kept: 24}]
    assert model(torch.zeros(3, 8)).shape == expected


def test_recurrent_layers_of_dynamic_quantisation_are_refused_by_name() -> None:
    quantized: Any = torch.ao.quantization
    model = quantized.quantize_dynamic(nn.Sequential(nn.LSTM(8, 8)), {nn.LSTM}, dtype=torch.qint8)
    with pytest.raises(Refusal, match="holds a LSTM, whose operators are its own"):
        trace(model, inputs=("input: float32[5,B,8]",))


torch.library.define("runs_test::real", "(Tensor x) -> Tensor")
torch.library.impl("runs_test::real", "CPU")(lambda x: x.clone())


def test_operators_that_run_on_real_tensors_alone_are_refused_by_name() -> None:
    with pytest.raises(TraceError, match="the model calls runs_test::real") as raised:
        trace(Runs(lambda m, x: torch.ops.runs_test.real(m.linear(x))), inputs=(INPUT,))
    assert "register_fake, or count the submodule that calls it as unknown" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


KINDS = {
    "nested": lambda m, x: torch.nested.nested_tensor([m.linear(x), x]),
    "sparse": lambda m, x: torch.sparse.mm(
        torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (x.shape[0],) * 2), m.linear(x)
    ),
}


def _of_each_sample(m: Any, x: Any) -> Any:
    """Each sample meets kernels of its own, all of them in one convolution of as many groups."""
    batch, channels, *sizes = x.shape
    kernels = (
        m.linear(x.mean((2, 3))[:, :1].expand(batch, WIDTH)).view(batch, -1)[:, :1].expand(batch, 2 * channels * 9)
    )
    found = nn.functional.conv2d(
        x.reshape(1, batch * channels, *sizes), kernels.reshape(-1, channels, 3, 3), groups=batch, padding=1
    )
    return found.view(batch, 2, *sizes)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_group_for_each_sample_leaves_the_batch_free(batch: int) -> None:
    """At a batch of 1 as many groups as an operator has where nobody says, and a call is not told them."""
    model = Runs(_of_each_sample)
    costs = trace(model, inputs=("x: float32[B,3,H,W]",), at={"B": batch, "H": 8, "W": 9})
    assert set(costs.symbols) == {"B", "H", "W"}
    for sizes in ({"B": 1, "H": 7, "W": 5}, {"B": 3, "H": 4, "W": 6}):
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(sizes["B"], 3, sizes["H"], sizes["W"]))
        assert counter.get_total_flops() == 2 * costs.at(sizes).total.macs


@pytest.mark.parametrize("batch", [1, 2])
def test_distances_hold_no_size(batch: int) -> None:
    """Torch's own function asks how many rows there are, and which batches, to pick a kernel."""
    model = Runs(lambda m, x: torch.cdist(x, m.stack[0]))
    costs = trace(model, inputs=(f"x: float32[B,S,{WIDTH}]",), at={"B": batch, "S": 30})
    assert {name: each.low for name, each in costs.symbols.items()} == {"B": 1, "S": 1}
    for sizes in ({"B": 1, "S": 4}, {"B": 3, "S": 40}):
        found = model(torch.zeros(sizes["B"], sizes["S"], WIDTH))
        assert costs.at(sizes).layers[0].outputs[0] == tuple(found.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_whose_size_is_data_are_refused_by_name(kind: str) -> None:
    with pytest.raises(TraceError, match=f"the model makes {kind} tensors .*depends on their data") as raised:
        trace(Runs(KINDS[kind]), inputs=(INPUT,))
    assert "Use dense ones, or count the submodule" in str(raised.value)


def _on_a_grid(m: Any, x: Any) -> Any:
    rows, columns = (torch.linspace(-1, 1, size) for size in x.shape[-2:])
    return m.linear(x + rows[:, None].expand(x.shape) + columns.expand(x.shape))


def _sampled(m: Any, x: Any) -> Any:
    theta = torch.eye(2, 3).expand(x.shape[0], 2, 3)
    return m.linear(nn.functional.grid_sample(x, nn.functional.affine_grid(theta, list(x.shape), align_corners=False)))


STEPS: dict[str, Callable[..., Any]] = {
    "a grid of coordinates": _on_a_grid,
    "logarithms": lambda m, x: m.linear(x * torch.logspace(0, 1, x.shape[2], dtype=x.dtype)[:, None]),
    "a transformed picture": _sampled,
    "a quotient and its rest": lambda m, x: m.linear(x[:, :, : sum(divmod(x.shape[2], 4))]),
}


@pytest.mark.parametrize("name", STEPS)
def test_numbers_of_steps_keep_sizes(name: str) -> None:
    """Against torch's own count at sizes that were not traced, of layers alone: it counts products of a grid too."""
    model = Runs(STEPS[name])
    costs = trace(model, inputs=(f"x: float32[B,C,H,{WIDTH}]",), at={"B": 2, "C": 3, "H": 16})
    assert set(costs.symbols) == {"B", "C", "H"}
    for sizes in ({"B": 1, "C": 2, "H": 7}, {"B": 3, "C": 4, "H": 18}):
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(sizes["B"], sizes["C"], sizes["H"], WIDTH))
        linear = counter.get_flop_counts()["Runs.linear"]
        assert sum(linear.values()) == 2 * sum(
            layer.cost.macs for layer in costs.at(sizes).layers if layer.module == "linear"
        )


class Opaque(torch.Tensor):
    """A tensor with operators of its own, which does not say what it wraps."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_weights_with_operators_of_their_own_are_refused_by_name() -> None:
    model = Runs(lambda m, x: m.linear(x))
    plain: Any = torch.Tensor
    model.linear._parameters["weight"] = plain._make_subclass(Opaque, model.linear.weight.detach())
    with pytest.raises(Refusal, match="holds a Opaque"):
        trace(model, inputs=(INPUT,))


class Attends(nn.Module):
    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.qkv, self.masked = nn.Linear(32, 96), masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        blocks = None
        if self.masked:
            blocks = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length, device=x.device.type)
        attended: Any = flex_attention(query, key, value, block_mask=blocks)
        return attended


@pytest.mark.parametrize("masked", [False, True])
def test_flex_attention_is_attention_over_all_pairs(masked: bool) -> None:
    """As torch's FlopCounterMode counts it: 4·B·heads·S²·size, beside the projection's 2·B·S·32·96."""
    costs = trace(Attends(masked), inputs=("x: float32[B,S,32]",), at={"S": 128})
    assert 2 * costs.at(B=2, S=64).total.macs == 2 * 2 * 64 * 32 * 96 + 4 * 2 * 4 * 64**2 * 8
    assert FLEX in costs.assumptions


def test_draws_of_gammas_are_as_many_as_their_parameters() -> None:
    costs = trace(Runs(lambda m, x: m.linear(d.Dirichlet(x.exp()).rsample())), inputs=(INPUT,))
    assert costs.at(B=3).total.macs == 3 * WIDTH**2
    assert list(costs.unknown) == ["aten._sample_dirichlet.default"]


# Whole numbers whose values are given, or that code holds

STEP = 2 * 4 * 16 * (WIDTH + 16)
"""An LSTM's contractions of one step of one sequence: four gates of 16 of the input and the state."""


class Sequences(nn.Module):
    """An LSTM of 16 over packed sequences."""

    def __init__(self, first: bool = True, ordered: bool = False, back: bool = False) -> None:
        super().__init__()
        self.first, self.ordered, self.back = first, ordered, back
        self.lstm = nn.LSTM(WIDTH, 16, batch_first=first)

    def forward(self, x: torch.Tensor, lengths: Any) -> Any:
        packed = rnn.pack_padded_sequence(x, lengths, self.first, enforce_sorted=self.ordered)
        result, _ = self.lstm(packed)
        if not self.back:
            return result.data
        padded, found = rnn.pad_packed_sequence(result, self.first)
        return padded * (torch.arange(padded.shape[1])[None] < found[:, None])[..., None]


PACKED = {
    "as long as the input": (Sequences(), "lengths: int64[B] = S", 3 * 9),
    "of five": (Sequences(), "lengths: int64[B] = 5", 3 * 5),
    "ordered": (Sequences(ordered=True), "lengths: int64[B] = S", 3 * 9),
    "and back": (Sequences(back=True), "lengths: int64[B] = S", 3 * 9),
}


@pytest.mark.parametrize("name", PACKED)
def test_sequences_packed_by_lengths_that_are_given_run_so_many_steps(name: str) -> None:
    model, lengths, steps = PACKED[name]
    costs = trace(model, inputs=(f"x: float32[B,S,{WIDTH}]", lengths), at={"S": 16})
    assert 2 * costs.at(B=3, S=9).total.macs == steps * STEP


@pytest.mark.parametrize("ordered", [True, False])
def test_sequences_packed_by_a_list_run_the_steps_of_the_list(ordered: bool) -> None:
    class Listed(Sequences):
        def forward(self, x: torch.Tensor, lengths: Any = None) -> Any:
            return super().forward(x, [5, 3, 2])

    costs = trace(Listed(ordered=ordered, back=True), inputs=(torch.zeros(3, 6, WIDTH),))
    assert 2 * costs.total.macs == (5 + 3 + 2) * STEP


def test_a_packed_sequence_as_input_runs_the_steps_that_it_holds() -> None:
    packed = rnn.pack_padded_sequence(torch.zeros(5, 3, WIDTH), [5, 3, 2])
    costs = trace(nn.LSTM(WIDTH, 16), inputs=(packed,))
    assert 2 * costs.total.macs == (5 + 3 + 2) * STEP


READS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "an item": (lambda lengths: lengths.max().item(), 9),
    "a whole number": (lambda lengths: int(lengths.amax()), 9),
    "a list": (lambda lengths: lengths.tolist()[0], 9),
    "the largest of a loop": (max, 9),
    "halves": (lambda lengths: ((lengths - 1) // 2 + 1).max().item(), 5),
    "rounded quotients": (lambda lengths: torch.div(lengths, 2, rounding_mode="floor")[0].item(), 4),
    "the greater of two": (lambda lengths: torch.max(lengths // 2, lengths)[0].item(), 9),
    "the greater of both": (lambda lengths: torch.maximum(lengths // 2, lengths)[0].item(), 9),
    "the lesser of two": (lambda lengths: torch.min(lengths, lengths - 2)[0].item(), 7),
    "filled with a number": (lambda lengths: torch.full_like(lengths, 4).max().item(), 4),
    "filled with a size": (lambda lengths: int(torch.full((3,), lengths.shape[0] + 1, dtype=torch.int64)[0]), 3),
    "of code": (lambda lengths: torch.tensor([3, 7, 5]).sort().values[1].item(), 5),
}


@pytest.mark.parametrize("name", READS)
def test_numbers_that_are_known_are_read(name: str) -> None:
    read, rows = READS[name]
    model = Runs(lambda m, x, lengths: m.linear(x[:, : read(lengths)]))
    inputs = {"x": f"x: float32[B,S,{WIDTH}]", "lengths": "lengths: int64[B] = S"}
    costs = trace(model, inputs=tuple(inputs.values())[:1], kwargs={"lengths": inputs["lengths"]}, at={"S": 16, "B": 2})
    sizes: Any = {each: {"B": 2, "S": 9}[each] for each in costs.symbols}
    assert costs.at(**sizes).total.macs == 2 * rows * WIDTH**2


@pytest.mark.parametrize(("dim", "rows"), [(0, 2 * 5), (None, 2 * WIDTH * 5 // WIDTH)])
def test_rows_are_repeated_as_often_as_numbers_say(dim: int | None, rows: int) -> None:
    def run(m: Any, x: Any, times: Any) -> Any:
        repeated = x.repeat_interleave(times, dim) if dim is not None else x.repeat_interleave(times[:1])
        return m.linear(repeated.reshape(-1, WIDTH))

    costs = trace(Runs(run), inputs=(INPUT,), kwargs={"times": "times: int64[B] = 5"}, at={"B": 2})
    point: dict[str, int] = dict.fromkeys(costs.symbols, 2)
    assert costs.at(point).total.macs == rows * WIDTH**2


UNREAD: dict[str, Callable[[Any], Any]] = {
    "a scaled sum": lambda lengths: torch.add(lengths, lengths, alpha=2),
    "memory as it was": lambda lengths: torch.empty_like(torch.tensor([3, 4])),
    "drawn numbers": lambda lengths: torch.randint_like(torch.tensor([3, 4]), 5),
    "written by name": lambda lengths: torch.add(lengths, torch.ones_like(lengths), out=lengths),
}


@pytest.mark.parametrize("name", UNREAD)
def test_numbers_that_nobody_follows_are_not_made_up(name: str) -> None:
    model = Runs(lambda m, x, lengths: m.linear(x[:, : UNREAD[name](lengths)[0].item()]))
    with pytest.raises(TraceError, match="decides by the values of its data"):
        trace(model, inputs=(f"x: float32[B,16,{WIDTH}]",), kwargs={"lengths": "lengths: int64[B] = 5"})


def test_what_is_filled_with_data_has_its_dtype() -> None:
    """A row of floats by eight of them is a product, which whole numbers would be refused in."""
    model = Runs(lambda m, x: torch.full((WIDTH,), x[0, 0]) @ m.linear.weight + m.linear(x))
    costs = trace(model, inputs=(INPUT,))
    assert costs.at(B=3).total.macs == WIDTH**2 + 3 * WIDTH**2
    whole = trace(Runs(lambda m, x: torch.full((WIDTH,), x.long()[0, 0])), inputs=(INPUT,), isolated=False)
    assert [layer.outputs for layer in whole.layers if layer.op == "aten.full.default"] == [((WIDTH,),)]
    (filled,) = (layer for layer in whole.layers if layer.op == "aten.full.default")
    assert filled.cost.bytes_written({**whole.bits()}) == 8 * WIDTH


FILLED: dict[str, Callable[[Any], Any]] = {
    "full": lambda data: torch.full((2,), data, dtype=torch.int64),
    "full_like": lambda data: torch.full_like(torch.tensor([3, 4]), data),
    "new_full": lambda data: torch.tensor([3, 4]).new_full((2,), data),
    "by name": lambda data: torch.full((2,), fill_value=data, dtype=torch.int64),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_is_filled_with_data_is_not_known(name: str) -> None:
    """What stands in the place of the data while the tensor is made is none of its numbers."""
    model = Runs(lambda m, x: m.linear(x[:, : int(FILLED[name](x.argmax())[0])]))
    with pytest.raises(TraceError, match="decides by the values of its data"):
        trace(model, inputs=(f"x: float32[B,16,{WIDTH}]",))


def test_numbers_that_are_written_over_are_known_no_longer() -> None:
    def run(m: Any, x: Any, lengths: Any) -> Any:
        part = lengths[:1]
        part += 1
        return m.linear(x[:, : lengths.max().item()])

    with pytest.raises(TraceError, match="decides by the values of its data"):
        trace(Runs(run), inputs=(f"x: float32[B,16,{WIDTH}]",), kwargs={"lengths": "lengths: int64[B] = 5"})


LOOPS = """
def without_loops(edges, weights):
    mask = edges[0] != edges[1]
    others = weights.new_zeros(weights.shape[0])
    others[edges[0][~mask]] = weights[~mask]
    return edges[:, mask], weights[mask] + others[mask]
"""


def test_graphs_of_torch_geometric_have_no_loops_of_their_own_and_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "torch_geometric" / "utils" / "loop.py"
    file.parent.mkdir(parents=True)
    file.write_text(LOOPS)
    names: dict[str, Any] = {}
    exec(compile(LOOPS, str(file), "exec"), names)  # noqa: S102  # as the library's own file

    def run(m: Any, x: Any, edges: Any) -> Any:
        kept, weights = names["without_loops"](edges, x[:, 0])
        return m.linear(x[kept[1]]) * weights[:, None]

    edges = {"edges": "edges: int64[2,E]"}
    costs = trace(Runs(run), inputs=(f"x: float32[E,{WIDTH}]",), kwargs=edges, at={"E": 30})
    assert costs.at(E=5).total.macs == 5 * WIDTH**2
    assert NO_SELF_LOOPS in costs.assumptions
    exec(compile(LOOPS, "elsewhere.py", "exec"), names)  # noqa: S102
    with pytest.raises(TraceError, match="decides by the values of its data"):
        trace(Runs(run), inputs=(f"x: float32[E,{WIDTH}]",), kwargs=edges, at={"E": 30})


DRAWING: dict[str, tuple[Callable[..., Any], bool]] = {
    "a layer left out by chance": (lambda m, x: m.linear(x) if random.random() < 0.9 else x, True),  # noqa: S311
    "the same, drawn by NumPy": (lambda m, x: m.linear(x) if np.random.rand() < 0.5 else x, True),  # noqa: NPY002
    "as many as drawn": (lambda m, x: [m.linear(x) for _ in range(random.randint(1, 3))], True),  # noqa: S311
    "drawn in vain": (lambda m, x: m.linear(x) if random.random() > 0.5 or not m.training else x, False),  # noqa: S311
}


@pytest.mark.parametrize("name", DRAWING)
def test_what_is_decided_by_chance_is_refused(name: str) -> None:
    """Twice, for once is no proof: the same numbers might be drawn in runs that are compared."""
    run, decides = DRAWING[name]
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = random.getstate()
        if decides:
            with pytest.raises(Refusal, match="draws random numbers with Python's random or NumPy, and runs otherwise"):
                trace(Runs(run), inputs=(INPUT,), isolated=False)
        else:
            costs = trace(Runs(run), inputs=(INPUT,), isolated=False)
            assert costs.at(B=3).total.macs == 3 * WIDTH * WIDTH
            assert DRAWN in costs.assumptions
        assert random.getstate() == before

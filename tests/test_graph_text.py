"""The annotated graph as text, read from the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

MODELS = """
import fxcost, torch
from fxcost.graph import OUTPUTS, operations
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.conv(x).relu_().mean((2, 3)).view(-1, 8))

class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(4, 4)
    def forward(self, x):
        return self.inner(x)[0]

@fxcost.graph_pass(provides=fxcost.Key("mine.results"), requires=(OUTPUTS,))
def results(graph):
    return {node: len(OUTPUTS[node]) for node in operations(graph)}
"""

SMALL = """\
input_0: float32[B,3,H,W] @0  input
conv_weight: float32[8,3,3,3] @1  weight conv.weight
head_weight: float32[4,8] @2  weight head.weight
head_bias: float32[4] @3  weight head.bias

conv2d_default: float32[B,8,H,W] @4 = aten.conv2d.default(input_0, conv_weight, stride=[1,1], padding=[1,1], dilation=[1,1], groups=1)
    in conv (Conv2d)
    fxcost.verdict: coverage=counted rule=convolution
    fxcost.parameters: count=216
    fxcost.flops: matrix=432*B*H*W coverage=counted rule=convolution
    fxcost.traffic: accesses=[tensor=[argument,0] role=activation dtype=float32 read=3*B*H*W,tensor=[argument,1] role=weight dtype=float32 read=216,tensor=[output,0] role=activation dtype=float32 written=8*B*H*W]

relu__default: float32[B,8,H,W] @4 = aten.relu_.default(conv2d_default)
    in the model (Small)
    fxcost.verdict: coverage=counted rule=1 per output
    fxcost.flops: vector=8*B*H*W coverage=counted rule=1 per output
    fxcost.traffic: accesses=[tensor=[argument,0] role=activation dtype=float32 read=8*B*H*W,tensor=[output,0] role=activation dtype=float32 written=8*B*H*W]

mean_dim: float32[B,8] @5 = aten.mean.dim(relu__default, dim=[2,3], keepdim=False)
    in the model (Small)
    fxcost.verdict: coverage=counted rule=mean
    fxcost.flops: vector=8*B + 8*B*H*W coverage=counted rule=mean
    fxcost.traffic: accesses=[tensor=[argument,0] role=activation dtype=float32 read=8*B*H*W,tensor=[output,0] role=activation dtype=float32 written=8*B]

view_default: float32[B,8] @5 = aten.view.default(mean_dim, size=[-1,8])
    in the model (Small)
    fxcost.verdict: coverage=free rule=free
    fxcost.flops: coverage=free rule=free

linear_default: float32[B,4] @6 = aten.linear.default(view_default, head_weight, head_bias)
    in head (Linear)
    fxcost.verdict: coverage=counted rule=linear
    fxcost.parameters: count=36
    fxcost.flops: matrix=64*B coverage=counted rule=linear
    fxcost.traffic: accesses=[tensor=[argument,0] role=activation dtype=float32 read=8*B,tensor=[argument,1] role=weight dtype=float32 read=32,tensor=[argument,2] role=weight dtype=float32 read=4,tensor=[output,0] role=activation dtype=float32 written=4*B]
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def test_operations_stand_with_their_tensors_and_what_passes_found(models: Path, fxcost_command: Command) -> None:
    code, out, said = fxcost_command(
        "trace", f"{models}:Small", "--graph", "-i", "x: float32[B,3,H,W]", "--at", "H=8,W=8"
    )
    assert code == 0, said
    assert out == SMALL


def test_all_results_of_an_operation_are_shown_and_passes_of_others(models: Path, fxcost_command: Command) -> None:
    asked = ("--graph", "-i", "x: float32[T,B,4]", "--at", "T=5", "--plugin", models)
    code, out, said = fxcost_command("trace", f"{models}:Steps", *asked)
    assert code == 0, said
    line, *below = out[out.index("lstm_input") :].splitlines()
    assert line.startswith("lstm_input: float32[T,B,4] @7, float32[1,B,4] @8, float32[1,B,4] @9 = aten.lstm.input(")
    assert "    in inner (LSTM)" in below
    assert "    mine.results: 3" in below


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--top", "3"), "--graph prints the graph and no report; leave --top out"),
        (("--by", "op", "-f", "csv"), "leave --by, --format out"),
        (("-o", "graph.txt"), "leave --output out"),
    ],
)
def test_what_a_graph_is_not_printed_with_is_told(asked: tuple[str, ...], words: str, fxcost_command: Command) -> None:
    code, out, said = fxcost_command("trace", "resnet18", "--graph", *asked)
    assert (code, out) == (1, "")
    assert words in said


def test_a_saved_file_has_its_cost_graph(small_model: Path, fxcost_command: Command) -> None:
    code, out, said = fxcost_command("trace", small_model, "--graph")
    assert (code, said) == (0, "")
    assert "@0: float32[3*B*H*W]  input" in out
    relu = out.partition("\nrelu: ")[2].partition("\n\n")[0]
    assert relu == (
        "float32[B,8,(H - 1)//2 + 1,(W - 1)//2 + 1] @3 = aten.relu.default(self=float32[B,8,(H - 1)//2 + 1,(W - 1)//2 + 1] @2)\n"
        "    in relu (ReLU)\n"
        "    vector 8*B*((H - 1)//2 + 1)*((W - 1)//2 + 1) FLOPs\n"
        "    reads 8*B*((H - 1)//2 + 1)*((W - 1)//2 + 1) of @2\n"
        "    writes 8*B*((H - 1)//2 + 1)*((W - 1)//2 + 1) of @3"
    )
    assert out.rstrip().endswith("gives float32[B,10] @7")


def test_a_file_without_a_cost_graph_is_named(small_records: Path, fxcost_command: Command) -> None:
    code, out, said = fxcost_command("trace", small_records, "--graph")
    assert (code, out) == (1, "")
    assert f"{small_records} was saved before files held who feeds whom; trace the model again" in said

"""Rules and passes of third parties, by module name and by entry point."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fxcost import plugins
from fxcost.errors import FxcostError

PLUGIN = '''
import sympy
import torch
import fxcost
from fxcost.graph import OUTPUTS, operations

torch.library.define("plugin_test::double", "(Tensor x) -> Tensor")
torch.library.register_fake("plugin_test::double", lambda x: x.clone())

@fxcost.op(torch.ops.plugin_test.double, reason="one addition for each element")
def double(call):
    return call.output.elements

OUTPUT_ELEMENTS = fxcost.Key("output_elements")

@fxcost.graph_pass(provides=OUTPUT_ELEMENTS, requires=(OUTPUTS,))
def output_elements(graph):
    """Elements of each operation's outputs."""
    return {node: sum((t.elements for t in OUTPUTS[node]), sympy.Integer(0)) for node in operations(graph)}

class Doubles(torch.nn.Module):
    def forward(self, x):
        return torch.ops.plugin_test.double(x)
'''


def test_a_module_with_a_rule_and_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fxcost_command: Callable[..., tuple[int, str, str]]
) -> None:
    from fxcost.costs.files.saved import load

    (tmp_path / "plugin_of_mine.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    saved = tmp_path / "x.json"
    asked = ("trace", "plugin_of_mine:Doubles", "--input", "x: float32[B,4]", "--plugin", "plugin_of_mine", "--strict")
    code, _, err = fxcost_command(*asked, "-o", saved)
    assert code == 0, err
    (layer,) = load(saved).layers
    assert (layer.coverage, layer.rule, str(layer.flops)) == ("counted", "double", "4*B")
    assert {name: str(value) for name, value in layer.extra.items()} == {"output_elements": "4*B"}


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    from fxcost.graph import Key
    from fxcost.graph.pipeline import graph_pass

    @graph_pass(provides=Key("entry_test"))
    def found(graph: Any) -> dict[Any, int]:
        return {}

    loaded: list[str] = []

    def points(group: str) -> list[Any]:
        if group == plugins.RULES:
            return [SimpleNamespace(name="rules", load=lambda: loaded.append("rules"))]
        return [SimpleNamespace(name="mine", load=lambda: found)]

    monkeypatch.setattr(plugins, "entry_points", points)
    assert plugins.load_plugins() == (found,)
    assert loaded == ["rules"]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [SimpleNamespace(name="bad", load=lambda: 3)])
    with pytest.raises(FxcostError, match="plugin bad of the entry points fxcost.passes is a int"):
        plugins.load_plugins()


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(FxcostError, match="--plugin no_such_thing: no such module"):
        plugins.load_plugins(["no_such_thing"])
    assert "no_such_thing" not in sys.modules


FOUND = """
import fractions, sympy, torch, fxcost
from fxcost.graph import OUTPUTS, operations

def names(graph):
    return {node: str(node) for node in operations(graph)}

def tenths(graph):
    return {node: sum((t.elements for t in OUTPUTS[node]), sympy.Integer(0)) / 10 for node in operations(graph)}

def halves(graph):
    return {node: 0.5 for node in operations(graph)}

def nothing(graph):
    return None

def failing(graph):
    raise KeyError("mine")

def made(function, name=None):
    return fxcost.graph_pass(provides=fxcost.Key(name or function.__name__), requires=(OUTPUTS,))(function)

def net():
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)), torch.zeros(2, 3)
"""


def test_what_a_pass_found_is_shown(
    tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of 2·5 elements is 1, a tenth of 3·5 is 1.5."""
    import csv
    import io
    import json

    import fxcost

    model, saved = tmp_path / "found_shown.py", tmp_path / "found.json"
    model.write_text(f"{FOUND}\nshown = made(tenths)\n")
    code, out, err = fxcost_command("trace", f"{model}:net", "--plugin", model, "--at", "B=3")
    assert code == 0, err
    header, *lines = [line.split() for line in out.splitlines() if "Linear" in line or "FLOPs each" in line]
    assert header[-2:] == ["tenths", "each"]
    assert [line[-1] for line in lines] == ["1.500", "1.500"]
    assert fxcost_command("trace", f"{model}:net", "--plugin", model, "-o", saved)[0] == 0
    *rows, _ = csv.DictReader(io.StringIO(fxcost_command("trace", saved, "-f", "csv", "--at", "B=2")[1]))
    assert [(row["tenths"], row["tenths_at"]) for row in rows] == [("B/2", "1")] * 2
    rows = json.loads(fxcost_command("trace", saved, "-f", "json", "--at", "B=3")[1])["rows"]
    assert [(row["tenths"], row["tenths_at"]) for row in rows] == [("B/2", 1.5)] * 2
    assert list(fxcost.load(saved).at(B=2).to_pandas()["tenths"]) == [1, 1]
    assert "B/2" in fxcost_command("explain", saved, "1")[1]


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        (
            "a = made(names); b = made(halves)",
            "pass names gives 'linear_default' for 0; pass halves gives 0.5 for 0: wanted are whole numbers",
        ),
        ("a = made(nothing)", "pass nothing returns a NoneType, not a table of operations"),
        ("a = made(failing)", "pass failing raised KeyError: 'mine' (found_refused.py:18)"),
        ("a = made(tenths, 'flops_at')", "a pass calls its values 'flops_at', as a column is called already"),
        ("a = made(tenths, 'x'); b = made(halves, 'x')", "x is provided by pass tenths and by halves"),
    ],
)
def test_what_a_pass_may_not_find(
    tmp_path: Path, fxcost_command: Callable[..., tuple[int, str, str]], passes: str, words: str
) -> None:
    model = tmp_path / "found_refused.py"
    model.write_text(f"{FOUND}\n{passes}\n")
    code, out, err = fxcost_command("trace", f"{model}:net", "--plugin", model)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"fxcost: {words}")

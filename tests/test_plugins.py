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
    import json

    (tmp_path / "plugin_of_mine.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    saved = tmp_path / "x.json"
    asked = ("trace", "plugin_of_mine:Doubles", "--input", "x: float32[B,4]", "--plugin", "plugin_of_mine", "--strict")
    code, _, err = fxcost_command(*asked, "-o", saved)
    assert code == 0, err
    (layer,) = json.loads(saved.read_text())["layers"]
    assert (layer["coverage"], layer["rule"], layer["flops"]) == ("counted", "double", "4*B")
    assert layer["extra"] == {"output_elements": "4*B"}


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    from fxcost.graph import Key
    from fxcost.pipeline import graph_pass

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

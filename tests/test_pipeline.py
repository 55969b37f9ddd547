"""The chain of passes: refused when it cannot run, and when a pass breaks its promise."""

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.fx import Graph, Node

import fxcost
from fxcost.graph import LAYER, OUTPUTS, SIZE, Key, operations
from fxcost.graph.pipeline import Pass, Pipeline, PipelineError, graph_pass
from fxcost.inputs import Arguments, InputSpec
from fxcost.passes import flops, parameters, traffic, verdict
from fxcost.tracing import record_module

COLOUR: Key[str] = Key("test.colour")
WEIGHT: Key[int] = Key("test.weight")
LENGTH: Key[int] = Key("test.length")


@graph_pass(provides=COLOUR)
def colour(graph: Graph) -> Mapping[Node, str]:
    """Every operation is red."""
    return dict.fromkeys(operations(graph), "red")


@graph_pass(provides=LENGTH, requires=(COLOUR,))
def length(graph: Graph) -> Mapping[Node, int]:
    """The length of its colour's name."""
    return {node: len(COLOUR[node]) for node in operations(graph)}


def graph_of_two() -> Graph:
    graph = Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(abs, (graph.call_function(abs, (x,)),)))
    return graph


def test_passes_read_what_earlier_ones_provided() -> None:
    graph = graph_of_two()
    Pipeline((colour, length)).run(graph)
    assert [LENGTH[node] for node in operations(graph)] == [3, 3]
    assert (length.name, length.provides, length.requires) == ("length", LENGTH, (COLOUR,))


def test_an_empty_chain_does_nothing() -> None:
    graph = graph_of_two()
    Pipeline(()).run(graph)
    assert all(node.meta == {} for node in graph.nodes)


def test_every_offender_is_named_when_it_is_built() -> None:
    needy: Pass[Any] = Pass("needy", WEIGHT, (Key("test.nowhere"), LENGTH), lambda graph: {})
    with pytest.raises(PipelineError) as refused:
        Pipeline((needy, colour, colour))
    message = str(refused.value)
    assert "pass needy requires test.nowhere, which no earlier pass provides" in message
    assert "pass needy requires test.length" in message
    assert "test.colour is provided by pass colour and by colour" in message


def test_a_pass_after_its_reader_is_too_late() -> None:
    with pytest.raises(PipelineError, match="pass length requires test.colour"):
        Pipeline((length, colour))


def test_a_table_that_misses_an_operation_is_refused() -> None:
    lazy: Pass[int] = Pass("lazy", WEIGHT, (), lambda graph: {next(operations(graph)): 1})
    with pytest.raises(PipelineError, match="pass lazy gives no test.weight for abs_2"):
        Pipeline((lazy,)).run(graph_of_two())


def test_a_pass_that_reads_what_it_does_not_declare_is_named() -> None:
    @graph_pass(provides=Key[int]("test.counted"), requires=(OUTPUTS,))
    def counted(graph: Graph) -> Mapping[Node, int]:
        return {node: LAYER in node.meta or len(LAYER[node].module) for node in operations(graph)}

    with pytest.raises(PipelineError, match="pass counted: it reads fxcost.layer, which is not among the keys"):
        Pipeline((counted,)).run(graph_of_two())
    with pytest.raises(KeyError):
        LAYER[next(operations(graph_of_two()))]  # whoever is no pass reads what it likes


OURS: tuple[Pass[Any], ...] = (verdict, parameters, flops, traffic)
SOMETIMES = {LAYER, SIZE}
"""Read where a rule fails, or an exported program computes with sizes."""


def traced() -> Graph:
    module = nn.Linear(4, 4, device="meta")
    given = Arguments((InputSpec("input", "float32", ("B", 4)),))
    return record_module(module, given, {"B": 4}, {"B": 1}, 60.0).graph


@pytest.mark.parametrize(("each", "key"), [(p, k) for p in OURS for k in p.requires if k not in SOMETIMES])
def test_passes_of_ours_read_what_they_declare_and_no_more(each: Pass[Any], key: Key[Any]) -> None:
    Pipeline(OURS).run(traced())
    less = replace(each, requires=tuple(k for k in each.requires if k != key))
    with pytest.raises(PipelineError, match=f"pass {each.name}: it reads {key.name}"):
        Pipeline(tuple(less if one is each else one for one in OURS)).run(traced())


def test_tracing_writes_in_one_place_and_passes_by_the_pipeline() -> None:
    """What torch itself keeps under ``val`` is no annotation."""
    folder = Path(fxcost.__file__).parent
    writers: set[str] = set()
    for file in [*folder.rglob("*.py"), *(folder / "passes").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any("meta[" in ast.unparse(each) and "'val'" not in ast.unparse(each) for each in targets):
                writers.add(file.relative_to(folder).as_posix())
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".meta.update"):
                writers.add(file.relative_to(folder).as_posix())
    assert writers == {"graph/pipeline.py", "tracing/export/writing.py"}

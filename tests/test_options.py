"""Options of the command line: those that repeat, and what is typed in another case."""

from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


def test_sizes_are_gathered(fxcost_command: Command, small_model: Path) -> None:
    apart = fxcost_command("trace", small_model, "--at", "B=2", "--at", "H=40,W=41")
    assert apart[0] == 0
    assert apart == fxcost_command("trace", small_model, "--at", "B=2,H=40,W=41")
    assert "total at B=2, H=40, W=41" in apart[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("trace SAVED --at B=1 --at B=2", 1, "--at gives B twice, 1 and 2"),
        ("trace SAVED --at B=1,B=1", 1, "--at gives B twice"),
        ("trace any.py:model --set width=3 --set width=4", 1, "--set gives width twice, 3 and '4'"),
        ("crossover SAVED -p l4 --platform l4", 1, "--platform names l4 twice"),
        ("trace SAVED --top 3 --top 4", 2, "trace takes --top once, and it is given 2 times"),
        ("trace SAVED -o a.csv -o b.csv", 2, "takes --output once"),
        ("trace SAVED -f csv --format json", 2, "takes --format once"),
        ("trace resnet18 -s B --symbolic H", 2, "takes --symbolic once"),
        ("crossover SAVED -p l4 --precision fp16 --precision fp32", 2, "takes --precision once"),
        ("sweep SAVED -p l4 --over B=1,2 --over B=4", 2, "takes --over once"),
        ("sweep SAVED -p l4 --over B=1,2 --over H=40", 2, "takes --over once"),
        ("check a.json --tolerance 1% --tolerance 2%", 2, "takes --tolerance once"),
    ],
)
def test_nothing_takes_the_place_of_what_was_given(
    fxcost_command: Command, small_model: Path, arguments: str, code: int, words: str
) -> None:
    found, out, said = fxcost_command(*arguments.replace("SAVED", str(small_model)).split())
    assert (found, out) == (code, "")
    assert said.startswith("fxcost: ")
    assert len(said.splitlines()) <= 2
    assert words in said

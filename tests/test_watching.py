"""What one run of a model shows: which calls are made by name, and what each call of a module gives."""

from collections import Counter

from torch import nn

from fxcost.verify.conventions.ledger import Row
from fxcost.verify.conventions.watching import Watched, with_watched


def row(op: str) -> Row:
    return Row(op, "default", nn.Linear(4, 4), "layer", (), ((2, 4), (2, 4)), ((2, 4),), 0, 1)


def test_what_a_call_gives_stands_with_its_last_operation() -> None:
    watched = Watched(results={"layer": [(2, 4), (1, 8)]})
    rows = [row("mm"), row("relu"), row("mm"), row("relu")]
    assert [each.result for each in with_watched(rows, watched)] == [(), (2, 4), (), (1, 8)]


def test_of_calls_that_do_not_share_the_operations_evenly_nothing_is_said() -> None:
    watched = Watched(results={"layer": [(2, 4), (1, 8)]})
    assert {each.result for each in with_watched([row("mm")] * 3, watched)} == {()}


def test_of_rows_alike_so_many_are_by_name_as_were_called_by_name() -> None:
    watched = Watched(Counter({("add", "Linear", (2, 4)): 2, ("add", "Linear", (2, 5)): 9}))
    assert [each.by_name for each in with_watched([row("add")] * 3, watched)] == [True, True, False]

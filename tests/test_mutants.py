"""Changed numbers in rules: seen by the entry that counts them, else told, unless a true reason is listed."""

import sys

import pytest

import fxcost.ops
from bench.mutants import Mutant, mutants_of, seen_by, sources, unseen, verdict
from fxcost.ops import rules
from tests.table.entries import Entry
from tests.table.table import ENTRIES, fault

FILE = "vector/pointwise.py"
pytestmark = pytest.mark.filterwarnings("ignore")


def entry_of(name: str) -> Entry:
    return next(entry for entry in ENTRIES if str(entry) == f"aten.{name}.default")


@pytest.fixture(scope="module")
def selu() -> tuple[Mutant, str]:
    """Its factor of 5 made 6, and the whole source."""
    source = sources()[FILE]
    return next(mutant for mutant in mutants_of(FILE, source) if "aten.selu" in mutant.becomes), source


def test_a_changed_factor_is_seen_by_its_entry(selu: tuple[Mutant, str]) -> None:
    mutant, source = selu
    assert (mutant.value, mutant.changed, mutant.becomes[:25]) == (5, 6, "per_output(6, aten.selu, ")
    assert seen_by(mutant, source, [entry_of("relu"), entry_of("selu")]) is entry_of("selu")
    assert seen_by(mutant, source, [entry_of("relu")]) is None


def test_the_rules_are_as_before_afterwards(selu: tuple[Mutant, str]) -> None:
    before = dict(rules._RULES)
    seen_by(*selu, [entry_of("selu")])
    assert before == rules._RULES
    assert sys.modules["fxcost.ops.rules"] is rules
    assert fxcost.ops is sys.modules["fxcost.ops"]
    assert not fault(entry_of("selu"))


def test_a_survivor_without_a_reason_is_told(selu: tuple[Mutant, str]) -> None:
    mutant, _ = selu
    assert verdict([mutant], {}) == [f"unseen: {mutant}"]
    assert str(mutant).startswith(f"{FILE}:{mutant.line}: 5 in per_output(5, aten.selu")
    assert not verdict([mutant], {(FILE, mutant.becomes): "a reason"})


def test_a_listed_one_that_is_seen_or_gone_is_told() -> None:
    assert verdict([], {(FILE, "return 7"): "a reason"}) == [
        "listed as equivalent, but seen or gone: vector/pointwise.py: return 7"
    ]


def test_every_number_of_a_file_is_changed_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    source = "from fxcost.ops.rules import per_output\nper_output(2, 'aten.selu', reason='3 things')\nFLAG = True\n"
    left, count = unseen({FILE: source}, [entry_of("selu")])
    assert (left, count) == ([], 2)
    assert capsys.readouterr().err.startswith(f"\r1/2 {FILE}, 0 unseen\r2/2")

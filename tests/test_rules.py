"""Every rule against a count that owes it nothing: by its definition in numbers that count, or by torch itself."""

import pytest

from fxcost.ops import rules
from tests.table.entries import Entry
from tests.table.table import ENTRIES, fault, without_entry

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_rule(entry: Entry) -> None:
    assert not fault(entry)


def test_every_rule_has_an_entry() -> None:
    assert not without_entry(ENTRIES)


def test_a_rule_without_an_entry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))
    left = [entry for entry in ENTRIES if "selu" not in str(entry) and "celu" not in str(entry)]
    assert without_entry(left) == [
        "the rule '5 per output' of aten.selu has no entry",
        "aten.celu of the rule 'exponential_linear' has no entry",
    ]

"""Every rule against a count that owes it nothing: by its definition in numbers that count, or by torch itself."""

import pytest

from fxcost.ops import rules
from tests.table.entries import Entry
from tests.table.table import ENTRIES, fault, without_entry

pytestmark = pytest.mark.filterwarnings("ignore")
OF_NUMBERS = ("fourier_transform", "antialiased_resize", "adaptive_pooling")
"""Rules that symbols for all sizes have no formula of."""


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_rule(entry: Entry) -> None:
    assert not fault(entry)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "within keys" not in entry.case], ids=str)
def test_formula(entry: Entry) -> None:
    """Symbols for sizes give the same; but that values are narrower than the keys that hold them, numbers alone say."""
    found = entry.found_by_formulas()
    rule = rules._rule_for(entry.call)
    if found.coverage == "unknown" and rule is not None and rule.name in OF_NUMBERS:
        return
    assert found == entry.expected


def test_every_rule_has_an_entry() -> None:
    assert not without_entry(ENTRIES)


def test_a_rule_without_an_entry_is_named() -> None:
    left = [entry for entry in ENTRIES if "selu" not in str(entry) and "celu" not in str(entry)]
    assert without_entry(left) == [
        "the rule '5 per output' of aten.selu has no entry",
        "aten.celu of the rule 'exponential_linear' has no entry",
    ]

"""Tests of the tests: each rule of the protocol, switched off, is noticed.

Those that take longer: python -m tests.simulation.rules
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation import rules
from tests.simulation.rules.rule import Rule, catch

SCHEDULES = 300
"""So many at most until a missing rule is noticed."""
PAGE = Path(__file__).parents[2] / "docs" / "design" / "rules.md"


@pytest.mark.parametrize("rule", [rule for rule in rules.RULES if rule.is_quick], ids=lambda rule: rule.id)
def test_a_rule_that_is_switched_off_is_missed(rule: Rule) -> None:
    found = catch(rule, SCHEDULES, 1)
    assert not found.wrong, f"{rule.id}, {rule.says}: {found.wrong}"


def test_each_rule_has_its_line_on_the_page() -> None:
    page = PAGE.read_text()
    missing = [rule.id for rule in rules.RULES if f"| {rule.id} | {rule.says} | {rule.off} |" not in page]
    assert not missing, f"python -m tests.simulation.rules --page prints the lines of {missing}"


def test_what_was_put_in_place_of_a_rule_is_taken_back() -> None:
    for rule in rules.RULES:
        before = [owner.__dict__[name] for owner, name, _ in rule.patches()]
        with rule.switched_off():
            pass
        assert [owner.__dict__[name] for owner, name, _ in rule.patches()] == before, rule.id

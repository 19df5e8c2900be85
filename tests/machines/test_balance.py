"""Balance: who gives what it has not begun to whom, and when."""

from __future__ import annotations

import pytest

from zmqtasks.machines.balance import NEVER, PATIENCE_S, Balance, Burden


def test_nothing_is_due_while_nobody_is_idle() -> None:
    balance = Balance()
    balance.look(False, [Burden(10, 9)], 1.0)
    assert balance.next_deadline() == NEVER
    assert balance.due([Burden(10, 9)], 100.0) is None
    assert repr(balance) == "<Balance idle since inf, due at inf>"


def test_nothing_is_due_while_nobody_has_more_than_what_it_has_begun() -> None:
    balance = Balance()
    balance.look(True, [Burden(10, 0)], 1.0)
    assert balance.next_deadline() == NEVER


def test_the_heaviest_of_those_that_were_silent_for_a_while_gives_and_is_left_alone_for_a_while() -> None:
    light, heavy, talking = Burden(10, 2, 0.0), Burden(10, 5, 0.5), Burden(10, 9, 1.0015)
    balance = Balance()
    balance.look(True, [light, heavy, talking], 1.0)
    assert balance.next_deadline() == 1.0 + PATIENCE_S, "an idle worker waits a little, too"
    assert balance.due([light, heavy, talking], 1.0) is None
    now = 1.0 + PATIENCE_S
    assert balance.due([light, heavy, talking], now) is heavy
    assert balance.due([light, heavy, talking], now) is light
    assert balance.due([light, heavy, talking], now) is None
    balance.look(True, [light, heavy, talking], now)
    assert balance.next_deadline() == pytest.approx(1.0015 + PATIENCE_S)


def test_patience_begins_anew_with_each_idle_spell() -> None:
    balance = Balance()
    balance.look(True, [Burden(2, 1)], 1.0)
    balance.look(False, (), 1.001)
    balance.look(True, [Burden(2, 1)], 5.0)
    assert balance.next_deadline() == 5.0 + PATIENCE_S

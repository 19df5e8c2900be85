"""Contradictions: what lasts is told once, what changes is not one; and a long run."""

from __future__ import annotations

import random

from tests.machines.driving import within
from zmqtasks.machines.contradictions import LONG_S, Contradictions


def test_what_lasts_is_told_once() -> None:
    seen = Contradictions()
    assert seen.look({3: "idle", 4: "idle"}, 10.0) == []
    assert seen.look({3: "idle", 4: "idle"}, 10.0 + LONG_S / 2) == []
    assert repr(seen) == "<Contradictions {3: ('idle', 10.0), 4: ('idle', 10.0)}>"
    assert seen.look({3: "idle", 4: "idle"}, 10.0 + LONG_S) == [3, 4]
    assert seen.look({3: "idle"}, 10.0 + LONG_S) == []
    assert seen.look({}, 20.0) == []
    assert seen.look({3: "idle"}, 20.0) == [], "it was busy in between"


def test_who_has_done_something_in_between_waits_anew() -> None:
    seen = Contradictions()
    assert [seen.look({1: f"idle after {chunk}"}, float(chunk)) for chunk in range(10)] == [[]] * 10


def test_long_run_of_workers_that_come_and_go_and_never_rest_for_long() -> None:
    chance, seen = random.Random(1), Contradictions()
    with within(5.0):
        for number in range(20_000):
            waiting = {slot: number // 2 for slot in range(64) if chance.random() < 0.1}
            assert seen.look(waiting, number * LONG_S / 2) == []
    assert len(repr(seen)) < 10_000

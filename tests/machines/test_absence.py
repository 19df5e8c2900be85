"""Absences: an inventory that was made after all that was aboard had come has to name it."""

from __future__ import annotations

from zmqtasks.machines.absence import Aboard, Absences, Missing
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Held, Phase


def aboard(**ranges: tuple[int, int]) -> dict[int, Aboard]:
    return {int(name[1:]): Aboard("j", RangeSet([part])) for name, part in ranges.items()}


def held(start: int, stop: int, attempt: int, phase: Phase = Phase.RUNNING, job: str = "j") -> Held:
    return Held(job, start, stop, attempt, phase)


def test_what_an_inventory_lacks_is_missing_when_it_was_aboard_at_the_one_before() -> None:
    absences = Absences()
    assert absences.heard("node-1", [], (0, 3), aboard(a1=(0, 10))) == [], "nothing is known of when it was sent"
    assert repr(absences) == "<Absences node-1 1 at 3>"
    assert absences.heard("node-1", [], (2, 4), aboard(a1=(0, 10))) == [], "it may be on its way"
    have = [held(0, 4, 1), held(6, 7, 2), held(6, 7, 1, job="other")]
    assert absences.heard("node-1", have, (3, 4), aboard(a1=(0, 10), a2=(6, 7))) == [Missing("j", 1, 4, 10)]
    assert absences.heard("node-1", [], (4, 4), aboard(a2=(6, 7))) == [Missing("j", 2, 6, 7)]
    assert absences.heard("node-1", [], (4, 4), {}) == []


def test_a_node_that_was_lost_begins_anew() -> None:
    absences = Absences()
    absences.heard("n", [], (1, 1), aboard(a1=(0, 10)))
    absences.forget_node("n")
    absences.forget_node("n")
    assert absences.heard("n", [], (1, 1), aboard(a1=(0, 10))) == []

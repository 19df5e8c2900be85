"""Wishes: what is wanted back of nodes, when they are reminded, and what ends a wish."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from zmqtasks.machines.dispatch_moves import Recall
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.wishes import FIRST_REMINDER_S, REMINDER_S, Denied, Wishes
from zmqtasks.messages import Held, Phase, Range

INFINITY = float("inf")


def wishes(*parts: tuple[int, int], kill: bool = False) -> Wishes:
    """Return wishes for parts of attempt 1 of job "j", aboard node "n"."""
    made = Wishes()
    for start, stop in parts:
        made.add(1, "n", Range("j", start, stop), 0.0, kill=kill)
    made.check()
    return made


def held(start: int, stop: int, phase: Phase = Phase.RUNNING, attempt: int = 1, job: str = "j") -> Held:
    return Held(job, start, stop, attempt, phase)


def test_nothing_is_wanted_at_first() -> None:
    assert not Wishes()
    assert (Wishes().due(1.0), Wishes().next_deadline(), Wishes().wanted()) == ([], INFINITY, [])
    assert Wishes().heard("n", [held(0, 1)], 0.0) == Wishes().end(1, 0, 9) == Wishes().lose(1, died=True) == []


def test_a_node_is_reminded_less_and_less_often_until_nothing_is_left() -> None:
    wanted = wishes((0, 2), (5, 6))
    times = []
    for _ in range(10):
        times.append(wanted.next_deadline())
        assert wanted.due(times[-1] - 0.001) == []
        assert wanted.due(times[-1]) == [Recall("n", (Range("j", 0, 2), Range("j", 5, 6)))]
    waits = [round(b - a, 6) for a, b in itertools.pairwise(times)]
    assert times[0] == FIRST_REMINDER_S
    assert waits == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, REMINDER_S, REMINDER_S, REMINDER_S]
    assert wanted.end(1, 0, 9) == [(0, 2), (5, 6)]
    assert not wanted
    assert wanted.due(wanted.next_deadline()) == []
    assert wanted.next_deadline() == INFINITY


def test_long_run_of_5_000_reminders() -> None:
    wanted = wishes((0, 1))
    for _ in range(5_000):
        assert len(wanted.due(wanted.next_deadline())) == 1
    assert wanted.next_deadline() < 5_001 * REMINDER_S


def test_a_new_wish_hurries_the_reminders() -> None:
    wanted = wishes((0, 1))
    for _ in range(10):
        wanted.due(wanted.next_deadline())
    wanted.add(2, "n", Range("j", 7, 8), 10.0)
    assert wanted.next_deadline() == 10.0 + FIRST_REMINDER_S


def test_what_a_worker_has_is_denied() -> None:
    wanted = wishes((0, 6))
    others = [held(0, 6, attempt=2), held(0, 6, job="other"), held(0, 2, Phase.QUEUED), held(4, 6, Phase.FINISHED)]
    assert wanted.heard("n", others, 0.0) == []
    assert wanted.heard("other", [held(0, 6)], 0.0) == []
    assert wanted.heard("n", [held(2, 4)], 0.0) == [Denied("j", 2, 4)]
    assert wanted.due(1.0) == [Recall("n", (Range("j", 0, 2), Range("j", 4, 6)))]
    assert wanted.heard("n", [held(0, 9)], 0.0) == [Denied("j", 0, 2), Denied("j", 4, 6)]
    assert not wanted


def test_a_kill_goes_before_a_cancel_and_is_never_denied() -> None:
    wanted = wishes((0, 4))
    wanted.add(1, "n", Range("j", 1, 2), 0.0, kill=True)
    wanted.add(1, "n", Range("j", 0, 4), 0.0)
    wanted.check()
    assert wanted.wanted() == [(1, 0, 1), (1, 2, 4), (1, 1, 2)]
    assert wanted.heard("n", [held(0, 4)], 0.0) == [Denied("j", 0, 1), Denied("j", 2, 4)]
    assert wanted.due(1.0) == [Recall("n", (Range("j", 1, 2),), kill=True)]
    assert repr(wanted) == "<Wishes [j cancel={} kill={1..2}] stray={}>"
    assert wanted.end(1, 1, 2) == []
    assert not wanted


def test_a_cancel_can_be_withdrawn() -> None:
    wanted = wishes((0, 4))
    wanted.add(2, "n", Range("other", 0, 4), 0.0)
    wanted.withdraw(Range("j", 0, 1))
    assert wanted.wanted() == [(1, 1, 4), (2, 0, 4)]
    wanted.withdraw(Range("j", 0, 4))
    assert wanted.wanted() == [(2, 0, 4)]


def test_with_its_node_a_wish_is_lost_but_for_a_kill_of_what_may_still_run_there() -> None:
    wanted = wishes((0, 2))
    wanted.add(1, "n", Range("j", 2, 4), 0.0, kill=True)
    wanted.add(2, "n", Range("j", 6, 7), 0.0)
    assert wanted.lose(1, died=False) == [(0, 2)]
    assert wanted.lose(2, died=False) == [(6, 7)]
    wanted.forget_node("n", died=False)
    assert wanted.next_deadline() == INFINITY
    assert wanted.heard("other", [held(0, 4)], 0.0) == []
    # It is back, and says what it has.
    assert wanted.heard("n", [held(0, 3), held(3, 4, Phase.FINISHED), held(2, 4, job="other")], 5.0) == []
    assert wanted.due(5.0) == [Recall("n", (Range("j", 2, 3),), kill=True)]
    assert wanted
    assert wanted.heard("n", [], 6.0) == []
    assert not wanted


def test_a_dead_node_runs_nothing() -> None:
    wanted = wishes((0, 2), kill=True)
    assert wanted.lose(1, died=True) == []
    assert not wanted
    wanted = wishes((0, 2), kill=True)
    wanted.lose(1, died=False)
    wanted.forget_node("n", died=True)
    assert not wanted


PART = st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda part: (part[0], sum(part)))
STEP = st.tuples(st.sampled_from(["cancel", "kill", "end", "deny", "withdraw"]), PART)


@given(st.lists(STEP, max_size=30))
def test_a_wish_is_for_what_was_wished_and_has_not_ended(steps: list[tuple[str, tuple[int, int]]]) -> None:
    wanted, cancel, kill = Wishes(), RangeSet(), RangeSet()
    for what, (start, stop) in steps:
        if what == "cancel":
            for a, b in kill.missing(start, stop):
                cancel.add(a, b)
            wanted.add(1, "n", Range("j", start, stop), 0.0)
        elif what == "kill":
            cancel.remove(start, stop)
            kill.add(start, stop)
            wanted.add(1, "n", Range("j", start, stop), 0.0, kill=True)
        else:
            hit = cancel.common(start, stop)
            cancel.remove(start, stop)
            if what == "end":
                kill.remove(start, stop)
                assert wanted.end(1, start, stop) == hit
            elif what == "deny":
                assert wanted.heard("n", [held(start, stop)], 0.0) == [Denied("j", *part) for part in hit]
            else:
                wanted.withdraw(Range("j", start, stop))
        wanted.check()
        assert wanted.wanted() == [(1, *part) for parts in (cancel, kill) for part in parts]
        assert bool(wanted) == bool(cancel or kill)

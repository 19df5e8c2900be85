"""Admission, and what holding makes of it: who waits for memory, who runs alone, and that each comes to its turn."""

from __future__ import annotations

from tests.machines.test_holding import ERROR, ONCE, History, chunk_of, given, job_of, said
from zmqtasks.machines.admission import PATIENCE_S, STOPS, Admission, Stopped
from zmqtasks.machines.holding_moves import (
    DrainRequested,
    Emit,
    GiveBack,
    KillWorker,
    OutcomesSaid,
    RangesCancelled,
    RoomTold,
    SessionReplaced,
    SinkCongested,
    WorkerLost,
    WorkerOffered,
    WorkerSacrificed,
)
from zmqtasks.messages import Held, Phase, Range

SHORT = RoomTold(True, 0, 800)
ROOMY = RoomTold(False, 500, 800)


def test_who_has_room_and_who_has_to_be_alone() -> None:
    admission = Admission()
    assert repr(admission) == "<Admission open room=inf>"
    assert admission.has_room(Stopped(1, 10**12, 0.0))
    assert not admission.has_to_be_alone(Stopped(1, 10**12, 0.0), PATIENCE_S)
    admission.told(True, 100, 800)
    assert repr(admission) == "<Admission paused room=100>"
    assert admission.has_room(Stopped(1, 100, 0.0))
    assert not admission.has_room(Stopped(1, 101, 0.0))
    assert not admission.has_to_be_alone(Stopped(STOPS - 1, 800, 0.0), 0.0)
    assert admission.has_to_be_alone(Stopped(1, 801, 0.0), 0.0)
    assert admission.has_to_be_alone(Stopped(STOPS, 1, 0.0), 0.0)
    assert admission.has_to_be_alone(Stopped(1, 1, 0.0), PATIENCE_S + 1)


def stop(
    history: History, slot: int, index: int, memory: int = 300, attempt: int = 1
) -> list[tuple[int, str, int, int]]:
    """Let a worker be stopped over a task, and another take its place; return what is given then."""
    assert history(WorkerSacrificed(slot, memory)) == [KillWorker(slot)]
    commands = history(WorkerLost(slot, 1, index))
    return given(commands + history(WorkerOffered(slot)))


def test_while_memory_is_short_one_runs_at_a_time() -> None:
    history = History(workers=2)
    history(SHORT)
    assert given(history.take(chunk_of(0, 1), chunk_of(1, 2, 2), chunk_of(2, 3, 3))) == [(0, "v:1", 0, 1)]
    assert given(history.tell(said(0, 1))) == [(0, "v:1", 1, 2)]
    assert given(history(ROOMY)) == [(1, "v:1", 2, 3)]


def test_nothing_is_sent_ahead_while_memory_is_short() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 2), chunk_of(2, 3, 2))
    history(SHORT)
    assert given(history.tell(said(0, 1))) == []


def test_what_was_stopped_waits_for_room_and_the_rest_of_its_chunk_does_not() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 5), chunk_of(5, 9, 2))
    history.tell(said(0, 1))
    history(RoomTold(False, 200, 800))
    assert stop(history, 0, 2) == [(0, "v:1", 3, 5)]
    assert history.holding.waits_for_room()
    assert history.holding.queued() == 2
    assert Held("v:1", 1, 3, 1, Phase.QUEUED) in history.holding.inventory("v")
    history.tell(said(3, 5))
    assert given(history(ROOMY)) == [(0, "v:1", 1, 3)]
    assert not history.holding.waits_for_room()


def test_where_nothing_runs_there_is_room_enough() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1))
    history(RoomTold(True, 0, 800))
    assert stop(history, 0, 0) == [(0, "v:1", 0, 1)]


def test_stopped_three_times_it_runs_alone() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 1), chunk_of(1, 9, 2), chunk_of(9, 10, 3))
    for _ in range(STOPS - 1):
        history(RoomTold(False, 0, 800))
        assert stop(history, 0, 0) in ([(0, "v:1", 9, 10)], [])
        if not history.holding.is_idle(0):
            history.tell(said(9, 10, 3))
        assert given(history(ROOMY)) == [(0, "v:1", 0, 1)], "there is room beside the other"
    assert stop(history, 0, 0) == []
    assert given(history(ROOMY)) == []
    assert given(history.tell(said(1, 9, 2), slot=1)) == [(1, "v:1", 0, 1)]


def test_alone_means_alone() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 1), chunk_of(1, 9, 2), chunk_of(9, 11, 3))
    history(ROOMY)
    # It needs more than there is at best: nothing else is begun until it can be.
    assert stop(history, 0, 0, memory=801) == []
    assert given(history.tell(said(1, 5, 2), slot=1)) == []
    assert given(history.tell(said(5, 9, 2), slot=1)) == [(1, "v:1", 0, 1)], "and nothing beside it"
    assert given(history(WorkerOffered(2))) == []
    assert given(history.tell(said(0, 1), slot=1)) == [(1, "v:1", 9, 11)]


def test_one_that_waits_long_is_run_alone() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 1), chunk_of(1, 2, 2), chunk_of(2, 3, 3), chunk_of(3, 4, 4))
    history(RoomTold(False, 100, 800))
    assert stop(history, 0, 0) == [(0, "v:1", 2, 3)]
    event = OutcomesSaid(1, (said(1, 2, 2),))
    commands = history.holding.handle(event, PATIENCE_S + 1)
    assert given(commands) == []
    assert given(history.holding.handle(OutcomesSaid(0, (said(2, 3, 3),)), PATIENCE_S + 2)) == [(1, "v:1", 0, 1)]


def test_a_congested_ventilator_holds_up_nobody() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 1), chunk_of(1, 9, 2))
    history.take(chunk_of(0, 1, 1, job="w:1"), ventilator="w")
    history(ROOMY)
    history(SinkCongested("v", True))
    assert stop(history, 0, 0, memory=801) == [(0, "w:1", 0, 1)]
    assert given(history(SinkCongested("v", False))) == []


def test_ventilators_take_turns_when_memory_is_short_too() -> None:
    history = History(workers=1)
    history(SHORT)
    history.take(chunk_of(0, 1), chunk_of(1, 2, 2), chunk_of(2, 3, 3))
    history.take(chunk_of(0, 1, 1, job="w:1"), chunk_of(1, 2, 2, job="w:1"), ventilator="w")
    order = []
    for outcome in (said(0, 1), said(1, 2, 2), said(0, 1, job="w:1"), said(2, 3, 3)):
        order += given(history.tell(outcome))
    assert [job for _, job, *_ in order] == ["v:1", "w:1", "v:1", "w:1"]


def test_a_worker_with_nothing_to_do_is_stopped_as_well() -> None:
    history = History(workers=1)
    assert history(WorkerSacrificed(0, 300)) == [KillWorker(0)]
    assert history(WorkerSacrificed(0, 300)) == []
    assert history(WorkerLost(0)) == []
    assert not history.holding.waits_for_room()


def test_what_is_aside_can_be_cancelled_dropped_and_handed_back() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 2), chunk_of(2, 9, 2))
    history(RoomTold(False, 0, 800))
    assert stop(history, 0, 1) == []
    (back,) = history(RangesCancelled("v", (Range("v:1", 0, 1),)))
    assert back == GiveBack(job_of(), 1, 0, 1)
    assert history.holding.waits_for_room(), "what is left of it still waits"
    assert history(RangesCancelled("v", (Range("v:1", 77, 78),))) == []
    (back,) = history(DrainRequested())
    assert back == GiveBack(job_of(), 1, 1, 2)

    history = History(workers=2)
    history.take(chunk_of(0, 1), chunk_of(1, 9, 2))
    history(RoomTold(False, 0, 800))
    stop(history, 0, 0)
    assert history(SessionReplaced("v")) == []
    assert history.holding.queued() == 0


def test_one_that_crashed_while_it_ran_alone_is_blamed_for_that() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1), options=ONCE)
    history(ROOMY)
    outcome = said(0, 1, kind=ERROR)
    assert history.tell(outcome) == [Emit(job_of(options=ONCE), (outcome,))]

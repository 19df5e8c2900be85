"""Holding: histories of chunks on their way through a node, then a node whose workers and ventilators misbehave."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.balance import PATIENCE_S
from zmqtasks.machines.holding import Holding
from zmqtasks.machines.holding_moves import (
    Blame,
    Command,
    DrainRequested,
    Emit,
    EndKnown,
    Event,
    Give,
    GiveBack,
    KillWorker,
    OutcomesSaid,
    PlaceLent,
    PlaceRegained,
    RangesCancelled,
    RoomTold,
    RoomWanted,
    SessionReplaced,
    SinkCongested,
    Spare,
    SpareGone,
    TakeBack,
    TasksNotBegun,
    TasksTaken,
    TellLate,
    VentilatorGone,
    WorkerLeft,
    WorkerLost,
    WorkerOffered,
    WorkersUnavailable,
    WorkerWithdrawn,
    WorkStopped,
)
from zmqtasks.messages import Address, Chunk, Held, Job, Outcome, OutcomeKind, Phase, Range, ventilator_of
from zmqtasks.options import HIGH, TaskOptions
from zmqtasks.records import replace

SINK = Address("5151515151515151", "host", ("tcp://10.0.0.9:7700",))
BODY = b"arguments"
OK, ERROR, CRASHED, LOST = OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.CRASHED, OutcomeKind.LOST
ONCE = TaskOptions(retry=False)


def job_of(name: str = "v:1", options: TaskOptions | None = None) -> Job:
    return Job(name, "f", SINK, options or TaskOptions(), b"function")


def chunk_of(start: int, stop: int, attempt: int = 1, job: str = "v:1", origin: int | None = None) -> Chunk:
    return Chunk(job, attempt, start, stop, start if origin is None else origin, BODY)


def said(
    start: int, stop: int, attempt: int = 1, kind: OutcomeKind = OK, job: str = "v:1", each_s: float = 0.001
) -> Outcome:
    return Outcome(job, attempt, "node", start, stop, kind, each_s * (stop - start), b"")


class History:
    """A holding that is told events and checked after each."""

    def __init__(self, workers: int = 0, *, one_task: bool = False, in_lanes: bool = False) -> None:
        self.holding = Holding(one_task=one_task, in_lanes=in_lanes)
        self.now = 0.0
        for slot in range(workers):
            assert self(WorkerOffered(slot)) == []

    def __call__(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            commands += self.holding.handle(event, self.now)
            self.holding.check()
        return commands

    def take(self, *chunks: Chunk, ventilator: str = "v", options: TaskOptions | None = None) -> list[Command]:
        jobs = tuple(job_of(name, options) for name in dict.fromkeys(chunk.job for chunk in chunks))
        return self(TasksTaken(ventilator, jobs, chunks))

    def tell(self, *outcomes: Outcome, slot: int = 0) -> list[Command]:
        return self(OutcomesSaid(slot, outcomes))


def given(commands: list[Command]) -> list[tuple[int, str, int, int]]:
    """Return slot, job and range of each chunk that is given."""
    return [(c.slot, c.chunk.job, c.chunk.start, c.chunk.stop) for c in commands if isinstance(c, Give)]


# Chunks -----------------------------------------------------------------------------------------------------------


def test_a_chunk_from_its_coming_to_its_end() -> None:
    history = History()
    job, chunk = job_of(), chunk_of(0, 3)
    assert history(TasksTaken("ventilator", (job,), (chunk,))) == []
    assert repr(history.holding) == "<Holding [ventil 1 queued] workers=[]>"
    assert (history.holding.queued(), history.holding.busy()) == (3, 0)
    assert history.holding.inventory("ventilator") == (Held("v:1", 0, 3, 1, Phase.QUEUED),)
    assert history(WorkerOffered(4)) == [Give(4, (job,), chunk)]
    assert repr(history.holding) == "<Holding [ventil 0 queued] workers=[4: ['v:1[0..3)']]>"
    assert (history.holding.queued(), history.holding.busy(), history.holding.is_idle(4)) == (0, 1, False)
    assert history.holding.running(4) == job
    first = said(0, 2)
    assert history.tell(first, slot=4) == [Emit(job, (first,))]
    assert history.holding.inventory("ventilator") == (Held("v:1", 2, 3, 1, Phase.RUNNING),)
    last = said(2, 3, kind=ERROR)
    assert history.tell(last, slot=4) == [Emit(job, (last,))]
    assert history.holding.is_idle(4)
    assert history.holding.running(4) is None
    assert history.holding.running(9) is None
    assert history.holding.inventory("ventilator") == history.holding.inventory("nobody") == ()


def test_what_waits_is_ordered_by_priority_and_of_high_the_latest_goes_first() -> None:
    history = History()
    priorities = {"v:1": 0, "v:2": 5, "v:3": HIGH, "v:4": 0, "v:5": -1, "v:6": 5, "v:7": HIGH}
    for attempt, (name, priority) in enumerate(priorities.items()):
        history.take(chunk_of(0, 1, attempt, name), options=TaskOptions(priority=priority))
    assert history(RangesCancelled("v", (Range("v:4", 0, 1),))) == [GiveBack(job_of("v:4"), 3, 0, 1)]
    order = [held.job for held in history.holding.inventory("v")]
    assert order == ["v:7", "v:3", "v:2", "v:6", "v:1", "v:5"]


def test_when_a_drain_has_no_more_time_what_runs_is_killed_and_handed_back() -> None:
    history = History(workers=3)
    history.take(chunk_of(0, 4))
    history.take(chunk_of(4, 5, attempt=2, job="v:2"), options=ONCE)
    history.tell(said(0, 1))
    assert history(DrainRequested()) == []
    assert history(WorkStopped()) == [KillWorker(0), KillWorker(1)]
    assert history(WorkerLost(0, 1, 2)) == [GiveBack(job_of(), 1, 1, 3), GiveBack(job_of(), 1, 3, 4)]
    once = job_of("v:2", ONCE)
    assert history(WorkerLost(1, 2, 4)) == [GiveBack(once, 2, 4, 5, LOST)]


def test_what_cannot_be_expected_to_end_in_time_does_not_begin() -> None:
    history = History(workers=1)
    history(EndKnown(100.0))
    history.take(chunk_of(0, 1))
    history.tell(said(0, 1, each_s=30.0))
    history.now = 69.0
    assert given(history.take(chunk_of(1, 2, attempt=2))) == [(0, "v:1", 1, 2)]
    history.now = 71.0
    assert history.tell(said(1, 2, attempt=2, each_s=30.0))[1:] == []
    assert history.take(chunk_of(2, 3, attempt=3)) == [TellLate()]
    assert history(DrainRequested()) == [GiveBack(job_of(), 3, 2, 3)]


def test_of_what_is_not_known_its_time_limit_is_what_it_may_take() -> None:
    history = History(workers=1)
    history(EndKnown(100.0), RoomTold(True, 0, 0))
    assert history.take(chunk_of(0, 1), options=TaskOptions(timeout=120.0)) == [TellLate()]
    assert history(RoomTold(False, 0, 0)) == [TellLate()]
    history.take(chunk_of(5, 6, job="v:2"))
    history(RangesCancelled("v", (Range("v:1", 0, 1),)))
    assert history.holding.inventory("v") == (Held("v:2", 5, 6, 1, Phase.RUNNING),)


def test_a_job_is_named_to_each_worker_once_and_forgotten_with_a_later_chunk() -> None:
    history = History(workers=1)
    job, other = job_of(), job_of("v:2")
    chunk = chunk_of(0, 1)
    assert history(TasksTaken("v", (job,), (chunk,))) == [Give(0, (job,), chunk)]
    history.tell(said(0, 1))
    chunk = chunk_of(1, 2, attempt=2)
    assert history(TasksTaken("v", (), (chunk,))) == [Give(0, (), chunk)]
    assert history(TasksTaken("v", ended=("v:1", "v:9"))) == []
    assert history.holding.knows("v", "v:1"), "as long as there is a chunk of it"
    assert history.holding.job("v", "v:1") == job
    assert history.holding.job("v", "v:9") is None
    history.tell(said(1, 2, attempt=2))
    assert not history.holding.knows("v", "v:1")
    assert not history.holding.knows("w", "v:1")
    chunk = chunk_of(0, 1, attempt=3, job="v:2")
    assert history(TasksTaken("v", (other,), (chunk,))) == [Give(0, (other,), chunk, ended=("v:1",))]


def test_a_job_that_was_forgotten_and_is_back_is_named_anew() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1))
    history.tell(said(0, 1))
    history(SessionReplaced("v"))
    assert not history.holding.knows("v", "v:1")
    chunk = chunk_of(0, 1, attempt=2)
    assert history(TasksTaken("v", (job_of(),), (chunk,))) == [Give(0, (job_of(),), chunk)]


def test_ventilators_take_turns_a_chunk_at_a_time() -> None:
    history = History()
    history.take(*(chunk_of(i, i + 1, job="a:1") for i in range(4)), ventilator="a")
    history.take(*(chunk_of(i, i + 1, job="b:1") for i in range(3)), ventilator="b")
    order = [job for slot in range(7) for _, job, *_ in given(history(WorkerOffered(slot)))]
    assert order == ["a:1", "b:1", "a:1", "b:1", "a:1", "b:1", "a:1"]


def test_a_busy_worker_is_sent_one_chunk_ahead_where_both_are_short() -> None:
    history = History(workers=1)
    history.take(*(chunk_of(i, i + 10, attempt=i) for i in (0, 10, 20, 30)))
    assert history.holding.queued() == 30, "nobody knows yet how long it takes"
    assert given(history.tell(said(0, 1, attempt=0))) == [(0, "v:1", 10, 20)]
    assert given(history.tell(said(1, 10, attempt=0))) == [(0, "v:1", 20, 30)]
    assert history.holding.busy() == 1


@pytest.mark.parametrize("each_s", [0.006, 60.0])
def test_nothing_is_sent_ahead_of_what_is_long(each_s: float) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 11), chunk_of(11, 12, attempt=2))
    assert given(history.tell(said(0, 1, each_s=each_s))) == []
    assert given(history.tell(said(1, 11, each_s=each_s))) == [(0, "v:1", 11, 12)]


def test_an_idle_worker_goes_before_a_busy_one_that_would_take_it_ahead() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 2), chunk_of(2, 3, attempt=2))
    history.tell(said(2, 3, attempt=2), slot=1)
    assert given(history.take(chunk_of(3, 4, attempt=3))) == [(1, "v:1", 3, 4)]
    assert given(history.take(chunk_of(4, 5, attempt=4))) == [(0, "v:1", 4, 5)]


def test_the_mean_follows_the_last_second() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 300))
    for index in range(299):
        history.tell(said(index, index + 1, each_s=0.3 if index < 10 else 0.01))
    assert given(history.take(chunk_of(300, 301, attempt=2))) == [(0, "v:1", 300, 301)]


def test_what_a_congested_sink_would_get_is_not_started() -> None:
    history = History(workers=2)
    assert history(SinkCongested("v", True)) == [], "nobody it knows"
    history.take(chunk_of(0, 1))
    history(SinkCongested("v", True))
    assert history.take(chunk_of(1, 2, attempt=2)) == []
    assert given(history(SinkCongested("v", False))) == [(1, "v:1", 1, 2)]


def test_a_withdrawn_worker_ends_what_it_has() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 2))
    history(WorkerWithdrawn(0))
    assert history.take(chunk_of(2, 3, attempt=2)) == []
    assert len(history.tell(said(0, 2))) == 1
    assert history(WorkerLost(0)) == []
    assert given(history(WorkerOffered(0))) == [(0, "v:1", 2, 3)]


def test_where_a_worker_runs_one_task_it_gets_one_and_no_other() -> None:
    history = History(workers=2, one_task=True)
    assert given(history.take(chunk_of(0, 3))) == [(0, "v:1", 0, 1), (1, "v:1", 1, 2)]
    assert history.tell(said(0, 1)) == [Emit(job_of(), (said(0, 1),))]
    assert history(WorkerLost(0)) == []
    assert given(history(WorkerOffered(0))) == [(0, "v:1", 2, 3)]
    assert history.holding.queued() == 0


# Balance ----------------------------------------------------------------------------------------------------------


def held_by(history: History, slot: int) -> list[tuple[int, int]]:
    return [(piece.next, piece.chunk.stop) for piece in history.holding._workers[slot].pieces]


def test_nothing_is_due_where_nobody_is_idle() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5))
    assert history.holding.tick(1.0) == []
    assert history.holding.next_deadline() == float("inf")


def test_an_idle_worker_gets_half_of_what_another_has_not_begun() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 10))
    assert history.holding.next_deadline() == PATIENCE_S
    assert history.holding.tick(PATIENCE_S / 2) == []
    assert history.holding.tick(PATIENCE_S) == [TakeBack(0, 10)]
    assert history.holding.tick(PATIENCE_S) == [], "a moment ago"
    assert given(history(TasksNotBegun(0, 6, 10))) == [(1, "v:1", 6, 10)]
    assert held_by(history, 0) == [(0, 6)]
    assert history.tell(said(6, 10), slot=1) == [Emit(job_of(), (said(6, 10),))]
    assert history.tell(said(0, 6)) == [Emit(job_of(), (said(0, 6),))]
    assert history.holding.busy() == 0
    assert history.holding.next_deadline() == float("inf")


def test_what_is_taken_back_is_dealt_out_to_all_who_are_idle() -> None:
    history = History(workers=4)
    history.take(chunk_of(0, 10))
    assert history.holding.tick(1.0) == [TakeBack(0, 10)]
    dealt = given(history(TasksNotBegun(0, 5, 10)))
    assert dealt == [(1, "v:1", 5, 6), (2, "v:1", 6, 8), (3, "v:1", 8, 10)]


def test_what_is_ahead_of_a_busy_worker_is_taken_back_as_well_and_what_it_told_of_is_left() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 4))
    history.tell(said(0, 2))
    history.take(chunk_of(4, 8, attempt=2))
    assert held_by(history, 0) == [(2, 4), (4, 8)]
    history(WorkerOffered(1))
    assert history.holding.tick(1.0) == [TakeBack(0, 8)]
    history.now = 1.0
    assert given(history(TasksNotBegun(0, 3, 8))) == [(1, "v:1", 3, 4), (1, "v:1", 4, 8)], (
        "nothing behind the silent one"
    )
    assert held_by(history, 0) == [(2, 3)]


def test_who_told_all_it_had_begun_gets_what_it_would_not_begin() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 4))
    history.tell(said(0, 2))
    assert given(history(TasksNotBegun(0, 2, 4))) == [(0, "v:1", 2, 4)]


def test_what_was_given_after_a_range_was_taken_back_is_not_meant() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 4))
    history.holding.tick(1.0)
    history(TasksNotBegun(0, 3, 4))
    history.take(chunk_of(4, 6, attempt=2), chunk_of(6, 8, attempt=3))
    history.tell(said(0, 3))
    held = [(4, 6), (6, 8)]
    assert held_by(history, 0) == held
    assert history(TasksNotBegun(0, 3, 4)) == [], "the worker says the same"
    assert held_by(history, 0) == held


def test_a_worker_tells_of_more_than_was_known_to_be_taken_back() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 10))
    history(TasksNotBegun(0, 8, 10))
    assert given(history(TasksNotBegun(0, 5, 10))) == []
    assert held_by(history, 0) == [(0, 5)]
    assert history.holding.inventory("v")[-1] == Held("v:1", 5, 8, 1, Phase.QUEUED)


def test_what_is_not_wanted_is_given_back_or_forgotten_instead() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 10))
    history(RangesCancelled("v", (Range("v:1", 6, 8),)))
    commands = history(TasksNotBegun(0, 5, 10))
    assert [c for c in commands if isinstance(c, GiveBack)] == [GiveBack(job_of(), 1, 6, 8)]
    assert given(commands) == [(1, "v:1", 5, 6)]
    history(VentilatorGone("v"))
    assert given(history(TasksNotBegun(0, 2, 10))) == []
    assert held_by(history, 0) == [(0, 2)]


def test_who_is_being_killed_and_who_runs_one_task_gives_nothing_and_gets_nothing() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 10))
    history(RangesCancelled("v", (Range("v:1", 0, 1),), kill=True))
    assert history.holding.next_deadline() == float("inf")
    history = History(workers=3, one_task=True)
    history.take(chunk_of(0, 2))
    assert history.holding.next_deadline() == float("inf")


def test_where_memory_is_short_nobody_takes_over() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 10))
    history(RoomTold(paused=True, room_bytes=0, most_bytes=1000))
    assert history.holding.next_deadline() == float("inf")


@pytest.mark.parametrize(
    "event",
    [
        WorkerOffered(0),
        WorkerWithdrawn(9),
        OutcomesSaid(9, ()),
        OutcomesSaid(0, (said(1, 2),)),
        OutcomesSaid(0, (said(0, 4),)),
        OutcomesSaid(0, (said(0, 0),)),
        OutcomesSaid(0, (said(0, 1, attempt=2),)),
        OutcomesSaid(0, (said(0, 1, job="v:2"),)),
        TasksTaken("v", (), (chunk_of(0, 1, job="v:7"),)),
    ],
    ids=repr,
)
def test_illegal_moves(event: Event) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3))
    with pytest.raises(
        LocalProtocolError, match=r"(slot \d .*|TasksTaken: v .*v:7) in <Holding \[v 0 queued\] workers="
    ):
        history(event)
    with pytest.raises(LocalProtocolError, match="slot 9 has no worker"):
        history.holding.is_idle(9)


# Sessions ---------------------------------------------------------------------------------------------------------


def test_a_newer_session_drops_the_queue_and_lets_run_what_runs() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3), chunk_of(3, 6, attempt=2))
    assert history(SessionReplaced("v")) == history(SessionReplaced("unknown")) == []
    assert history.holding.inventory("v") == (Held("v:1", 0, 3, 1, Phase.RUNNING),)
    assert history.tell(said(0, 3)) == [Emit(job_of(), (said(0, 3),))]
    assert not history.holding.knows("v", "v:1")


def test_a_ventilator_that_is_gone_loses_its_queue_and_its_running_tasks() -> None:
    history = History(workers=2)
    history.take(chunk_of(0, 3), ventilator="gone")
    history.take(chunk_of(0, 3, job="w:1"), ventilator="w")
    assert history(VentilatorGone("gone")) == [KillWorker(0)]
    assert history(VentilatorGone("gone")) == []
    assert history.holding.running(0) is None
    assert history.tell(said(0, 1)) == [], "nobody wants it"
    assert history(WorkerLost(0, 1, 1)) == []
    assert history.holding.inventory("gone") == ()
    assert history.holding.busy() == 1


@pytest.mark.parametrize("options", [TaskOptions(), ONCE], ids=["retry", "once"])
def test_of_a_worker_that_knows_nothing_of_its_tasks_nobody_can_tell_which_ran(options: TaskOptions) -> None:
    history = History(workers=1)
    job = job_of(options=options)
    history.take(chunk_of(0, 3), options=options)
    history.tell(said(0, 1))
    assert history.holding.believed() == {0: "['v:1[1..3)']"}
    lost = history(WorkerLost(0, unaccounted=True))
    assert lost == ([] if options.retry else [GiveBack(job, 1, 1, 3, OutcomeKind.LOST)])
    assert history.holding.believed() == {}
    assert given(history(WorkerOffered(0))) == ([(0, "v:1", 1, 3)] if options.retry else [])


def ahead(history: History) -> None:
    """Let worker 0 run a short chunk of v and have one of w ahead."""
    history.take(chunk_of(0, 2))
    history.take(chunk_of(0, 2, job="w:1"), ventilator="w")
    history.tell(said(0, 2))
    history.tell(said(0, 2, job="w:1"))
    assert given(history.take(chunk_of(2, 4, attempt=2))) == [(0, "v:1", 2, 4)]
    assert given(history.take(chunk_of(2, 4, job="w:1", attempt=2), ventilator="w")) == [(0, "w:1", 2, 4)]


def test_the_running_task_of_a_neighbour_is_not_killed_for_one_that_is_ahead() -> None:
    history = History(workers=1)
    ahead(history)
    assert history(VentilatorGone("w")) == []
    assert history.tell(said(2, 3, attempt=2)) == [Emit(job_of(), (said(2, 3, attempt=2),))]
    assert history.tell(said(3, 4, attempt=2)) == [Emit(job_of(), (said(3, 4, attempt=2),)), KillWorker(0)]
    assert history.take(chunk_of(9, 10, attempt=3)) == [], "not to a worker that is being killed"
    assert history(WorkerLost(0, 2, 2)) == []
    assert given(history(WorkerOffered(0))) == [(0, "v:1", 9, 10)]


def test_what_was_ahead_of_a_killed_worker_is_not_blamed_though_it_had_begun() -> None:
    history = History(workers=1)
    ahead(history)
    assert history(VentilatorGone("v")) == [KillWorker(0)]
    assert history.tell(said(2, 4, attempt=2)) == []
    assert history(WorkerLost(0, 2, 3)) == []
    assert given(history(WorkerOffered(1))) == [(1, "w:1", 2, 4)]


def test_a_ventilator_that_comes_back_has_nothing_to_do_with_its_earlier_self() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3))
    history(VentilatorGone("v"))
    history.take(chunk_of(0, 3, attempt=8))
    assert history.holding.inventory("v") == (Held("v:1", 0, 3, 8, Phase.QUEUED),)
    assert history(WorkerLost(0, 1, 1)) == []
    assert history.holding.queued() == 3
    chunk = chunk_of(0, 3, attempt=8)
    assert history(WorkerOffered(0)) == [Give(0, (job_of(),), chunk)]


def test_workers_forget_the_jobs_of_a_ventilator_that_is_gone() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1))
    history.tell(said(0, 1))
    history(VentilatorGone("v"))
    chunk = chunk_of(0, 1, job="w:1")
    assert history(TasksTaken("w", (job_of("w:1"),), (chunk,))) == [Give(0, (job_of("w:1"),), chunk, ended=("v:1",))]


# Cancelling -------------------------------------------------------------------------------------------------------


def test_what_is_queued_is_given_back_and_its_neighbours_keep_their_place() -> None:
    history = History()
    history.take(chunk_of(0, 10), chunk_of(10, 12, attempt=2))
    unwanted = (Range("v:1", 2, 4), Range("v:1", 3, 5), Range("v:1", 9, 11), Range("v:2", 0, 9))
    assert history(RangesCancelled("unknown", unwanted), RangesCancelled("w", unwanted)) == []
    job = job_of()
    assert history(RangesCancelled("v", unwanted)) == [
        GiveBack(job, 1, 2, 5),
        GiveBack(job, 1, 9, 10),
        GiveBack(job, 2, 10, 11),
    ]
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 2), (5, 9), (11, 12)]
    assert history(WorkerOffered(0)) == [Give(0, (job,), chunk_of(0, 2))]
    assert history(WorkerOffered(1)) == [Give(1, (job,), chunk_of(5, 9, origin=0))], "of the same body"


def test_without_kill_what_runs_goes_on_but_is_not_run_again() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5))
    assert history(RangesCancelled("v", (Range("v:1", 2, 4),))) == []
    assert history(WorkerLost(0)) == [GiveBack(job_of(), 1, 2, 4)]
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 2), (4, 5)]


def test_with_kill_the_worker_dies_and_nobody_is_blamed() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5))
    cancel = RangesCancelled("v", (Range("v:1", 2, 4),), kill=True)
    assert history(cancel, cancel) == [KillWorker(0)], "once"
    assert history(WorkerLost(0, 1, 1)) == [GiveBack(job_of(), 1, 2, 4)]
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 2), (4, 5)]


def test_a_kill_does_not_reach_who_only_has_it_ahead_or_runs_another() -> None:
    history = History(workers=1)
    ahead(history)
    assert history(RangesCancelled("w", (Range("w:1", 2, 4),), kill=True)) == []
    assert history(RangesCancelled("v", (Range("v:1", 7, 9),), kill=True)) == []


def test_a_worker_that_comes_to_what_was_killed_ahead_is_killed() -> None:
    history = History(workers=1)
    ahead(history)
    first, second = history.holding._workers[0].pieces
    killed = Range(second.chunk.job, second.chunk.stop - 1, second.chunk.stop)
    assert history(RangesCancelled(second.ventilator, (killed,), kill=True)) == []
    told = said(first.next, first.chunk.stop, first.chunk.attempt, job=first.chunk.job)
    assert KillWorker(0) in history.tell(told)


def test_at_most_once_a_worker_is_killed_only_for_the_task_that_runs() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5), options=ONCE)
    assert history(RangesCancelled("v", (Range("v:1", 2, 4),), kill=True)) == []
    assert history.tell(said(0, 1))[1:] == []
    assert history.tell(said(1, 2))[1:] == [KillWorker(0)], "it is its turn"
    job = job_of(options=ONCE)
    assert history(WorkerLost(0, 1, 2)) == [GiveBack(job, 1, 2, 3, LOST), GiveBack(job, 1, 3, 4)]
    assert history.holding.queued() == 1


def test_at_most_once_what_a_killed_worker_was_packing_is_lost() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5), options=ONCE)
    assert history(RangesCancelled("v", (Range("v:1", 0, 1),), kill=True)) == [KillWorker(0)]
    job = job_of(options=ONCE)
    assert history(WorkerLost(0, 1, 1, packing=True)) == [GiveBack(job, 1, 0, 1, LOST)]
    assert history.holding.queued() == 4


# Deaths -----------------------------------------------------------------------------------------------------------


def test_the_task_that_ran_is_blamed_and_the_rest_goes_first() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 10), chunk_of(10, 11, attempt=2))
    history.tell(said(0, 3, each_s=1.0))
    job = job_of()
    assert history(WorkerLost(0, 1, 5)) == [Blame(job, 1, 5, CRASHED)]
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(3, 5), (6, 10), (10, 11)]
    assert history(WorkerOffered(0)) == [Give(0, (job,), chunk_of(3, 5, origin=0))]
    assert history(WorkerLost(0, 1, 3, OutcomeKind.TIMEOUT)) == [Blame(job, 1, 3, OutcomeKind.TIMEOUT)]


def test_a_worker_that_had_not_begun_harms_nobody() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3))
    assert history(WorkerLost(0)) == history(WorkerLost(7)) == []
    assert history.holding.inventory("v") == (Held("v:1", 0, 3, 1, Phase.QUEUED),)
    history(WorkerOffered(0))
    assert history(WorkerLost(0, attempt=9, index=1)) == [], "it had ended another chunk, and not begun this one"


@pytest.mark.parametrize(("index", "blamed"), [(0, 2), (99, 4)])
def test_a_nonsensical_index_is_taken_for_the_nearest_task(index: int, blamed: int) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5))
    history.tell(said(0, 2))
    assert history(WorkerLost(0, 1, index)) == [Blame(job_of(), 1, blamed, CRASHED)]


def test_at_most_once_what_ran_untold_is_lost() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5), options=ONCE)
    job = job_of(options=ONCE)
    assert history(WorkerLost(0, 1, 2)) == [GiveBack(job, 1, 0, 2, LOST), Blame(job, 1, 2, CRASHED)]
    assert history.holding.queued() == 2


@pytest.mark.parametrize(("options", "fate"), [(TaskOptions(), "again"), (ONCE, "lost")], ids=["retry", "once"])
def test_what_was_told_of_an_earlier_chunk_may_be_lost_too(options: TaskOptions, fate: str) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1), options=options)
    history.tell(said(0, 1))
    assert len(given(history.take(chunk_of(1, 3, 2), chunk_of(3, 5, 3), options=options))) == 2
    job = job_of(options=options)
    lost = [GiveBack(job, 2, 1, 3, LOST)] if fate == "lost" else []
    assert history(WorkerLost(0, 3, 3)) == [*lost, Blame(job, 3, 3, CRASHED)]
    assert history.holding.queued() == (1 if fate == "lost" else 3)


def test_one_dispatch_may_have_come_as_two_pieces() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1))
    history.tell(said(0, 1))
    history.take(chunk_of(1, 3, 2), chunk_of(4, 6, 2))
    assert history(WorkerLost(0, 2, 5)) == [Blame(job_of(), 2, 5, CRASHED)]
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(1, 3), (4, 5)]


def test_of_two_pieces_that_touch_the_one_that_was_packed_is_guilty() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1), options=ONCE)
    history.tell(said(0, 1))
    history.take(chunk_of(1, 3, 2), chunk_of(3, 6, 2), options=ONCE)
    job = job_of(options=ONCE)
    assert history(WorkerLost(0, 2, 3, packing=True)) == [GiveBack(job, 2, 1, 2, LOST), Blame(job, 2, 2, CRASHED)]
    assert history.holding.inventory("v") == (Held("v:1", 3, 6, 2, Phase.QUEUED),)


def test_of_results_that_kill_the_worker_that_packs_them_the_guilty_one_is_found_by_halving() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 9))
    deaths, guilty = 0, 5
    commands: list[Command] = []
    while not commands:
        ((_, start, stop, *_),) = [h for h in history.holding.inventory("v") if h.phase is Phase.RUNNING]
        if start <= guilty < stop:
            deaths += 1
            commands = history(WorkerLost(0, 1, stop, packing=True))
            history(WorkerOffered(0))
        else:
            history.tell(said(start, stop, each_s=1.0))
    assert commands == [Blame(job_of(), 1, guilty, CRASHED)]
    assert deaths <= 5
    assert history.holding.inventory("v") == (Held("v:1", 6, 9, 1, Phase.RUNNING),)


def test_who_died_packing_after_all_was_told_harms_nobody() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 5))
    history.tell(said(0, 2))
    assert history(WorkerLost(0, 1, 2, packing=True)) == []
    assert history.holding.queued() == 3


def test_packing_goes_on_where_it_was() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 9))
    history(WorkerLost(0, 1, 4, packing=True))
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 2), (2, 4), (4, 9)]


def test_at_most_once_a_result_that_cannot_be_packed_ends_its_task() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 9), options=ONCE)
    job = job_of(options=ONCE)
    assert history(WorkerLost(0, 1, 3, packing=True)) == [GiveBack(job, 1, 0, 2, LOST), Blame(job, 1, 2, CRASHED)]


@pytest.mark.parametrize("options", [TaskOptions(), ONCE], ids=["retry", "once"])
def test_of_arguments_that_kill_the_worker_that_loads_them_the_guilty_one_is_found_by_halving(
    options: TaskOptions,
) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 9), options=options)
    deaths, guilty = 0, 5
    commands: list[Command] = []
    while not commands:
        ((_, start, stop, *_),) = [h for h in history.holding.inventory("v") if h.phase is Phase.RUNNING]
        if start <= guilty < stop:
            deaths += 1
            commands = history(WorkerLost(0, 1, start, OutcomeKind.TIMEOUT, loading=True))
            history(WorkerOffered(0))
        else:
            history.tell(*(said(index, index + 1, each_s=1.0) for index in range(start, stop)))
    assert commands == [Blame(job_of(options=options), 1, guilty, OutcomeKind.TIMEOUT)]
    assert deaths <= 5


def test_who_loads_arguments_that_were_taken_back_meanwhile_blames_nobody() -> None:
    history = History(workers=2)
    history.take(chunk_of(4, 6))
    assert given(history(TasksNotBegun(0, 1, 2))) == [(1, "v:1", 5, 6)]
    assert history(WorkerLost(0, 1, 4, loading=True)) == [], "it may have been at the arguments of 5"
    history(WorkerOffered(0))
    assert held_by(history, 0) == [(4, 5)]
    assert history(WorkerLost(0, 1, 4, loading=True)) == [Blame(job_of(), 1, 4, CRASHED)], "now it had no others"


def test_a_function_that_is_never_imported_ends_all_that_call_it() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3))
    lost = WorkerLost(0, 1, 0, OutcomeKind.TIMEOUT, importing=True)
    assert history(lost) == [Blame(job_of(), 1, index, OutcomeKind.TIMEOUT) for index in range(3)]
    assert history.holding.queued() == 0


def test_a_death_while_the_function_is_imported_is_nobodys_yet() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 4))
    assert history(WorkerLost(0, 1, 0, importing=True)) == []
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 2), (2, 4)]


def test_who_is_killed_over_a_task_that_has_ended_meanwhile_is_blameless() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 9))
    assert history(WorkerLost(0, 1, 4, blameless=True)) == []
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 5), (5, 9)]
    history(WorkerOffered(0))
    assert history(WorkerLost(0, 1, 0, loading=True, blameless=True)) == []
    assert [(h.start, h.stop) for h in history.holding.inventory("v")] == [(0, 5), (5, 9)]


def test_who_ran_beside_others_when_their_worker_died_is_tried_alone() -> None:
    history = History(workers=2, in_lanes=True)
    history.take(chunk_of(0, 3), chunk_of(3, 4, attempt=2))
    assert history(WorkerLost(0, 1, 1, blameless=True, suspect=True)) == []
    (first,) = history(WorkerOffered(0))
    assert isinstance(first, Give)
    assert (first.chunk.start, first.chunk.stop, first.alone) == (0, 2, True)
    *_, rest = history.tell(said(0, 1), said(1, 2))
    assert isinstance(rest, Give)
    assert (rest.chunk.start, rest.chunk.stop, rest.alone) == (2, 3, False)
    assert history(WorkerLost(1, 2, 3, loading=True, blameless=True, suspect=True)) == []
    (again,) = history(WorkerOffered(1))
    assert isinstance(again, Give)
    assert again.alone


def test_lanes_of_a_process_get_nothing_ahead_and_give_nothing_back() -> None:
    history = History(workers=1, in_lanes=True)
    history.take(chunk_of(0, 9))
    history.tell(said(0, 1))
    assert history.take(chunk_of(9, 10, attempt=2)) == []
    history(WorkerOffered(1))
    assert history.holding.next_deadline() == float("inf")


def test_a_result_that_is_too_big_says_nothing_of_how_long_tasks_take() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 2))
    history.tell(said(0, 1, kind=OutcomeKind.TOO_BIG))
    assert history.take(chunk_of(2, 3, attempt=2)) == []


@pytest.mark.parametrize("options", [TaskOptions(), ONCE])
def test_what_a_worker_that_leaves_has_not_told_of_goes_first_and_unpunished(options: TaskOptions) -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1), options=options)
    history.tell(said(0, 1))
    job = job_of(options=options)
    chunks = chunk_of(1, 9, attempt=2), chunk_of(9, 12, attempt=3), chunk_of(12, 14, attempt=4)
    assert len(given(history.take(*chunks, options=options))) == 2
    history.tell(said(1, 3, attempt=2))
    assert history(WorkerWithdrawn(0), WorkerLeft(0)) == []
    assert history.holding.busy() == 0
    held = [(h.start, h.stop, h.attempt) for h in history.holding.inventory("v")]
    assert held == [(3, 9, 2), (9, 12, 3), (12, 14, 4)]
    assert history(WorkerOffered(1))[0] == Give(1, (job,), chunk_of(3, 9, attempt=2, origin=1))
    assert history(WorkerLost(0)) == [], "its end is no news"


def test_what_nobody_wants_leaves_with_its_worker() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 4))
    history(RangesCancelled("v", (Range("v:1", 2, 3),)))
    assert [(c.start, c.stop) for c in history(WorkerLeft(0)) if isinstance(c, GiveBack)] == [(2, 3)]
    history(WorkerOffered(0), VentilatorGone("v"))
    assert history(WorkerLeft(0)) == []
    assert history.holding.queued() == 0


def test_what_leaves_a_node_that_drains_is_given_back() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 4))
    assert history(DrainRequested(), WorkerLeft(0)) == [GiveBack(job_of(), 1, 0, 4)]


def test_a_task_that_asks_to_be_run_again_is_told_and_measured() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 2))
    asked = said(0, 1, kind=OutcomeKind.RETRY)
    assert history.tell(asked) == [Emit(job_of(), (asked,))]
    assert history.holding.inventory("v") == (Held("v:1", 1, 2, 1, Phase.RUNNING),)


def test_where_no_worker_can_be_started_what_is_queued_ends() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 1), chunk_of(1, 3, attempt=2))
    job = job_of()
    assert history(WorkersUnavailable()) == [Blame(job, 2, 1, ERROR), Blame(job, 2, 2, ERROR)]
    assert history.holding.inventory("v") == (Held("v:1", 0, 1, 1, Phase.RUNNING),)


# Draining ---------------------------------------------------------------------------------------------------------


def test_a_drain_gives_back_what_has_not_started() -> None:
    history = History(workers=1)
    history.take(chunk_of(0, 3), chunk_of(3, 6, attempt=2))
    job = job_of()
    assert history(DrainRequested()) == [GiveBack(job, 2, 3, 6)]
    assert history.take(chunk_of(6, 9, attempt=3)) == [GiveBack(job, 3, 6, 9)]
    assert history.tell(said(0, 1)) == [Emit(job, (said(0, 1),))]
    assert history(WorkerLost(0, 1, 1)) == [Blame(job, 1, 1, CRASHED), GiveBack(job, 1, 2, 3)], "no worker will take it"
    assert history.holding.inventory("v") == ()


# A node -----------------------------------------------------------------------------------------------------------

Task = tuple[str, str, int, int]
"""Ventilator, job, attempt, index."""


@dataclass
class Worker:
    """What a worker really does: `ran` tasks of its first chunk have ended, `told` of them have been told."""

    chunks: list[tuple[str, Chunk]] = field(default_factory=list)
    knows: set[str] = field(default_factory=set)
    positions: list[int] = field(default_factory=list)
    given: int = 0
    ran: int = 0
    told: int = 0
    condemned: bool = False
    withdrawn: bool = False


@dataclass
class Node:
    """Ventilators and workers around a holding; keeps its own account of every task."""

    dice: random.Random
    holding: Holding = field(default_factory=Holding)
    jobs: dict[str, Job] = field(default_factory=dict)
    named: dict[str, set[str]] = field(default_factory=dict)
    here: set[Task] = field(default_factory=set)
    gone: set[Task] = field(default_factory=set)
    runs: dict[Task, int] = field(default_factory=dict)
    workers: dict[int, Worker] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    late: list[tuple[int, Worker, int, int]] = field(default_factory=list)
    attempts: int = 0
    draining: bool = False
    now: float = 0.0

    def do(self, event: Event) -> list[Command]:
        commands = self.holding.handle(event, self.now)
        self.holding.check()
        for command in commands:
            match command:
                case Give():
                    self.give(command)
                case Emit(job, outcomes):
                    for said in outcomes:
                        self.end("emitted", job, said.attempt, said.start, said.stop)
                case Blame(job, attempt, index):
                    self.end("blamed", job, attempt, index, index + 1)
                case GiveBack(job, attempt, start, stop, kind):
                    self.end(kind.name, job, attempt, start, stop)
                case KillWorker(slot):
                    assert not self.workers[slot].condemned
                    self.workers[slot].condemned = True
        self.compare()
        return commands

    def compare(self) -> None:
        """Every task that has come and not ended is in the inventory, once."""
        for ventilator in self.named:
            held = [
                (ventilator, h.job, h.attempt, index)
                for h in self.holding.inventory(ventilator)
                for index in range(h.start, h.stop)
            ]
            assert len(held) == len(set(held)), "a task is held twice"
            assert set(held) == {task for task in self.here if task[0] == ventilator}

    def end(self, how: str, job: Job, attempt: int, start: int, stop: int) -> None:
        ventilator = ventilator_of(job.id)
        assert start < stop
        for index in range(start, stop):
            self.here.remove((ventilator, job.id, attempt, index))
            self.ends.append(how)

    def give(self, command: Give) -> None:
        worker, chunk = self.workers[command.slot], command.chunk
        ventilator = ventilator_of(chunk.job)
        assert not worker.withdrawn
        assert not worker.condemned
        assert not self.draining
        assert chunk.origin <= chunk.start
        assert len(worker.chunks) < 2
        worker.knows |= {job.id for job in command.jobs}
        assert chunk.job in worker.knows
        worker.knows -= set(command.ended)
        assert chunk.job in worker.knows
        for index in range(chunk.start, chunk.stop):
            assert (ventilator, chunk.job, chunk.attempt, index) in self.here
        worker.chunks.append((ventilator, chunk))
        worker.positions.append(worker.given)
        worker.given += chunk.stop - chunk.start

    # Balance

    def rest(self) -> None:
        """Let some time pass: who is idle may get what others have not begun."""
        self.now += 0.01
        for command in self.holding.tick(self.now):
            assert isinstance(command, TakeBack)
            self.take_back(command.slot, command.given)

    def take_back(self, slot: int, given: int) -> None:
        """Take back some of what a worker has not begun; what comes of that may be heard late."""
        worker = self.workers[slot]
        assert given == worker.given
        if not worker.chunks or any(late[1] is worker for late in self.late):
            return
        first = self.dice.randint(worker.positions[0] + worker.ran, given)
        cut = []
        for position, (ventilator, chunk) in zip(worker.positions, worker.chunks, strict=True):
            stop = min(chunk.stop, chunk.start + first - position)
            cut.append((position, (ventilator, replace(chunk, stop=stop))))
        kept = [item for item in cut if item[1][1].start < item[1][1].stop]
        if kept and kept[0][1][1].stop - kept[0][1][1].start == worker.told > 0:
            del kept[0]
        if not kept or kept[0][0] != worker.positions[0]:
            worker.ran = worker.told = 0
        worker.positions, worker.chunks = [position for position, _ in kept], [item for _, item in kept]
        if self.dice.random() < 0.3:
            self.late.append((slot, worker, first, given))
        elif first < given:
            self.do(TasksNotBegun(slot, first, given))

    def hear(self) -> None:
        """Hear of what was taken back a while ago."""
        late, self.late = self.late, []
        for slot, worker, first, given in late:
            if self.workers.get(slot) is worker:
                self.do(TasksNotBegun(slot, first, given))

    # Ventilators

    def take(self) -> None:
        ventilator = self.dice.choice(["a", "b", "c"])
        known = self.named.setdefault(ventilator, set())
        job_id = f"{ventilator}:{self.dice.randint(1, 3)}"
        self.jobs.setdefault(job_id, job_of(job_id, ONCE if self.dice.random() < 0.3 else None))
        jobs = () if job_id in known else (self.jobs[job_id],)
        known.add(job_id)
        self.attempts += self.dice.choice([0, 1]) if ventilator == "c" else 1
        self.attempts += any(task[2] == self.attempts for task in self.here | self.gone)
        start = self.dice.randint(0, 50)
        stop = start + self.dice.randint(1, 8)
        self.attempts += any((ventilator, job_id, self.attempts, index) in self.runs for index in range(start, stop))
        middle = self.dice.randint(start, stop)
        chunks = [
            Chunk(job_id, self.attempts, a, b, start, BODY) for a, b in ((start, middle), (middle, stop)) if a < b
        ]
        self.here |= {(ventilator, job_id, self.attempts, index) for index in range(start, stop)}
        ended: tuple[str, ...] = ()
        if self.dice.random() < 0.2:
            ended = (self.dice.choice(sorted(known)),)
            known -= set(ended)
        self.do(TasksTaken(ventilator, jobs, tuple(chunks), ended))

    def replace(self) -> None:
        if ventilator := self.pick(self.named):
            queued = [h for h in self.holding.inventory(ventilator) if h.phase is Phase.QUEUED]
            self.here -= {(ventilator, h.job, h.attempt, i) for h in queued for i in range(h.start, h.stop)}
            self.named[ventilator].clear()
            self.do(SessionReplaced(ventilator))

    def leave(self) -> None:
        if ventilator := self.pick(self.named):
            self.gone |= {task for task in self.here if task[0] == ventilator}
            self.here = {task for task in self.here if task[0] != ventilator}
            self.named[ventilator].clear()
            self.do(VentilatorGone(ventilator))

    def cancel(self) -> None:
        if ventilator := self.pick(self.named):
            start = self.dice.randint(0, 50)
            ranges = tuple(Range(f"{ventilator}:{n}", start, start + self.dice.randint(1, 9)) for n in (1, 2, 3))
            self.do(RangesCancelled(ventilator, ranges, self.dice.random() < 0.5))

    def congest(self) -> None:
        if ventilator := self.pick(self.named):
            self.do(SinkCongested(ventilator, self.dice.random() < 0.3))

    # Workers

    def offer(self) -> None:
        slot = self.dice.randrange(4)
        if slot not in self.workers:
            self.workers[slot] = Worker()
            self.do(WorkerOffered(slot))

    def withdraw(self) -> None:
        if (slot := self.pick(self.workers)) is not None:
            self.workers[slot].withdrawn = True
            self.do(WorkerWithdrawn(slot))

    def work(self) -> None:
        """Run some tasks of the first chunk; tell some results, at most once each at once, at its end all."""
        slot = self.pick(slot for slot, worker in self.workers.items() if worker.chunks)
        if slot is None:
            return
        worker = self.workers[slot]
        ventilator, chunk = worker.chunks[0]
        once = not self.jobs[chunk.job].options.retry
        left = chunk.stop - chunk.start - worker.ran
        for _ in range(1 if once else self.dice.randint(0, left)):
            self.begin(ventilator, chunk, worker)
            worker.ran += 1
        complete = worker.ran == chunk.stop - chunk.start
        if complete or once or self.dice.random() < 0.5:
            self.tell(slot, worker, chunk)

    def begin(self, ventilator: str, chunk: Chunk, worker: Worker) -> None:
        task = (ventilator, chunk.job, chunk.attempt, chunk.start + worker.ran)
        self.runs[task] = self.runs.get(task, 0) + 1
        assert self.runs[task] == 1 or self.jobs[chunk.job].options.retry, "at most once"

    def tell(self, slot: int, worker: Worker, chunk: Chunk) -> None:
        start, stop = chunk.start + worker.told, chunk.start + worker.ran
        outcomes = []
        while start < stop:
            fails = self.dice.random() < 0.2
            end = start + 1 if fails else self.dice.randint(start + 1, stop)
            each_s = 0.001 if chunk.job.endswith("1") else 1.0
            outcomes.append(said(start, end, chunk.attempt, ERROR if fails else OK, chunk.job, each_s))
            start = end
        worker.told = worker.ran
        if worker.ran == chunk.stop - chunk.start:
            worker.chunks.pop(0)
            worker.positions.pop(0)
            worker.ran = worker.told = 0
        self.do(OutcomesSaid(slot, tuple(outcomes)))

    def die(self) -> None:
        condemned = [slot for slot, worker in self.workers.items() if worker.condemned]
        slot = self.pick(condemned or self.workers)
        if slot is None:
            return
        worker = self.workers.pop(slot)
        if not worker.chunks or (not worker.ran and self.dice.random() < 0.3):
            assert not any(isinstance(command, Blame) for command in self.do(WorkerLost(slot)))
            return
        ventilator, chunk = worker.chunks[0]
        complete = worker.ran == chunk.stop - chunk.start
        packing = complete or self.dice.random() < 0.3
        loading = not worker.ran and self.dice.random() < 0.3
        if loading:
            packing = False
        elif not packing:
            self.begin(ventilator, chunk, worker)
        index = chunk.start + worker.ran
        commands = self.do(WorkerLost(slot, chunk.attempt, index, packing=packing, loading=loading))
        blamed = [command for command in commands if isinstance(command, Blame)]
        assert len(blamed) <= (not worker.condemned), "who is killed on purpose gives no blame"
        for blame in blamed:
            assert blame.attempt == chunk.attempt
            assert blame.index - chunk.start in (range(worker.told, worker.ran) if packing else (worker.ran,))

    def go(self) -> None:
        """Let a worker leave: it tells of what it ran, and some of what it has was never begun."""
        if (slot := self.pick(slot for slot, worker in self.workers.items() if not worker.condemned)) is not None:
            worker = self.workers[slot]
            if worker.chunks and worker.ran > worker.told:
                self.tell(slot, worker, worker.chunks[0][1])
            del self.workers[slot]
            assert not any(isinstance(command, Blame) for command in self.do(WorkerLeft(slot)))

    def pick(self, among):  # type: ignore[no-untyped-def]
        choices = list(among)
        return self.dice.choice(choices) if choices else None

    def live(self, steps: int) -> None:
        moves = [
            *[self.take] * 3,
            self.replace,
            self.leave,
            self.cancel,
            self.congest,
            self.withdraw,
            self.die,
            self.go,
        ]
        moves += [*[self.offer] * 4, *[self.work] * 14, *[self.rest] * 4, self.hear]
        for _ in range(steps):
            self.dice.choice(moves)()

    def finish(self, *, drain: bool) -> None:
        """Let nothing more go wrong; everything here has to end."""
        if drain:
            self.draining = True
            self.do(DrainRequested())
        for ventilator in self.named:
            self.do(SinkCongested(ventilator, False))
        for slot, worker in list(self.workers.items()):
            if worker.withdrawn or worker.condemned:
                del self.workers[slot]
                self.do(WorkerLost(slot))
        for _ in range(5_000):
            self.offer()
            self.work()
            self.rest()
            self.hear()
            if not self.holding.busy() and not self.holding.queued():
                return
        raise AssertionError(f"never ends: {self.holding!r}")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_ends_in_one_way_and_none_is_nowhere(seed: int) -> None:
    node = Node(random.Random(seed))
    node.live(1_500)
    drain = seed % 2 == 0
    while drain and not node.holding.queued():
        node.live(10)
    node.finish(drain=drain)
    assert not node.here
    assert {"emitted", "blamed", *(["RETURNED"] if drain else [])} <= set(node.ends)


# Long runs --------------------------------------------------------------------------------------------------------


def test_long_run_of_20_000_chunks_and_5_000_deaths() -> None:
    with within(8.0):
        history = Holding()
        job = job_of()
        history.handle(TasksTaken("v", (job,)), 0.0)
        for slot in range(4):
            history.handle(WorkerOffered(slot), 0.0)
        given_: list[Give] = []
        for number in range(20_000):
            chunk = chunk_of(number * 10, number * 10 + 10, attempt=number)
            given_ += [c for c in history.handle(TasksTaken("v", (), (chunk,)), 0.0) if isinstance(c, Give)]
            if number % 4 == 3:
                history.handle(WorkerLost(number // 4 % 4), 0.0)
                history.handle(WorkerOffered(number // 4 % 4), 0.0)
                history.handle(SessionReplaced("v"), 0.0)
                history.handle(VentilatorGone("v"), 0.0)
                for slot in range(4):
                    history.handle(WorkerLost(slot), 0.0)
                    history.handle(WorkerOffered(slot), 0.0)
                history.handle(TasksTaken("v", (job,)), 0.0)
    assert len(given_) == 20_000
    assert repr(history) == "<Holding [v 0 queued] workers=[0: [], 1: [], 2: [], 3: []]>"


def test_long_run_of_a_queue_of_20_000_chunks_that_is_cancelled_and_worked_off() -> None:
    with within(8.0):
        history = History()
        holding = history.holding
        holding.handle(TasksTaken("v", (job_of(),), tuple(chunk_of(i, i + 1, attempt=i) for i in range(20_000))), 0.0)
        holding.handle(RangesCancelled("v", (Range("v:1", 0, 10_000),)), 0.0)
        waiting = [c.chunk.start for c in holding.handle(WorkerOffered(0), 0.0) if isinstance(c, Give)]
        while waiting:
            index = waiting.pop(0)
            commands = holding.handle(OutcomesSaid(0, (said(index, index + 1, attempt=index),)), 0.0)
            waiting += [c.chunk.start for c in commands if isinstance(c, Give)]
    assert index == 19_999
    assert holding.queued() == 0


def test_long_run_of_5_000_jobs_leaves_nothing_behind() -> None:
    holding = Holding()
    holding.handle(WorkerOffered(0), 0.0)
    holding.handle(WorkerOffered(1), 0.0)
    for number in range(5_000):
        job = job_of(f"v:{number}")
        holding.handle(TasksTaken("v", (job,), (chunk_of(0, 1, job=job.id),), (job.id,)), 0.0)
        holding.handle(OutcomesSaid(0, (said(0, 1, job=job.id),)), 0.0)
        holding.check()
    assert not holding._stock.lines["v"].jobs
    assert all(len(worker.knows) + len(worker.forget) <= 1 for worker in holding._workers.values())


def test_who_has_something_here_shares_the_room() -> None:
    history = History()
    assert history.holding.occupants() == set()
    history.take(chunk_of(0, 5), ventilator="v")
    history.take(chunk_of(0, 5, job="w:1"), ventilator="w")
    assert history.holding.occupants() == {"v", "w"}
    history(WorkerOffered(0))
    assert history.holding.occupants() == {"v", "w"}, "what runs takes room as well"
    history(RangesCancelled("w", (Range("w:1", 0, 5),)))
    assert history.holding.occupants() == {"v"}
    history(VentilatorGone("v"))
    assert history.holding.occupants() == set()


def test_short_chunks_of_others_do_not_keep_an_unknown_one_from_its_turn() -> None:
    """One worker that always has a short chunk ahead is never idle: the unknown one would wait for ever."""
    history = History(workers=1)
    history.take(*(chunk_of(n, n + 1, n + 1) for n in range(100)), ventilator="v")
    running = 0
    history.tell(said(0, 1, 1))
    history.take(chunk_of(0, 1, job="w:1"), ventilator="w")
    for running in range(1, 10):
        if ("w:1", 0) in [place[1:3] for place in given(history.tell(said(running, running + 1, running + 1)))]:
            break
    assert running <= 3


# Tasks that wait for tasks of their own -----------------------------------------------------------------------------


def busy_with_one_ahead() -> History:
    """Return a history in which worker 0 is at task 1 of a short job, and has [2..4) ahead."""
    history = History(1)
    history.take(chunk_of(0, 2), chunk_of(2, 4, attempt=2))
    history.tell(said(0, 1))
    history.take(chunk_of(4, 5, attempt=3))
    assert repr(history.holding).endswith("workers=[0: ['v:1[1..2)', 'v:1[2..4)']]>")
    return history


def test_what_lies_behind_a_task_that_waits_goes_to_others() -> None:
    history = busy_with_one_ahead()
    assert history(PlaceLent(0)) == []
    assert repr(history.holding) == "<Holding [v 2 queued] workers=[0: ['v:1[1..2)']]>"
    assert given(history(WorkerOffered(1))) == [(1, "v:1", 2, 4), (1, "v:1", 4, 5)]
    history.take(chunk_of(5, 6, attempt=4))
    assert repr(history.holding).startswith("<Holding [v 1 queued]"), "who waits gets nothing"
    assert given(history(PlaceRegained(0))) == [(0, "v:1", 5, 6)]
    assert history.tell(said(1, 2)) == [Emit(job_of(), (said(1, 2),))]


def test_what_nobody_wants_is_not_given_to_others_either() -> None:
    history = busy_with_one_ahead()
    assert history(VentilatorGone("v"), PlaceLent(0)) == [KillWorker(0)]
    assert history(WorkerOffered(1)) == []


def test_who_dies_while_it_waits_is_blamed_for_what_waited() -> None:
    history = busy_with_one_ahead()
    history(PlaceLent(0))
    assert history(WorkerLost(0, 1, 1)) == [Blame(job_of(), 1, 1, CRASHED)]
    assert history.holding.queued() == 3


def test_idle_workers_are_spared_for_those_that_would_go_on_before_any_is_given_more() -> None:
    history = History(2)
    history.take(chunk_of(0, 1), chunk_of(1, 2, attempt=2))
    assert history(RoomWanted(1)) == []
    assert history.take(chunk_of(2, 3, attempt=3)) == []
    told = said(0, 1, each_s=1.0)
    assert history.tell(told) == [Emit(job_of(), (told,)), Spare(0)]
    assert given(history.tell(said(1, 2, attempt=2, each_s=1.0), slot=1)) == [(1, "v:1", 2, 3)]
    # It keeps what it knows of jobs, and where it stands in the count of what it was given.
    history(TasksTaken("v", (), (), ("v:1",)))
    history.tell(said(2, 3, attempt=3, each_s=1.0), slot=1)
    history(WorkerOffered(0))
    gives = history.take(chunk_of(0, 1, attempt=4, job="v:2"), chunk_of(1, 2, attempt=5, job="v:2"))
    assert [(give.slot, give.ended) for give in gives if isinstance(give, Give)] == [(1, ("v:1",)), (0, ("v:1",))]


def test_room_that_is_wanted_and_there_is_spared_at_once_and_what_is_wanted_no_more_is_not() -> None:
    history = History(3)
    assert history(RoomWanted(2)) == [Spare(0), Spare(1)]
    assert history(SpareGone(0), WorkerOffered(0)) == []
    history.take(chunk_of(0, 1), chunk_of(1, 2, attempt=2))
    assert history(RoomWanted(1), RoomWanted(0)) == []
    assert given(history.take(chunk_of(2, 3, attempt=3))) == []


def test_short_of_memory_what_waits_for_others_keeps_none_from_running() -> None:
    history = History(2)
    history.take(chunk_of(0, 1), chunk_of(1, 2, attempt=2))
    history(RoomTold(True, 0, 100), PlaceLent(0), PlaceLent(1))
    history.take(chunk_of(2, 3, attempt=3), chunk_of(3, 4, attempt=4))
    assert given(history(WorkerOffered(2))) == [(2, "v:1", 2, 3)]
    assert given(history(WorkerOffered(3))) == []

"""Slots: histories of workers that start, serve, end and fail, then a workforce with a will of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.reserve import KEEP_S
from zmqtasks.machines.slots import (
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    Slots,
)
from zmqtasks.machines.slots_moves import (
    AbandonStart,
    Command,
    Deny,
    DrainRequested,
    EndRequested,
    Event,
    KillWorker,
    Lend,
    MakeRoom,
    Opened,
    Regain,
    ReplacementRequested,
    ReplaceWorker,
    Resume,
    Retire,
    Serve,
    StartWorker,
    StopWorker,
    TasksEnded,
    WaitBegun,
    WaitEnded,
    WorkerExited,
    WorkerLeft,
    WorkerReady,
    WorkerSpared,
    WorkerStarted,
    WorkerStuck,
)
from zmqtasks.machines.staffing import (
    STOP_GRACE_S,
    Staffing,
)
from zmqtasks.records import replace

NEVER = float("inf")


def told(slots: Slots, *events: Event, now: float = 0.0) -> list[Command]:
    commands: list[Command] = []
    for event in events:
        commands += slots.handle(event, now)
        slots.check()
    return commands


def serving(workers: int = 1, standby: int = 0, **more: float) -> Slots:
    """Return slots whose workers have started and serve."""
    slots = Slots(Staffing(workers, standby, **more))  # type: ignore[arg-type]
    told(slots, Opened(), *(WorkerReady(number) for number in range(workers + standby)))
    return slots


def test_a_worker_from_its_start_to_its_end() -> None:
    slots = Slots(Staffing(1, max_tasks_per_worker=10, spread=0.0))
    assert repr(slots) == "<Slots 0:empty failures=0>"
    assert slots.next_deadline() == NEVER
    assert slots.all_gone()
    assert told(slots, Opened()) == [StartWorker(0)]
    assert repr(slots) == "<Slots 0:starting failures=0>"
    assert told(slots, WorkerReady(0)) == [Serve(0)]
    assert slots.serving() == 1
    assert told(slots, TasksEnded(0, 9, idle=True)) == []
    assert told(slots, TasksEnded(0, 1, idle=False)) == [Retire(0)]
    assert repr(slots) == "<Slots 0:retiring failures=0>"
    assert told(slots, TasksEnded(0, 1, idle=False)) == []
    assert told(slots, TasksEnded(0, 1, idle=True), now=3.0) == [StopWorker(0)]
    assert repr(slots) == "<Slots 0:stopping failures=0>"
    assert told(slots, TasksEnded(0, 0, idle=True)) == []
    assert slots.next_deadline() == 3.0 + STOP_GRACE_S
    assert told(slots, WorkerExited(0), now=4.0) == [StartWorker(0)]
    assert slots.next_deadline() == NEVER
    assert not slots.all_gone()


def test_a_worker_that_does_not_end_when_asked_to_is_killed_once() -> None:
    slots = serving()
    assert told(slots, ReplacementRequested(0, idle=True)) == [Retire(0), StopWorker(0)]
    assert slots.tick(STOP_GRACE_S - 0.1) == []
    assert slots.tick(slots.next_deadline()) == [KillWorker(0)]
    assert slots.tick(100.0) == []
    assert slots.next_deadline() == NEVER
    assert told(slots, WorkerExited(0), now=100.0) == [StartWorker(0)]


def test_a_standby_takes_over_in_the_same_turn() -> None:
    slots = serving(2, 1)
    assert repr(slots) == "<Slots 0:serving 1:serving 2:spare failures=0>"
    assert told(slots, WorkerExited(0)) == [Serve(2), StartWorker(0)]
    assert told(slots, WorkerReady(0)) == []
    assert told(slots, ReplacementRequested(1, idle=False)) == [Retire(1), Serve(0)]
    assert repr(slots) == "<Slots 0:serving 1:retiring 2:serving failures=0>"


def test_a_node_without_workers_opens_and_closes() -> None:
    slots = Slots(Staffing(0))
    assert told(slots, Opened(), DrainRequested(frozenset())) == []
    assert slots.next_deadline() == NEVER
    assert slots.all_gone()


def test_failures_to_start_wait_longer_and_longer_up_to_a_limit() -> None:
    slots = Slots(Staffing(1))
    told(slots, Opened())
    now, waits = 0.0, []
    for _ in range(12):
        assert told(slots, WorkerExited(0), now=now) == []
        waits.append(slots.next_deadline() - now)
        assert slots.tick(now) == []
        now = slots.next_deadline()
        assert slots.tick(now) == [StartWorker(0)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10, 10])
    assert repr(slots) == "<Slots 0:starting failures=12>"
    told(slots, WorkerReady(0))
    assert told(slots, WorkerExited(0)) == [StartWorker(0)], "who died over a task is replaced at once"


def test_a_spare_that_dies_without_a_task_is_not_started_without_end() -> None:
    slots = serving(1, 1)
    assert told(slots, WorkerExited(1), now=5.0) == []
    assert slots.next_deadline() == 5.0 + FIRST_BACKOFF_S


@pytest.mark.parametrize(("chance", "tasks"), [(0.0, 90), (0.5, 100), (0.999, 110)])
def test_workers_that_started_together_do_not_end_together(chance: float, tasks: int) -> None:
    slots = Slots(Staffing(1, max_tasks_per_worker=100, spread=0.1))
    told(slots, Opened(), WorkerReady(0, chance))
    assert told(slots, TasksEnded(0, tasks - 1, idle=True)) == []
    assert told(slots, TasksEnded(0, 1, idle=True)) == [Retire(0), StopWorker(0)]


def test_a_worker_that_serves_without_end_need_not_tell_of_its_tasks() -> None:
    slots = serving(standby=1)
    assert slots.is_steady(0)
    assert told(slots, TasksEnded(0, 10**9, idle=True)) == []
    assert not slots.is_steady(1), "it does not serve"
    assert not slots.is_steady(7), "nobody is there"
    assert not serving(max_tasks_per_worker=3).is_steady(0), "its tasks are counted"


def test_a_life_of_one_task_is_not_spread_to_none() -> None:
    slots = Slots(Staffing(1, max_tasks_per_worker=1, spread=1.0))
    told(slots, Opened(), WorkerReady(0, 0.0))
    assert told(slots, TasksEnded(0, 0, idle=True)) == []
    assert told(slots, TasksEnded(0, 1, idle=True)) == [Retire(0), StopWorker(0)]


def test_who_is_to_be_replaced_ends_what_it_has() -> None:
    slots = serving(1, 2)
    assert told(slots, ReplacementRequested(0, idle=False)) == [Retire(0), Serve(1)]
    assert told(slots, ReplacementRequested(0, idle=True)) == []
    assert told(slots, ReplacementRequested(2, idle=True)) == [StopWorker(2)], "a spare has nothing to end"
    assert told(slots, TasksEnded(0, 1, idle=True)) == [StopWorker(0)]
    assert told(slots, ReplacementRequested(0, idle=True)) == []


def test_a_drain_ends_all_and_starts_none() -> None:
    slots = Slots(Staffing(3, 1))
    told(slots, Opened(), WorkerReady(0), WorkerReady(1), WorkerReady(2))
    told(slots, WorkerExited(2), WorkerExited(2))
    assert repr(slots) == "<Slots 0:serving 1:serving 2:empty 3:starting failures=1>"
    assert told(slots, DrainRequested(frozenset({1}))) == [Retire(0), Retire(1), StopWorker(1), StopWorker(3)]
    assert slots.next_deadline() == STOP_GRACE_S
    assert told(slots, WorkerReady(3)) == [], "its word was on the way"
    assert told(slots, WorkerExited(1), WorkerExited(3), TasksEnded(0, 1, idle=True)) == [StopWorker(0)]
    assert not slots.all_gone()
    assert told(slots, WorkerExited(0)) == []
    assert slots.all_gone()
    assert slots.tick(1e9) == []
    assert slots.next_deadline() == NEVER


def test_at_the_end_who_has_nothing_to_do_ends_in_order() -> None:
    slots = Slots(Staffing(4, 1, max_worker_age_s=100.0, start_timeout_s=9.0))
    told(slots, Opened(), *(WorkerReady(number) for number in range(5)), WorkerExited(2))
    told(slots, WorkerExited(1), ReplacementRequested(3, idle=False), WorkerStarted(1))
    assert repr(slots) == "<Slots 0:serving 1:starting 2:starting 3:retiring 4:serving failures=0>"
    told(slots, WorkerReady(2), WorkerReady(1))
    told(slots, WorkerExited(3))
    assert repr(slots) == "<Slots 0:serving 1:serving 2:serving 3:starting 4:serving failures=0>"
    told(slots, WorkerReady(3), ReplacementRequested(4, idle=False), WorkerExited(1))
    assert repr(slots) == "<Slots 0:serving 1:starting 2:serving 3:serving 4:retiring failures=0>"
    ended = told(slots, EndRequested(frozenset({0, 3})))
    assert ended == [StopWorker(0), KillWorker(1), KillWorker(2), StopWorker(3), KillWorker(4)]
    assert slots.next_deadline() == STOP_GRACE_S
    told(slots, *(WorkerExited(number) for number in range(5)))
    assert slots.all_gone()


def test_at_the_end_a_spare_ends_in_order_too() -> None:
    slots = serving(1, 1)
    assert told(slots, EndRequested(frozenset())) == [KillWorker(0), StopWorker(1)]
    assert told(slots, EndRequested(frozenset())) == []


def test_a_worker_that_leaves_is_replaced_by_the_standby_in_the_same_turn() -> None:
    slots = serving(1, 1)
    assert told(slots, WorkerLeft(0), now=2.0) == [Retire(0), Serve(1)]
    assert repr(slots) == "<Slots 0:stopping 1:serving failures=0>"
    assert slots.next_deadline() == 2.0 + STOP_GRACE_S
    assert slots.tick(2.0 + STOP_GRACE_S) == [KillWorker(0)]
    assert told(slots, WorkerExited(0), now=9.0) == [StartWorker(0)], "it left in order: no pause"


def test_who_retires_or_was_stopped_may_leave_too() -> None:
    slots = serving(1)
    assert told(slots, ReplacementRequested(0, idle=False)) == [Retire(0)]
    assert told(slots, WorkerLeft(0), now=1.0) == []
    assert told(slots, WorkerLeft(0), now=2.0) == []
    assert slots.next_deadline() == 1.0 + STOP_GRACE_S, "its time began when it left"


def test_a_worker_that_is_not_ready_in_time_is_given_up_and_the_next_one_waits() -> None:
    slots = Slots(Staffing(1, start_timeout_s=3.0))
    assert told(slots, Opened()) == [StartWorker(0)]
    assert slots.next_deadline() == NEVER, "the time it takes to fork is not its own"
    assert told(slots, WorkerStarted(0), now=1.0) == []
    assert slots.tick(3.9) == []
    assert slots.tick(slots.next_deadline()) == [AbandonStart(0)]
    assert slots.tick(100.0) == []
    assert told(slots, WorkerExited(0), now=100.0) == []
    assert slots.next_deadline() == 100.0 + FIRST_BACKOFF_S
    assert slots.tick(slots.next_deadline()) == [StartWorker(0)]
    assert told(slots, WorkerStarted(0), WorkerReady(0), now=101.0) == [Serve(0)]
    assert slots.next_deadline() == NEVER


def test_a_stop_may_overtake_a_start() -> None:
    slots = Slots(Staffing(1, start_timeout_s=3.0))
    assert told(slots, Opened(), DrainRequested(frozenset())) == [StartWorker(0), StopWorker(0)]
    assert told(slots, WorkerStarted(0), now=1.0) == []
    assert slots.next_deadline() == STOP_GRACE_S


@pytest.mark.parametrize(("chance", "age_s"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
def test_a_worker_that_is_old_is_replaced(chance: float, age_s: float) -> None:
    slots = Slots(Staffing(1, 1, max_worker_age_s=100.0))
    told(slots, Opened(), WorkerReady(0, chance), WorkerReady(1, 0.5), now=10.0)
    assert slots.next_deadline() == pytest.approx(10.0 + min(age_s, 100.0))
    assert ReplaceWorker(0) not in slots.tick(10.0 + age_s - 0.01)
    assert ReplaceWorker(0) in slots.tick(10.0 + age_s + 0.01)
    assert ReplaceWorker(0) not in slots.tick(1e9)
    assert told(slots, ReplacementRequested(0, idle=True)) == [Retire(0), StopWorker(0), Serve(1)]


def test_a_spare_and_a_worker_that_retires_grow_old_too() -> None:
    slots = serving(1, 1, max_worker_age_s=100.0, spread=0.0)
    assert told(slots, ReplacementRequested(0, idle=False)) == [Retire(0), Serve(1)]
    assert slots.tick(100.0) == [ReplaceWorker(1)]
    assert slots.next_deadline() == NEVER, "who retires goes anyway"
    slots = serving(1, 1, max_worker_age_s=100.0, spread=0.0)
    assert slots.tick(100.0) == [ReplaceWorker(0), ReplaceWorker(1)]
    assert told(slots, ReplacementRequested(1, idle=True)) == [StopWorker(1)]


def test_a_worker_that_does_not_end_when_killed_costs_its_slot_until_it_ends() -> None:
    slots = serving(1, 1)
    assert told(slots, WorkerStuck(0)) == [Serve(1), StartWorker(2)]
    assert repr(slots) == "<Slots 0:lost 1:serving 2:starting failures=0>"
    assert slots.lost() == 1
    assert told(slots, WorkerReady(2), ReplacementRequested(0, idle=True)) == []
    assert told(slots, WorkerExited(0)) == []
    assert repr(slots) == "<Slots 1:serving 2:spare failures=0>"
    assert told(slots, WorkerStuck(1)) == [Serve(2), StartWorker(0)], "its number is free again"
    assert told(slots, DrainRequested(frozenset({2})), WorkerExited(2), WorkerExited(0))[0] == Retire(2)
    assert slots.all_gone(), "nobody waits for what does not end"


def test_one_more_stands_ready_for_a_while_where_a_worker_was_missed() -> None:
    slots = serving(2, 1, more=1)
    assert told(slots, WorkerExited(0)) == [Serve(2), StartWorker(0)]
    assert told(slots, WorkerExited(1), now=1.0) == [StartWorker(1), StartWorker(3)], "nobody was ready"
    assert told(slots, WorkerReady(0), WorkerReady(1), WorkerReady(3), now=1.1) == [Serve(0)]
    assert repr(slots) == "<Slots 0:serving 1:spare 2:serving 3:spare failures=0>"
    assert told(slots, WorkerExited(0), WorkerExited(2), now=1.2) == [
        Serve(1),
        StartWorker(0),
        Serve(3),
        StartWorker(2),
    ]
    assert told(slots, WorkerReady(0), WorkerReady(2), now=1.3) == []
    assert slots.next_deadline() == 1.0 + KEEP_S
    assert slots.tick(1.0 + KEEP_S) == [StopWorker(0)]
    assert told(slots, WorkerExited(0), now=3.1) == [], "no other follows"
    assert repr(slots) == "<Slots 1:serving 2:spare 3:serving failures=0>"
    assert slots.next_deadline() == NEVER


def test_what_stands_ready_too_much_may_get_stuck_at_its_end() -> None:
    slots = serving(1, 1, more=1)
    told(slots, WorkerExited(0), WorkerExited(1))
    told(slots, WorkerReady(0), WorkerReady(1), WorkerReady(2), now=0.1)
    assert slots.tick(KEEP_S) == [StopWorker(1)]
    assert told(slots, WorkerStuck(1), now=KEEP_S + 5.0) == []
    assert repr(slots) == "<Slots 0:serving 1:lost 2:spare failures=0>"


def test_workers_that_take_long_to_start_are_missed_and_none_is_added() -> None:
    slots = Slots(Staffing(1, 1, more=1))
    told(slots, Opened())
    told(slots, WorkerReady(0), WorkerReady(1), now=9.0)
    assert told(slots, WorkerExited(0), WorkerExited(1), now=10.0) == [Serve(1), StartWorker(0), StartWorker(1)]


def test_so_many_slots_may_be_lost_and_no_more() -> None:
    slots = serving(1, room=1)
    assert told(slots, WorkerStuck(0)) == [StartWorker(1)]
    assert told(slots, WorkerReady(1), WorkerStuck(1)) == [Serve(1)]
    assert repr(slots) == "<Slots 0:lost 1:lost failures=0>"
    assert slots.next_deadline() == NEVER
    assert told(slots, WorkerExited(1)) == [StartWorker(1)]
    assert told(slots, WorkerExited(0)) == []
    assert repr(slots) == "<Slots 1:starting failures=0>"


def test_workers_that_hang_while_they_start_are_not_started_without_end() -> None:
    slots = Slots(Staffing(1))
    assert told(slots, Opened(), WorkerStuck(0)) == [StartWorker(0)]
    assert slots.next_deadline() == FIRST_BACKOFF_S


@pytest.mark.parametrize(
    "event",
    [
        *(WorkerReady(0), WorkerExited(1), TasksEnded(1, 1, idle=True), ReplacementRequested(1, idle=True)),
        *(WorkerExited(9), WorkerStarted(0), WorkerLeft(1), WorkerStuck(1)),
    ],
    ids=repr,
)
def test_illegal_moves(event: Event) -> None:
    slots = serving(1, 1)
    told(slots, WorkerExited(1))
    with pytest.raises(LocalProtocolError, match=rf"{type(event).__name__}\(.* <Slots 0:serving 1:empty failures=1>"):
        slots.handle(event, 0.0)


@pytest.mark.parametrize("event", [WaitBegun(1), WaitEnded(1), WorkerSpared(1)], ids=repr)
def test_a_spare_has_no_place_to_lend(event: Event) -> None:
    slots = serving(1, 1)
    with pytest.raises(LocalProtocolError, match=rf"{type(event).__name__}.*1:spare"):
        slots.handle(event, 0.0)


# Tasks that wait for tasks of their own ------------------------------------------------------------------------------


def test_where_a_task_waits_another_worker_serves_until_it_goes_on() -> None:
    slots = serving(lenders=1)
    assert told(slots, WaitBegun(0)) == [Lend(0), StartWorker(1)]
    assert (repr(slots), slots.serving(), slots.lenders()) == ("<Slots 0:serving lent 1:starting failures=0>", 0, 1)
    assert told(slots, WorkerReady(1), now=1.0) == [Serve(1)]
    assert told(slots, WaitEnded(0)) == [MakeRoom(1)]
    assert told(slots, WorkerSpared(1), now=2.0) == [Resume(0), Regain(0), MakeRoom(0)]
    assert (repr(slots), slots.serving()) == ("<Slots 0:serving 1:spare failures=0>", 1)
    assert slots.next_deadline() == 2.0 + KEEP_S
    assert slots.tick(1.9 + KEEP_S) == []
    assert slots.tick(2.0 + KEEP_S) == [StopWorker(1)]
    assert slots.tick(2.1 + KEEP_S) == []
    assert told(slots, WorkerExited(1), now=9.0) == []
    assert repr(slots) == "<Slots 0:serving failures=0>"


def test_a_standby_serves_in_the_same_turn_and_a_spare_is_kept_for_the_next_time() -> None:
    slots = serving(1, 1, lenders=5)
    assert told(slots, WaitBegun(0)) == [Lend(0), Serve(1), StartWorker(2)]
    told(slots, WorkerReady(2), WaitEnded(0), WorkerSpared(1))
    assert told(slots, WaitBegun(0)) == [Lend(0), Serve(1)]


def test_who_finds_a_place_free_goes_on_at_once() -> None:
    slots = serving(lenders=5)
    assert told(slots, WaitBegun(0), WaitEnded(0)) == [Lend(0), StartWorker(1), Resume(0), Regain(0)]
    assert told(slots, WaitBegun(0), WorkerReady(1), WaitEnded(0), WorkerExited(1))[-4:] == [
        MakeRoom(1),
        Resume(0),
        Regain(0),
        MakeRoom(0),
    ]


def test_who_waits_longest_for_a_place_gets_the_first() -> None:
    slots = serving(2, lenders=2)
    told(slots, WaitBegun(0), WaitBegun(1), WorkerReady(2), WorkerReady(3))
    assert told(slots, WaitEnded(1), WaitEnded(0)) == [MakeRoom(1), MakeRoom(2)]
    assert told(slots, WorkerSpared(3)) == [Resume(1), Regain(1), MakeRoom(1)]


def test_so_many_may_wait_and_no_more() -> None:
    slots = serving(2, lenders=1)
    assert told(slots, WaitBegun(0), WaitBegun(1)) == [Lend(0), StartWorker(2), Deny(1)]
    assert told(slots, WaitEnded(1)) == []
    assert told(serving(), WaitBegun(0)) == [Deny(0)]


def test_who_retires_has_no_place_to_lend() -> None:
    slots = serving(lenders=1)
    told(slots, ReplacementRequested(0, idle=False), WaitBegun(0))
    assert (slots.lenders(), told(slots, WaitEnded(0))) == (0, [Resume(0), Regain(0)])


def test_who_is_to_be_replaced_while_it_waits_for_a_place_goes_on() -> None:
    slots = serving(lenders=1)
    told(slots, WaitBegun(0), WorkerReady(1), WaitEnded(0))
    assert told(slots, ReplacementRequested(0, idle=False)) == [Resume(0), Regain(0), Retire(0), MakeRoom(0)]


def test_the_end_kills_who_waits() -> None:
    slots = serving(lenders=1)
    told(slots, WaitBegun(0), WorkerReady(1), WaitEnded(0))
    assert told(slots, EndRequested(frozenset({1}))) == [KillWorker(0), StopWorker(1)]


def test_a_worker_that_was_spared_with_its_last_task_ends() -> None:
    slots = serving(lenders=1, max_tasks_per_worker=1, spread=0.0)
    told(slots, WaitBegun(0), WorkerReady(1), WaitEnded(0), WorkerSpared(1))
    assert told(slots, TasksEnded(1, 1, idle=True)) == [StopWorker(1)]


def test_where_slots_are_lost_nobody_may_serve_in_the_place_of_who_waits() -> None:
    slots = serving(lenders=1, room=0)
    told(slots, WaitBegun(0), WorkerReady(1), WorkerStuck(1))
    assert slots.serving() == 0
    assert told(slots, WaitEnded(0)) == [Resume(0), Regain(0)]


def test_whose_time_is_up_goes_on_at_once_and_has_a_place_when_there_is_one() -> None:
    slots = serving(lenders=1)
    told(slots, WaitBegun(0), WorkerReady(1))
    assert told(slots, WaitEnded(0, at_once=True)) == [Resume(0), MakeRoom(1)]
    assert told(slots, WaitEnded(0, at_once=True)) == []
    assert told(slots, WaitBegun(0)) == [Lend(0), MakeRoom(0)]
    assert told(slots, WaitEnded(0), WaitEnded(0, at_once=True)) == [MakeRoom(1), Resume(0)]
    assert told(slots, WorkerSpared(1)) == [Regain(0), MakeRoom(0)]


# A workforce ------------------------------------------------------------------------------------------------------


@dataclass
class Workforce:
    """Processes that start, work, hang and die as they like; keeps its own account of each slot."""

    dice: random.Random
    staffing: Staffing
    now: float = 0.0
    alive: dict[int, str] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    draining: bool = False
    started: int = 0
    room_wanted: int = 0

    def __post_init__(self) -> None:
        self.slots = Slots(self.staffing)
        self.do(Opened())

    def do(self, event: Event) -> None:
        self.carry_out(self.slots.handle(event, self.now))

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, MakeRoom):
                self.room_wanted = command.number
                continue
            slot = command.slot
            match command:
                case Lend():
                    if self.alive[slot] == "waiting":  # one that retires has nothing to lend
                        self.alive[slot] = "lent"
                case Deny():
                    assert self.slots.lenders() == self.staffing.lenders
                    self.alive[slot] = {"waiting": "serving", "waiting in retirement": "retiring"}[self.alive[slot]]
                case Resume():
                    assert self.alive[slot] in ("returning", "ending", "hurrying")
                case Regain():
                    self.alive[slot] = "retiring" if self.alive[slot] == "ending" else "serving"
                case StartWorker():
                    assert slot not in self.alive
                    assert not self.draining
                    self.alive[slot] = "starting"
                    self.started += 1
                case AbandonStart():
                    assert self.alive[slot] == "starting"
                    self.exit(slot)
                case ReplaceWorker():
                    self.do(ReplacementRequested(slot, slot in self.idle))
                case Serve():
                    assert self.alive[slot] == "spare"
                    self.alive[slot] = "serving"
                    self.idle.add(slot)
                case Retire():
                    waits = self.alive[slot] == "lent"
                    assert waits or self.alive[slot] in ("serving", "returning", "hurrying")
                    self.alive[slot] = "waiting in retirement" if waits else "retiring"
                case StopWorker():
                    assert self.alive[slot] in ("starting", "spare") or slot in self.idle, "only who is idle"
                    self.alive[slot] = "stopping"
                case KillWorker():
                    assert self.alive[slot] == "stopping"
                    self.exit(slot)
        self.slots.check()
        self.make_room()
        states = list(self.alive.values())
        assert states.count("serving") == self.slots.serving() <= self.staffing.workers
        spares = states.count("spare")
        assert self.draining or not spares or states.count("serving") == self.staffing.workers

    def make_room(self) -> None:
        idle = [slot for slot in sorted(self.idle) if self.alive[slot] == "serving"]
        if self.room_wanted and idle:
            self.room_wanted -= 1
            self.idle.discard(idle[0])
            self.alive[idle[0]] = "spare"
            self.do(WorkerSpared(idle[0]))

    def wait(self, slot: int) -> None:
        """Have the task of a worker begin or cease to wait."""
        state = self.alive[slot]
        if state in ("serving", "retiring") and slot not in self.idle:
            self.alive[slot] = "waiting" if state == "serving" else "waiting in retirement"
            self.do(WaitBegun(slot))
        elif state in ("lent", "waiting in retirement"):
            hurries = self.dice.random() < 0.3
            self.alive[slot] = ("hurrying" if hurries else "returning") if state == "lent" else "ending"
            self.do(WaitEnded(slot, hurries))

    def exit(self, slot: int) -> None:
        del self.alive[slot]
        self.idle.discard(slot)
        self.do(WorkerExited(slot))

    def step(self, *, calm: bool = False) -> None:
        self.now = max(self.now, min(self.slots.next_deadline(), self.now + self.dice.random()))
        self.carry_out(self.slots.tick(self.now))
        if self.stuck and self.dice.random() < 0.1:
            self.do(WorkerExited(self.stuck.pop()))
        if not self.alive:
            return
        slot = self.dice.choice(sorted(self.alive))
        state, chance = self.alive[slot], self.dice.random()
        if state in ("lent", "waiting in retirement") or (state in ("serving", "retiring") and chance < 0.15):
            self.wait(slot)
            return
        if state == "starting" and chance < 0.2:
            self.do(WorkerStarted(slot))
        elif state == "starting" and chance < 0.8:
            self.alive[slot] = "spare"
            self.do(WorkerReady(slot, self.dice.random()))
        elif state in ("serving", "retiring") and chance < 0.8:
            idle = self.dice.random() < 0.5
            (self.idle.add if idle else self.idle.discard)(slot)
            self.do(TasksEnded(slot, self.dice.choice([0, 1, 5]), idle))
        elif chance < 0.82 and not calm:
            del self.alive[slot]
            self.idle.discard(slot)
            self.stuck.add(slot)
            self.do(WorkerStuck(slot))
        elif chance < 0.84 and state in ("serving", "retiring", "stopping"):
            self.do(WorkerLeft(slot))
            self.alive[slot] = "stopping"
        elif chance < 0.9 and not calm:
            self.do(ReplacementRequested(slot, slot in self.idle))
        elif not calm or state == "stopping":
            self.exit(slot)

    def drain(self) -> None:
        self.draining = True
        self.do(DrainRequested(frozenset(self.idle)))


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_as_many_workers_as_there_should_be(seed: int) -> None:
    dice = random.Random(seed)
    staffing = Staffing(dice.randint(1, 4), dice.randint(0, 2), dice.choice([0, 1, 10]), more=dice.randint(0, 2))
    staffing = replace(staffing, max_worker_age_s=dice.choice([20.0, 200.0, NEVER]), start_timeout_s=5.0, room=4)
    staffing = replace(staffing, lenders=dice.choice([0, 1, 5]))
    workforce = Workforce(dice, staffing)
    for _ in range(300):
        workforce.step()
    for _ in range(2_000):
        if workforce.slots.serving() == staffing.workers:
            break
        workforce.step(calm=True)
    assert workforce.slots.serving() == staffing.workers
    workforce.drain()
    for _ in range(2_000):
        if workforce.slots.all_gone():
            break
        workforce.step(calm=True)
    assert workforce.slots.all_gone()
    assert not workforce.alive


def test_long_run_of_5_000_failures_to_start() -> None:
    slots = Slots(Staffing(1))
    told(slots, Opened())
    now = 0.0
    for _ in range(5_000):
        told(slots, WorkerExited(0), now=now)
        assert slots.next_deadline() - now <= LONGEST_BACKOFF_S + 1e-6
        now = slots.next_deadline()
        assert slots.tick(now) == [StartWorker(0)]
    assert repr(slots) == "<Slots 0:starting failures=5000>"


def test_long_run_of_5_000_workers_that_are_replaced() -> None:
    with within(3.0):
        slots = serving(2, 1, max_tasks_per_worker=1)
        for number in range(5_000):
            slot = number % 3
            assert told(slots, TasksEnded(slot, 1, idle=True))[:2] == [Retire(slot), StopWorker(slot)]
            assert told(slots, WorkerExited(slot)) == [StartWorker(slot)]
            told(slots, WorkerReady(slot))
    assert slots.serving() == 2
    assert slots.next_deadline() == NEVER

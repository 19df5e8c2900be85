"""Slots: histories of workers that start, serve, end and fail, then a workforce with a will of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.slots import (
    FIRST_BACKOFF_S,
    HASTE_S,
    LONGEST_BACKOFF_S,
    STOP_GRACE_S,
    Command,
    DrainRequested,
    Event,
    KillWorker,
    Opened,
    ReplacementRequested,
    Retire,
    Serve,
    Slots,
    Staffing,
    StartWorker,
    StopWorker,
    TasksEnded,
    WorkerExited,
    WorkerReady,
)

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


def test_where_workers_end_often_the_reserve_stands_by_for_a_while() -> None:
    slots = serving(2, 1)
    assert told(slots, WorkerExited(0), now=1.0) == [Serve(2), StartWorker(0)]
    assert told(slots, WorkerExited(1), now=1.1) == [StartWorker(1), StartWorker(3), StartWorker(4)]
    assert told(slots, *map(WorkerReady, (0, 1, 3, 4)), now=1.2) == [Serve(0)]
    assert slots.is_spare(4)
    assert slots.next_deadline() == 1.1 + HASTE_S
    assert slots.tick(1.1 + HASTE_S) == [StopWorker(1), StopWorker(3)]
    assert repr(slots) == "<Slots 0:serving 1:stopping 2:serving 3:stopping 4:spare failures=0>"
    assert told(slots, WorkerExited(1), WorkerExited(3), now=2.0) == []
    assert slots.next_deadline() == NEVER
    assert repr(slots) == "<Slots 0:serving 1:empty 2:serving 4:spare failures=0>"


def test_in_haste_nobody_waits_for_those_that_are_about_to_end() -> None:
    slots = serving(1, 1, max_tasks_per_worker=1)
    assert told(slots, TasksEnded(0, 1, idle=True)) == [Retire(0), StopWorker(0), Serve(1)]
    assert told(slots, WorkerExited(0)) == [StartWorker(0)]
    told(slots, WorkerReady(0))
    assert told(slots, TasksEnded(1, 1, idle=True)) == [Retire(1), StopWorker(1), Serve(0)]
    assert told(slots, WorkerExited(1)) == [StartWorker(1), StartWorker(2)]
    told(slots, WorkerReady(1), WorkerReady(2))
    assert told(slots, TasksEnded(0, 1, idle=True)) == [Retire(0), StopWorker(0), Serve(1)]


def test_without_a_standby_there_is_no_reserve() -> None:
    assert Staffing(2).slots() == 2
    assert Staffing(2, 1).slots() == 5
    assert Staffing(64, 2).slots() == 70


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


@pytest.mark.parametrize(
    "event",
    [WorkerReady(0), WorkerExited(1), TasksEnded(1, 1, idle=True), ReplacementRequested(1, idle=True), WorkerExited(9)],
    ids=repr,
)
def test_illegal_moves(event: Event) -> None:
    slots = serving(1, 1)
    told(slots, WorkerExited(1))
    with pytest.raises(LocalProtocolError, match=rf"{type(event).__name__}\(.* <Slots 0:serving 1:empty failures=1>"):
        slots.handle(event, 0.0)


def test_a_spare_ends_no_tasks() -> None:
    slots = serving(1, 1)
    with pytest.raises(LocalProtocolError, match=r"TasksEnded.*1:spare"):
        slots.handle(TasksEnded(1, 1, idle=True), 0.0)


# A workforce ------------------------------------------------------------------------------------------------------


@dataclass
class Workforce:
    """Processes that start, work, hang and die as they like; keeps its own account of each slot."""

    dice: random.Random
    staffing: Staffing
    now: float = 0.0
    alive: dict[int, str] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    draining: bool = False
    started: int = 0

    def __post_init__(self) -> None:
        self.slots = Slots(self.staffing)
        self.do(Opened())

    def do(self, event: Event) -> None:
        self.carry_out(self.slots.handle(event, self.now))

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            slot = command.slot
            match command:
                case StartWorker():
                    assert slot not in self.alive
                    assert not self.draining
                    self.alive[slot] = "starting"
                    self.started += 1
                case Serve():
                    assert self.alive[slot] == "spare"
                    self.alive[slot] = "serving"
                    self.idle.add(slot)
                case Retire():
                    assert self.alive[slot] == "serving"
                    self.alive[slot] = "retiring"
                case StopWorker():
                    assert self.alive[slot] in ("starting", "spare") or slot in self.idle, "only who is idle"
                    self.alive[slot] = "stopping"
                case KillWorker():
                    assert self.alive[slot] == "stopping"
                    self.exit(slot)
        self.slots.check()
        states = list(self.alive.values())
        assert states.count("serving") == self.slots.serving() <= self.staffing.workers
        spares = states.count("spare")
        assert self.draining or not spares or states.count("serving") == self.staffing.workers

    def exit(self, slot: int) -> None:
        del self.alive[slot]
        self.idle.discard(slot)
        self.do(WorkerExited(slot))

    def step(self, *, calm: bool = False) -> None:
        self.now = max(self.now, min(self.slots.next_deadline(), self.now + self.dice.random()))
        self.carry_out(self.slots.tick(self.now))
        if not self.alive:
            return
        slot = self.dice.choice(sorted(self.alive))
        state, chance = self.alive[slot], self.dice.random()
        if state == "starting" and chance < 0.8:
            self.alive[slot] = "spare"
            self.do(WorkerReady(slot, self.dice.random()))
        elif state in ("serving", "retiring") and chance < 0.8:
            idle = self.dice.random() < 0.5
            (self.idle.add if idle else self.idle.discard)(slot)
            self.do(TasksEnded(slot, self.dice.choice([0, 1, 5]), idle))
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
    staffing = Staffing(dice.randint(1, 4), dice.randint(0, 2), dice.choice([0, 1, 10]))
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
            assert told(slots, WorkerExited(slot), now=float(number)) == [StartWorker(slot)]
            told(slots, WorkerReady(slot), now=float(number))
    assert slots.serving() == 2
    assert slots.next_deadline() == NEVER

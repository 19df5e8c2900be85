"""Pressure: histories of memory that fills, then a node whose tasks take what they like."""

from __future__ import annotations

import random

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.pressure import (
    LOOK_LEAST_S,
    LOOK_S,
    LOOK_SOON_S,
    STUCK_S,
    Admit,
    Command,
    Condemn,
    MemorySeen,
    Pressure,
    Replace,
    Sacrifice,
    Task,
    WorkBegun,
    WorkerGone,
    WorkerSeen,
    WorkerSpared,
)

NEVER = float("inf")


def machine(workers: int = 2) -> Pressure:
    return Pressure(0.8, 0.95, workers, fill_bytes_s=100.0)


def worker(slot: int, memory: int, *, since: float = 0.0, retriable: bool = True, idle: bool = False) -> WorkerSeen:
    return WorkerSeen(slot, memory, None if idle else Task(1, slot), since, retriable)


def see(
    pressure: Pressure, *workers: WorkerSeen, now: float = 0.0, used: int | None = None, waiting: bool = False
) -> list[Command]:
    """Tell of workers on a node that has 1,000 bytes; nothing but they use any."""
    total = sum(w.memory_bytes for w in workers) if used is None else used
    busy = any(w.task for w in workers)
    commands = pressure.handle(MemorySeen(total, 1000, workers, busy, waiting), now)
    pressure.check()
    return commands


def test_a_node_that_works_is_looked_at_and_an_idle_one_is_not() -> None:
    pressure = machine()
    assert pressure.next_deadline() == NEVER
    assert pressure.tick(0.0) == []
    assert pressure.handle(WorkBegun(), 5.0) == []
    assert pressure.next_deadline() == 5.0
    assert see(pressure, worker(0, 100), now=5.0) == []
    assert pressure.next_deadline() == 5.0 + LOOK_SOON_S, "nobody knows yet how fast it grows"
    assert see(pressure, worker(0, 100), now=5.1) == []
    assert pressure.next_deadline() == pytest.approx(5.1 + LOOK_S)
    assert pressure.handle(WorkBegun(), 5.2) == []
    assert pressure.next_deadline() == 5.2
    assert see(pressure, worker(0, 100, idle=True), now=5.3) == []
    assert pressure.next_deadline() == NEVER


def test_tasks_that_come_one_by_one_do_not_cost_a_look_each() -> None:
    pressure = machine()
    pressure.handle(WorkBegun(), 1.0)
    see(pressure, worker(0, 100, idle=True), now=1.0)
    assert pressure.next_deadline() == NEVER
    pressure.handle(WorkBegun(), 1.001)
    assert pressure.next_deadline() == pytest.approx(1.0 + LOOK_SOON_S), "memory cannot have filled before"
    see(pressure, worker(0, 949, idle=True), now=2.0)
    pressure.handle(WorkBegun(), 2.001)
    assert pressure.next_deadline() == pytest.approx(2.0 + LOOK_LEAST_S), "now it can"


def test_the_faster_it_fills_the_sooner_is_the_next_look() -> None:
    pressure = machine()
    see(pressure, worker(0, 100), now=0.0)
    see(pressure, worker(0, 550), now=0.2)
    assert pressure.next_deadline() == pytest.approx(0.2 + 400 / (450 / 0.2) / 2)
    see(pressure, worker(0, 790), now=0.25)
    assert pressure.next_deadline() == pytest.approx(0.25 + 160 / (240 / 0.05) / 2)
    see(pressure, worker(0, 949), now=0.26)
    assert pressure.next_deadline() == pytest.approx(0.26 + LOOK_LEAST_S)


def test_where_little_is_left_it_looks_often_lest_it_fill_all_of_a_sudden() -> None:
    pressure = Pressure(0.8, 0.95, 2, fill_bytes_s=10_000.0)
    see(pressure, worker(0, 150), now=0.0)
    see(pressure, worker(0, 150), now=1.0)
    assert pressure.next_deadline() == pytest.approx(1.0 + 800 / 10_000)


def test_above_the_pause_mark_nothing_is_started() -> None:
    pressure = machine()
    assert see(pressure, worker(0, 400), worker(1, 401)) == [Replace(1), Admit(True, 0, 800)]
    assert repr(pressure) == "<Pressure paused ending=[] replaced=[1]>"
    assert pressure.next_deadline() == LOOK_SOON_S
    assert see(pressure, worker(0, 400), worker(1, 385), now=1.0) == [], "a little less is not enough"
    assert see(pressure, worker(0, 400), worker(1, 380), now=2.0) == [Admit(False, 20, 800)]
    assert see(pressure, worker(0, 400), worker(1, 380), now=3.0, waiting=True) == [Admit(False, 20, 800)]


def test_a_worker_that_holds_more_than_its_share_is_replaced_once() -> None:
    pressure = machine()
    leaky = worker(0, 700, idle=True)
    assert see(pressure, leaky, worker(1, 150)) == [Replace(0), Admit(True, 0, 800)]
    assert see(pressure, leaky, worker(1, 150)) == []
    pressure.handle(WorkerGone(0), 1.0)
    assert see(pressure, leaky, worker(1, 150)) == [Replace(0)]


def test_the_youngest_that_makes_a_difference_goes() -> None:
    pressure = machine(4)
    old, small, young = worker(0, 300, since=1), worker(1, 10, since=9), worker(2, 350, since=5)
    commands = see(pressure, old, small, young, worker(3, 300, idle=True))
    assert commands[0] == Sacrifice(2, 350)
    assert isinstance(commands[-1], Admit)
    assert commands[-1].paused
    assert pressure.is_ending(2)
    assert not pressure.is_ending(0)
    # What is about to go counts as gone, and nobody else has to.
    assert see(pressure, old, small, young, worker(3, 300, idle=True), now=0.1) == [Admit(False, 190, 800)]
    # Unless it does not go.
    late = see(pressure, old, small, young, worker(3, 300, idle=True), now=STUCK_S + 1)
    assert Sacrifice(0, 300) in late


def test_where_none_makes_a_difference_the_youngest_goes_all_the_same() -> None:
    once = worker(0, 940, retriable=False)
    assert see(machine(), once, worker(1, 20, since=3))[0] == Sacrifice(1, 20)


def test_one_is_not_enough() -> None:
    workers = [worker(n, 400, since=n) for n in range(4)]
    commands = see(machine(4), *workers)
    assert [c for c in commands if isinstance(c, Sacrifice | Condemn)] == [Sacrifice(3, 400), Sacrifice(2, 400)]


def test_the_only_one_is_to_blame() -> None:
    commands = see(machine(), worker(1, 900), worker(0, 60, idle=True))
    assert commands[0] == Condemn(1, Task(1, 1), 900)


def test_one_that_is_too_large_by_itself_is_to_blame_whatever_else_runs() -> None:
    assert see(machine(), worker(0, 960), worker(1, 60, since=9))[0] == Condemn(0, Task(1, 0), 960)


def test_what_must_not_be_run_twice_goes_last_and_the_largest_first() -> None:
    once = [worker(0, 500, retriable=False, since=9), worker(1, 480, retriable=False)]
    assert see(machine(), *once)[0] == Condemn(0, Task(1, 0), 500)
    assert see(machine(), once[0], worker(1, 480))[0] == Sacrifice(1, 480)
    assert see(machine(), worker(0, 980, retriable=False), worker(1, 80))[0] == Sacrifice(1, 80)


def test_nobody_goes_over_the_memory_of_another_program() -> None:
    assert see(machine(), worker(0, 10), worker(1, 20), used=990) == [Admit(True, 0, 800)]
    assert see(machine(), worker(0, 30), worker(1, 20), used=990)[0] == Sacrifice(0, 30)


def test_a_condemned_worker_whose_task_ended_is_spared() -> None:
    pressure = machine()
    see(pressure, worker(1, 960))
    assert pressure.handle(WorkerSpared(1), 0.1) == []
    assert not pressure.is_ending(1)
    with pytest.raises(LocalProtocolError, match="is not legal in <Pressure paused"):
        pressure.handle(WorkerSpared(1), 0.2)
    assert pressure.handle(WorkerGone(7), 0.3) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_is_never_short_for_long(seed: int) -> None:
    """Tasks grow as they like; whatever they do, what lives stays below the limit, or cannot be helped."""
    dice = random.Random(seed)
    pressure = machine(4)
    held = dict.fromkeys(range(4), 10)
    for step in range(300):
        now = step * 0.05
        workers = [
            worker(slot, memory, since=dice.random(), retriable=dice.random() < 0.8, idle=memory == 10)
            for slot, memory in held.items()
        ]
        commands = see(pressure, *workers, now=now, waiting=dice.random() < 0.5)
        stopped = [c.slot for c in commands if isinstance(c, Sacrifice | Condemn)]
        assert len(set(stopped)) == len(stopped)
        left = sum(w.memory_bytes for w in workers if not pressure.is_ending(w.slot))
        assert left <= 950 or all(w.task is None for w in workers if not pressure.is_ending(w.slot))
        for slot in held:
            if pressure.is_ending(slot):
                held[slot] = 10
                pressure.handle(WorkerGone(slot), now)
            elif dice.random() < 0.7:
                held[slot] += dice.randrange(80)


def test_a_long_run() -> None:
    pressure = machine()
    with within(5):
        for step in range(50_000):
            see(pressure, worker(0, step % 900), worker(1, 100), now=step * 0.2)

"""The watch over a node's memory, on a fake clock: when it looks, what it passes on, what it tells people."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from zmqtasks.machines import pressure
from zmqtasks.messages import Address, Job
from zmqtasks.node.memory_watch import FRESH_S, MemoryWatch
from zmqtasks.options import MIB, NodeOptions, TaskOptions
from zmqtasks.processes.memory import MemoryUsage
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.testing import FakeClock

JOB = Job("v:1", "f", Address("5151515151515151", "host", ()), TaskOptions(), b"")


@dataclass
class Place:
    """Workers and books in one: each slot holds so many MiB, and runs a task or does not."""

    held: dict[int, int]
    idle: set[int] = field(default_factory=set)
    looks: int = 0
    waits: bool = False

    def progress(self, slot: int) -> Progress:
        phase = WorkPhase.IDLE if slot in self.idle else WorkPhase.RUNNING
        return Progress(1, 3, slot, phase, 10**9 * (1 + slot))

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        self.looks += 1
        assert limit_bytes is not None
        held = {slot: count * MIB for slot, count in self.held.items()}
        return MemoryUsage(sum(held.values()), limit_bytes, held)

    def running(self, slot: int) -> Job | None:
        return None if slot in self.idle else JOB

    def busy(self) -> int:
        return len(self.held.keys() - self.idle)

    def waits_for_room(self) -> bool:
        return self.waits


class World:
    def __init__(self, held: dict[int, int]) -> None:
        self.clock = FakeClock()
        self.place = Place(held)
        self.commands: list[pressure.Command] = []
        options = NodeOptions(workers=2, memory=1000 * MIB)
        self.watch = MemoryWatch(self.clock, options, self.place, self.place, self.commands.append)


def test_it_looks_while_something_runs_and_not_before_or_after() -> None:
    world = World({0: 10})
    world.clock.advance(10)
    assert world.place.looks == 0
    world.watch.work_begun()
    world.watch.work_begun()
    world.clock.advance(1)
    assert 5 <= world.place.looks <= 8
    world.place.idle = {0}
    world.clock.advance(1)
    looks = world.place.looks
    world.clock.advance(10)
    assert world.place.looks == looks
    world.watch.work_begun()
    world.watch.close()
    world.watch.close()
    world.clock.advance(1)
    assert world.place.looks == looks


def test_figures_for_a_report_are_fresh_enough() -> None:
    world = World({0: 10, 1: 20})
    assert world.watch.used_bytes() == world.watch.used_bytes() == 30 * MIB
    assert world.place.looks == 1
    world.clock.advance(FRESH_S + 0.1)
    world.watch.used_bytes()
    assert world.place.looks == 2


def test_what_is_decided_is_passed_on_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zmqtasks.node.memory_watch")
    world = World({0: 500, 1: 470})
    world.watch.work_begun()
    world.clock.advance(0.01)
    assert world.commands[:1] == [pressure.Sacrifice(1, 470 * MIB)]
    world.watch.worker_gone(1)
    world.place.held = {0: 960}
    world.clock.advance(1)
    (condemned,) = [command for command in world.commands if isinstance(command, pressure.Condemn)]
    assert condemned == pressure.Condemn(0, pressure.Task(3, 0), 960 * MIB)
    error = world.watch.error(condemned)
    assert error.peak_bytes == 960 * MIB
    assert "more than 95% of the 1000 MiB that the workers of this node may hold" in str(error)
    world.watch.worker_spared(0)
    world.watch.worker_spared(0)
    for held in (850, 10):
        world.place.held = {0: held}
        world.clock.advance(1)
    told = caplog.text
    for words in ("970 MiB of 1000 MiB used; stopping worker 1 (470 MiB), its task runs again", "over its task",
                  "starting no more tasks", "there is room again", "is replaced"):  # fmt: skip
        assert words in told

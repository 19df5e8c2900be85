"""The watch: histories of workers whose tasks pass a limit, then a random world where only the guilty die."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.machines.watch import (
    IMPORT_S,
    MEASURE_AGAIN_S,
    MEMORY_LOOK_S,
    NEVER,
    SECOND_LOOK_S,
    STACK_DUMP_S,
    STACK_LOOK_S,
    State,
    Watch,
    has_limits,
)
from zmqtasks.machines.watch_moves import (
    Command,
    Doing,
    DumpStack,
    Event,
    Interrupt,
    Kill,
    Limit,
    Look,
    MeasureMemory,
    MemoryMeasured,
    Place,
    Sentence,
    WorkBegun,
    WorkerExited,
    WorkerIdle,
    WorkerSeen,
)
from zmqtasks.options import TaskOptions

RUNNING, LOADING, PACKING, IDLE = WorkPhase.RUNNING, WorkPhase.LOADING, WorkPhase.PACKING, WorkPhase.IDLE
HALF = TaskOptions(timeout=0.5)


def at(task: int = 0, since: float = 0.0, phase: WorkPhase = RUNNING, **told: float) -> Doing:
    return Doing(Place(1, 7, task, phase), since, **told)  # type: ignore[arg-type]


class History:
    """A watch of one worker, looked at when it wants to be."""

    def __init__(self, options: TaskOptions) -> None:
        self.watch = Watch()
        self.options = options
        assert self.tell(WorkBegun(0, options), 0.0) == []

    def tell(self, event: Event, now: float) -> list[Command]:
        commands = self.watch.handle(event, now)
        self.watch.check()
        return commands

    def look(
        self, doing: Doing, now: float | None = None, memory_bytes: int = 0, stack_bytes: int = 0
    ) -> list[Command]:
        """Show the worker at the time the watch asked for, or at another.

        One that was asked where it is, and does not answer, is shown when the time for that is over.
        """
        if now is None:
            slot = self.watch._slots[0]
            mute = slot.state is State.DUMPED and not stack_bytes
            now = slot.until if mute else self.watch.next_deadline()
        assert self.watch.tick(now) == [Look(0)]
        return self.tell(WorkerSeen(0, self.options, doing, memory_bytes, stack_bytes), now)


def test_which_tasks_are_watched() -> None:
    assert not has_limits(TaskOptions(grace=1.0, retries=3))
    assert has_limits(HALF)
    assert has_limits(TaskOptions(stall_timeout=1.0))
    assert has_limits(TaskOptions(max_memory=1))


def test_a_task_that_is_late_leaves_its_stack_and_is_killed() -> None:
    history = History(HALF)
    assert history.watch.next_deadline() == 0.5
    assert history.look(at(since=0.2)) == []
    assert history.watch.next_deadline() == 0.7
    assert history.look(at(since=0.2)) == [DumpStack(0)]
    assert repr(history.watch) == "<Watch 0:dumped>"
    assert history.watch.sentence(0) is None
    assert history.watch.next_deadline() == pytest.approx(0.7 + STACK_LOOK_S)
    sentence = Sentence(Limit.TIMEOUT, at(since=0.2), 0.5, pytest.approx(0.5))
    assert history.look(at(since=0.2)) == [Kill(0, sentence)]
    assert history.watch.sentence(0) == sentence
    assert history.watch.next_deadline() == NEVER
    assert history.tell(WorkBegun(0, HALF), 0.81) == [], "a result that was on its way"
    assert history.tell(WorkerExited(0), 0.82) == []
    assert history.watch.sentence(0) is None
    assert repr(history.watch) == "<Watch >"


def test_a_stack_that_grows_no_more_is_complete_and_its_worker_is_killed_at_once() -> None:
    history = History(HALF)
    assert history.look(at()) == [DumpStack(0)]
    assert history.look(at(), 0.505) == []
    assert history.look(at(), stack_bytes=100) == []
    assert history.look(at(), stack_bytes=300) == []
    (kill,) = history.look(at(), stack_bytes=300)
    assert isinstance(kill, Kill)
    assert history.watch.sentence(0) == kill.sentence


@pytest.mark.parametrize("other", [at(1, 0.55), at(0, 0.55, PACKING), at(0, 0.55, IDLE)])
def test_a_task_that_ends_while_its_stack_is_dumped_has_no_victim(other: Doing) -> None:
    history = History(HALF)
    assert history.look(at()) == [DumpStack(0)]
    assert history.look(other) == []
    assert repr(history.watch) == "<Watch 0:watched>"
    due = 1.05 if other.place.phase is not IDLE else 1.1
    assert history.watch.next_deadline() == pytest.approx(due)


def test_a_look_before_its_time_changes_nothing() -> None:
    history = History(HALF)
    history.look(at())
    assert history.tell(WorkerSeen(0, HALF, at()), 0.55) == []
    assert history.watch.next_deadline() == pytest.approx(0.55 + STACK_LOOK_S)


def test_what_comes_after_a_task_that_ended_may_be_late_itself() -> None:
    history = History(HALF)
    assert history.look(at()) == [DumpStack(0)]
    assert history.look(at(1, 0.5), now=1.5) == [DumpStack(0)]
    assert [type(c) for c in history.look(at(1, 0.5))] == [Kill]


def test_a_task_with_grace_is_interrupted_first_and_once() -> None:
    history = History(TaskOptions(timeout=0.5, grace=1.0))
    assert history.look(at()) == [Interrupt(0, at().place, Limit.TIMEOUT)]
    now = 0.5
    while (now := history.watch.next_deadline()) < 1.5:
        assert history.look(at()) == []
    assert now == 1.5
    assert history.look(at()) == [DumpStack(0)]
    (kill,) = history.look(at())
    assert kill == Kill(0, Sentence(Limit.TIMEOUT, at(), 0.5, 0.5, grace=1.0))


def test_a_task_that_goes_when_it_is_interrupted_is_left_alone() -> None:
    history = History(TaskOptions(timeout=0.5, grace=1.0))
    assert history.look(at()) == [Interrupt(0, at().place, Limit.TIMEOUT)]
    assert history.look(at(1, 0.55)) == []
    assert history.look(at(1, 0.55), now=1.05) == [Interrupt(0, at(1).place, Limit.TIMEOUT)]


@pytest.mark.parametrize("phase", [LOADING, PACKING])
def test_who_loads_or_packs_too_long_is_seen_twice_and_not_interrupted(phase: WorkPhase) -> None:
    history = History(TaskOptions(timeout=0.5, grace=1.0))
    assert history.look(at(phase=phase)) == []
    assert history.watch.next_deadline() == pytest.approx(0.5 + SECOND_LOOK_S)
    assert history.look(at(phase=phase)) == [DumpStack(0)]
    assert [type(c) for c in history.look(at(phase=phase))] == [Kill]


def test_who_packed_only_because_we_did_not_read_is_not_guilty() -> None:
    history = History(HALF)
    assert history.look(at(3, 0.0, PACKING), now=40.0) == []
    assert history.look(at(9, 40.01, PACKING)) == []
    assert history.look(at(9, 40.01, IDLE)) == []


def test_who_imports_has_longer_and_what_follows_has_not() -> None:
    history = History(HALF)
    importing = WorkPhase.IMPORTING
    assert history.look(at(phase=importing), now=0.6) == []
    assert history.watch.next_deadline() == pytest.approx(1.1), "a task may begin at once"
    assert history.look(at(phase=importing), now=IMPORT_S) == []
    assert history.look(at(phase=importing)) == [DumpStack(0)]
    history = History(TaskOptions(timeout=60.0))
    assert history.look(at(phase=importing), now=60.0) == []
    assert history.look(at(phase=importing)) == [DumpStack(0)]


def test_progress_renews_the_stall_timeout() -> None:
    history = History(TaskOptions(stall_timeout=1.0))
    assert history.watch.next_deadline() == 1.0
    assert history.look(at(renewed=0.7, done=1, total=4)) == []
    assert history.watch.next_deadline() == pytest.approx(1.7)
    doing = at(renewed=0.7, done=1, total=4)
    assert history.look(doing, now=1.8) == [DumpStack(0)]
    assert history.look(at(renewed=1.85, done=2, total=4)) == [], "it went on meanwhile"
    assert history.look(at(renewed=1.85, done=2, total=4)) == [DumpStack(0)]
    (kill,) = history.look(at(renewed=1.85, done=2, total=4))
    assert isinstance(kill, Kill)
    assert kill.sentence.limit is Limit.STALL
    assert (kill.sentence.doing.done, kill.sentence.doing.total) == (2, 4)


def test_a_task_that_was_interrupted_over_a_stall_gets_no_more_time_by_progress() -> None:
    history = History(TaskOptions(stall_timeout=1.0, grace=0.5))
    assert history.look(at()) == [Interrupt(0, at().place, Limit.STALL)]
    assert history.look(at(renewed=1.4), now=1.5) == [DumpStack(0)]
    (kill,) = history.look(at(renewed=1.55))
    assert isinstance(kill, Kill)
    assert kill.sentence.grace == 0.5


def test_only_a_task_that_runs_can_stall() -> None:
    history = History(TaskOptions(stall_timeout=1.0))
    assert history.look(at(phase=PACKING), now=5.0) == []
    assert history.watch.next_deadline() == 6.0


def test_memory_is_suspected_cheaply_and_measured_before_the_end() -> None:
    history = History(TaskOptions(max_memory=1000))
    assert history.watch.next_deadline() == MEMORY_LOOK_S
    assert history.look(at(), memory_bytes=1000) == []
    assert history.look(at(), memory_bytes=1001) == [MeasureMemory(0)]
    assert history.tell(MemoryMeasured(0, at(), 900), 0.2) == []
    assert history.look(at(), memory_bytes=1002) == [], "as much as was not confirmed"
    assert history.look(at(), memory_bytes=1100) == [MeasureMemory(0)]
    assert history.tell(MemoryMeasured(0, at(), 950), 0.4) == []
    assert history.look(at(), now=0.4 + MEASURE_AGAIN_S, memory_bytes=1100) == [MeasureMemory(0)]
    sentence = Sentence(Limit.MEMORY, at(), 1000, 1050)
    assert history.tell(MemoryMeasured(0, at(), 1050), 1.4) == [Kill(0, sentence)]
    assert history.watch.next_deadline() == NEVER


def test_nobody_is_blamed_for_memory_while_nothing_runs() -> None:
    history = History(TaskOptions(max_memory=1000))
    assert history.look(at(phase=IDLE), memory_bytes=2000) == []
    assert history.look(at(), memory_bytes=2000) == [MeasureMemory(0)]
    assert history.tell(MemoryMeasured(0, at(phase=IDLE), 2000), 0.2) == []


def test_too_much_memory_ends_a_task_that_was_interrupted_already() -> None:
    history = History(TaskOptions(timeout=0.5, grace=10.0, max_memory=1000))
    assert history.look(at(), now=0.5) == [Interrupt(0, at().place, Limit.TIMEOUT)]
    assert history.look(at(), memory_bytes=2000) == [MeasureMemory(0)]
    (kill,) = history.tell(MemoryMeasured(0, at(), 2000), 0.6)
    assert isinstance(kill, Kill)
    assert kill.sentence.limit is Limit.MEMORY


def test_who_is_about_to_be_killed_is_not_measured() -> None:
    history = History(TaskOptions(timeout=0.5, max_memory=1000))
    assert history.look(at(), now=0.5, memory_bytes=2000) == [DumpStack(0), MeasureMemory(0)]
    assert history.tell(MemoryMeasured(0, at(), 999), 0.5) == []
    assert [type(c) for c in history.look(at(), memory_bytes=9000)] == [Kill]


def test_an_idle_worker_is_forgotten() -> None:
    history = History(HALF)
    history.watch.tick(0.5)
    assert history.tell(WorkerIdle(0), 0.5) == []
    assert history.watch.next_deadline() == NEVER
    assert history.tell(WorkerExited(0), 1.0) == []


def test_a_short_limit_is_kept_beside_a_long_one() -> None:
    history = History(TaskOptions(timeout=30.0))
    assert history.tell(WorkBegun(1, HALF), 2.0) == []
    assert history.tell(WorkBegun(0, HALF), 3.0) == [], "the same worker comes to another job"
    assert history.watch.tick(2.4) == []
    assert history.watch.tick(2.5) == [Look(1)]
    assert history.watch.tick(3.5) == [Look(0)]


@pytest.mark.parametrize("event", [WorkerSeen(0, HALF, at()), WorkerIdle(0), MemoryMeasured(0, at(), 1)])
def test_what_is_not_legal_names_event_and_state(event: Event) -> None:
    with pytest.raises(LocalProtocolError, match=type(event).__name__):
        Watch().handle(event, 0.0)
    history = History(HALF)
    history.look(at())
    history.look(at())
    with pytest.raises(LocalProtocolError, match="0:killed"):
        history.watch.handle(event, 0.7)


# A random world ---------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Worker:
    """A worker that goes from task to task; some take for ever, and some of those go when they are interrupted."""

    task: int = 0
    since: float = 0.0
    ends: float = 0.0
    soft: bool = False


class World:
    """Workers, and a shell that carries out what the watch says, at its time or a little later."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.watch = Watch()
        self.now = 0.0
        self.options = TaskOptions(timeout=0.5, grace=dice.choice([None, 0.3]))
        self.workers = {slot: Worker() for slot in range(3)}
        self.killed = self.interrupted = 0
        for slot in self.workers:
            self.next_task(slot, 0.0)
            self.watch.handle(WorkBegun(slot, self.options), 0.0)

    def next_task(self, slot: int, since: float) -> None:
        worker = self.workers[slot]
        endless = self.dice.random() < 0.1
        duration = NEVER if endless else self.dice.random() * 0.49
        worker.task, worker.since, worker.ends = worker.task + 1, since, since + duration
        worker.soft = self.dice.random() < 0.5

    def run(self, until: float) -> None:
        while (deadline := self.watch.next_deadline()) < until:
            self.now = max(self.now, deadline) + self.dice.random() * 0.01
            for slot, worker in self.workers.items():
                while worker.ends <= self.now:
                    self.next_task(slot, worker.ends)
            commands = self.watch.tick(self.now)
            while commands:
                commands = [more for command in commands for more in self.do(command)]
                self.watch.check()

    def do(self, command: Command) -> list[Command]:
        assert not isinstance(command, MeasureMemory)
        worker = self.workers[command.slot]
        if isinstance(command, Look):
            return self.watch.handle(WorkerSeen(command.slot, self.options, at(worker.task, worker.since)), self.now)
        assert worker.ends == NEVER, "the innocent are left alone"
        assert self.now - worker.since >= 0.5
        if isinstance(command, Interrupt):
            self.interrupted += 1
            if worker.soft:
                worker.ends = self.now + 0.01
        elif isinstance(command, Kill):
            self.killed += 1
            assert self.now - worker.since < 0.5 + (self.options.grace or 0.0) + STACK_DUMP_S + 0.05
            self.watch.handle(WorkerExited(command.slot), self.now)
            self.next_task(command.slot, self.now)
            self.watch.handle(WorkBegun(command.slot, self.options), self.now)
        return []


@pytest.mark.parametrize("seed", SEEDS)
def test_all_who_are_late_end_in_time_and_nobody_else(seed: int) -> None:
    world = World(random.Random(seed))
    world.run(60.0)
    assert world.killed
    assert bool(world.interrupted) == (world.options.grace is not None)
    for worker in world.workers.values():
        assert 60.0 - worker.since < 2.0, "nobody runs for ever"


def test_long_run_of_300_000_seconds() -> None:
    with within(10.0):
        history = History(HALF)
        now = 0.0
        for task in range(30_000):
            history.watch.handle(WorkBegun(0, HALF), now)
            now += 10.0
            history.watch.tick(now)
            history.watch.handle(WorkerSeen(0, HALF, at(task, now - 0.1)), now)
        assert repr(history.watch) == "<Watch 0:watched>"

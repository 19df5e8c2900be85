"""The overseer: what it does to workers at which time, and what it says when they have ended."""

from __future__ import annotations

import pytest

from zmqtasks.errors import MemoryLimitExceeded, TaskTimeout
from zmqtasks.messages import Address, Job, OutcomeKind
from zmqtasks.node.overseer import Overseer
from zmqtasks.options import TaskOptions
from zmqtasks.processes.events import WorkerExited
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.records import replace
from zmqtasks.testing.clock import FakeClock

RUNNING = Progress(1, 7, 3, WorkPhase.RUNNING, 0)


class Workers:
    """Workers that do what a test says, and write down what is done to them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.doing = RUNNING
        self.resident = self.unique = self.stack = 0
        self.story: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.story.append((round(self.clock.time(), 2), what))

    def progress(self, slot: int) -> Progress:
        return self.doing

    def memory(self, slot: int) -> int:
        return self.resident

    def unique_memory(self, slot: int) -> int:
        self.note("measured")
        return self.unique

    def interrupt(self, slot: int, chunk: int, index: int, *, stalled: bool) -> None:
        self.note(f"interrupted at {chunk}, {index}{', stalled' * stalled}")

    def dump_stack(self, slot: int) -> bool:
        self.note("dumped")
        return True

    def stack_bytes(self, slot: int) -> int:
        return self.stack

    def kill(self, slot: int) -> None:
        self.note("killed")


class World:
    """An overseer of one worker."""

    def __init__(self, **options: object) -> None:
        self.clock = FakeClock()
        self.job: Job | None = Job("v:1", "f", Address("v", "h", ()), TaskOptions(**options), b"")  # type: ignore[arg-type]
        self.workers = Workers(self.clock)
        self.overseer = Overseer(self.clock, "n0de", self.workers, lambda slot: self.job)
        self.workers.doing = replace(RUNNING, started_ns=round((self.clock.time() - 0.001) * 1e9))
        self.begun = self.clock.time()
        self.overseer.work_begun(0)

    def story(self, seconds: float) -> list[tuple[float, str]]:
        self.clock.advance(seconds)
        return [(round(at - self.begun, 2), what) for at, what in self.workers.story]

    def exit(self, progress: Progress | None = None) -> WorkerExited:
        return WorkerExited(0, 55, 9, None, "", progress or self.workers.doing, 1.0, "File a.py, in f", 5000)


def test_a_task_that_is_late() -> None:
    world = World(timeout=0.5)
    assert world.story(2.0) == [(0.5, "dumped"), (0.6, "killed")]
    assert repr(world.overseer) == "<Overseer <Watch 0:killed>>"
    verdict = world.overseer.worker_exited(world.exit(), "last words\n")
    assert verdict is not None
    assert verdict.kind is OutcomeKind.TIMEOUT
    error = verdict.error
    assert isinstance(error, TaskTimeout)
    assert error.args == ("the task ran longer than its timeout of 0.5 s",)
    assert (error.stack, error.output) == ("File a.py, in f", "last words\n")
    assert (error.node, error.pid) == ("n0de", 55)


def test_who_ended_between_the_decision_and_its_death_is_innocent() -> None:
    world = World(timeout=0.5)
    world.story(2.0)
    verdict = world.overseer.worker_exited(world.exit(replace(RUNNING, index=4)), "")
    assert verdict is not None
    assert verdict.error is None


def test_a_worker_that_was_not_killed_here_is_not_explained_here() -> None:
    world = World(timeout=0.5)
    world.story(0.55)
    assert world.overseer.worker_exited(world.exit(), "") is None
    assert world.story(2.0) == [(0.5, "dumped")]


def test_grace() -> None:
    world = World(stall_timeout=0.5, grace=1.0)
    assert world.story(3.0) == [(0.5, "interrupted at 1, 3, stalled"), (1.5, "dumped"), (1.6, "killed")]
    verdict = world.overseer.worker_exited(world.exit(), "")
    assert verdict is not None
    assert str(verdict.error).startswith(
        "the task showed no progress for 0.5 s; its stall_timeout is 0.5 s; it never called zmqtasks.progress(); "
        "it was interrupted, and went on for more than its grace of 1 s"
    )


@pytest.mark.parametrize(
    ("phase", "words"),
    [(WorkPhase.LOADING, "it loaded the arguments"), (WorkPhase.PACKING, "it packed the result")],
)
def test_loading_and_packing(phase: WorkPhase, words: str) -> None:
    world = World(timeout=0.5, grace=3.0)
    world.workers.doing = replace(world.workers.doing, phase=phase)
    assert world.story(2.0) == [(0.55, "dumped"), (0.65, "killed")]
    verdict = world.overseer.worker_exited(world.exit(), "")
    assert verdict is not None
    assert str(verdict.error).startswith(
        f"the worker was not done within the timeout of 0.5 s when {words} of this task\n"
    )


def test_a_function_has_longer_to_be_imported() -> None:
    world = World(timeout=0.5)
    world.workers.doing = replace(world.workers.doing, phase=WorkPhase.IMPORTING)
    assert [what for _, what in world.story(29.0)] == []
    assert [what for _, what in world.story(3.0)] == ["dumped", "killed"]
    verdict = world.overseer.worker_exited(world.exit(), "")
    assert verdict is not None
    assert "within the timeout of 30 s when it imported the function of this task" in str(verdict.error)


def test_memory() -> None:
    world = World(max_memory=1000)
    world.workers.resident, world.workers.unique = 2000, 900
    assert world.story(0.15) == [(0.1, "measured")]
    world.workers.resident, world.workers.unique = 3000, 1500
    assert world.story(1.0)[1:] == [(0.2, "measured"), (0.2, "killed")]
    verdict = world.overseer.worker_exited(world.exit(), "last words\n")
    assert verdict is not None
    assert verdict.kind is OutcomeKind.OUT_OF_MEMORY
    assert isinstance(verdict.error, MemoryLimitExceeded)
    assert verdict.error.peak_bytes == 5000
    assert str(verdict.error) == (
        "the worker and what it started held 1500 bytes while it ran this task; its max_memory is 1000 bytes\n"
        "last output:\nlast words"
    )


def test_an_idle_worker_is_looked_at_once() -> None:
    world = World(timeout=0.5)
    world.job = None
    assert world.story(2.0) == []
    assert world.clock.next_due() is None
    assert repr(world.overseer) == "<Overseer <Watch >>"
    world.overseer.work_begun(0)
    assert world.clock.next_due() is None


def test_what_running_tasks_have_told() -> None:
    world = World()
    world.workers.doing = replace(RUNNING, done=1, total=4)
    assert world.overseer.partial([0, 1]) == 0.5
    world.workers.doing = replace(RUNNING, done=9, total=4)
    assert world.overseer.partial([0, 1]) == 0.5, "not summed again so soon"
    world.clock.advance(0.1)
    assert world.overseer.partial([0, 1]) == 2.0
    world.clock.advance(0.1)
    world.workers.doing = replace(RUNNING, done=9, total=0)
    assert world.overseer.partial([0]) == 0.0
    world.clock.advance(0.1)
    world.job = None
    assert world.overseer.partial([0]) == 0.0


def test_what_is_closed_is_not_looked_at() -> None:
    world = World()
    world.workers.doing = replace(RUNNING, done=1, total=4)
    world.overseer.close()
    assert world.overseer.partial([0]) == 0.0


def test_it_can_be_closed_twice() -> None:
    world = World(timeout=0.5)
    world.overseer.close()
    world.overseer.close()
    assert world.story(2.0) == []

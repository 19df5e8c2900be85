"""The accounts a ventilator keeps: of each job, of each node, and of what is aboard a node under one attempt.

Owns the figures and what can be derived from them: the cost of a chunk, the room of a node, the duration of a task.
Decides nothing, and moves no task from one account to another; `book.py` does.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqtasks.machines.blame import Ledger
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Held, JobId, Offer, PeerId, Phase, Window
from zmqtasks.options import DEFAULT_QUEUE, HIGH, MIB, TaskOptions
from zmqtasks.records import Entity, field

CHUNK_S = 0.02
"""Expected work in one chunk: large against the cost of a message (0.1 ms), small against a person's patience."""
CHUNK_BYTES = MIB
LEAST_CHUNK_S = 0.001
"""Towards the end of a job chunks shrink so that all workers end together, but not below this."""
GROWTH = 64
"""A chunk may hold so many times the tasks of the largest one that came back whole: three round trips to full size."""
UNWEIGHED_TASKS = 2
"""Of a function whose duration is known, and the size of its arguments not yet."""
BACKLOG_S = 0.06
"""Expected work a worker may have before it: one chunk running, one ahead, one on the way."""
UNSEEN = 5
"""What is in none of so many inventories is not aboard; it may have been under way when the first of them was told."""

TOLD = 64
"""So many attempts that did not succeed are remembered before those are looked for that nobody asks for any more."""


class Assignment(Entity):
    """What is aboard a node under one attempt."""

    attempt: int
    job: JobId
    node: PeerId
    remaining: RangeSet
    size: int
    task_s: float | None
    nbytes: int
    cost_us: int
    broken: bool = False
    idle: bool = False
    """Its node told that it has nothing of it to run: it has ended there, or never come."""
    unseen: int = 0
    """So many inventories in a row did not have it."""
    seen: bool = False
    """Its node told that it has it, or something of it: it did arrive."""


class NodeAccount(Entity):
    """What a node has, and may have."""

    id: PeerId
    workers: int
    window: Window
    open: bool = True
    attempts: set[int] = field(default_factory=set)
    tasks: int = 0
    nbytes: int = 0
    cost_us: int = 0
    exclusive: bool = False
    unclaimed: dict[tuple[JobId, int], RangeSet] = field(default_factory=dict)
    """What it runs of jobs that are not open here (yet), by job and attempt."""
    reader: str = ""
    """Minor version of its Python; empty where it does not tell."""
    offer: Offer = Offer()

    @property
    def is_choosy(self) -> bool:
        """Whether it does not run just any task."""
        return DEFAULT_QUEUE not in self.offer.queues

    def load(self) -> float:
        """Return the expected work before each worker, in microseconds."""
        return self.cost_us / max(1, self.workers)

    def has_room(self) -> bool:
        """Tell whether it may be given another chunk."""
        full = self.tasks >= self.window.tasks or self.cost_us >= BACKLOG_S * 1e6 * self.workers
        return self.open and not self.exclusive and not full


class JobAccount(Entity):
    """The account of one job. A task is in one place: `waiting`, `delayed`, `doubted`, aboard a node, or `done`.

    `sent` is one past the last task that was ever sent; `kept_free` is the node that runs empty for a task of this job.
    """

    id: JobId
    options: TaskOptions
    task_s: float | None
    ledger: Ledger
    total: int = 0
    sent: int = 0
    closed: bool = False
    waiting: RangeSet = field(default_factory=RangeSet)
    delayed: RangeSet = field(default_factory=RangeSet)
    doubted: RangeSet = field(default_factory=RangeSet)
    done: RangeSet = field(default_factory=RangeSet)
    attempts: set[int] = field(default_factory=set)
    told: dict[int, RangeSet] = field(default_factory=dict)
    """By attempt, tasks that did not succeed under it, as its node told: it has them no more."""
    told_bound: int = TOLD
    task_bytes: float = 0.0
    proven: int = 1
    measured: tuple[float, float] = (0.0, 0.0)
    kept_free: PeerId = ""
    is_homeless: bool = False
    """None of the nodes that are here can ever run it."""
    is_told: bool = False
    """That was told before."""
    is_paused: bool = False
    begun: RangeSet = field(default_factory=RangeSet)
    """Where tasks expire: those that are known to have begun once."""
    expiring: RangeSet = field(default_factory=RangeSet)
    """Tasks that are aboard, and have expired unless they were begun."""
    reader: str = ""
    """Minor version of Python that its function needs; empty for any."""

    @property
    def is_choosy(self) -> bool:
        """Whether it does not run just anywhere."""
        options = self.options
        return bool(options.needs or options.where or options.queue != DEFAULT_QUEUE)

    @property
    def is_ready(self) -> bool:
        """Whether it has tasks that may be sent."""
        return bool(self.waiting) and not self.is_homeless and not self.is_paused

    @property
    def is_urgent(self) -> bool:
        """Whether its latest task goes first."""
        return self.options.priority >= HIGH

    def measure(self, elapsed_s: float, tasks: int) -> None:
        """Take the mean over about the last second of work."""
        spent, number = self.measured[0] + elapsed_s, self.measured[1] + tasks
        self.task_s = spent / number
        self.measured = (spent, number) if spent <= 1.0 else (spent / 2, number / 2)


def cost_of_us(tasks: int, task_s: float | None) -> int:
    """Return what a chunk takes of a node's room: its expected work, in whole microseconds that add up exactly.

    However short, a chunk takes a third of a worker's backlog; however long or unknown, no more than all of it, for
    the other workers of the node are free. It is never empty.
    """
    expected_s = BACKLOG_S if task_s is None else min(max(tasks * task_s, CHUNK_S), BACKLOG_S)
    return round(expected_s * 1e6)


def compare(aboard: Iterable[Assignment], have: Iterable[Held]) -> None:
    """Note which assignments a node does not have to run, by its inventory: they do not end it."""
    phases: dict[tuple[JobId, int], Phase] = {}
    for held in have:
        key = held.job, held.attempt
        phases[key] = min(held.phase, phases.get(key, held.phase))
    for assignment in aboard:
        phase = phases.get((assignment.job, assignment.attempt))
        assignment.unseen = 0 if phase is not None else assignment.unseen + 1
        assignment.seen |= phase is not None
        assignment.idle = phase is Phase.FINISHED or assignment.unseen >= UNSEEN

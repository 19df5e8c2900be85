"""What a simulated mesh consists of, and what is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from zmqtasks.machines.collection import Collection
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.dispatch_moves import Finish
from zmqtasks.machines.session import Timing
from zmqtasks.messages import JobId, OutcomeKind
from zmqtasks.options import MIB, TaskOptions
from zmqtasks.testing import Conditions, Fate


@dataclass(frozen=True)
class Rules:
    """The machines of a mesh; a test that has to find a defect puts a defective one in."""

    dispatch: type[Dispatch] = Dispatch
    collection: type[Collection] = Collection
    timing: Timing = Timing()
    eager_recorder: bool = False


@dataclass(frozen=True)
class Layout:
    """What a mesh consists of."""

    clients: int = 1
    nodes: int = 3
    workers: int = 2
    standalone_sink: bool = False
    journal: bool = False
    """Whether clients have one; only then may they be killed."""
    store_s: float = 0.0
    """How long the sink takes to store a batch."""
    window_bytes: int = 256 * MIB
    conditions: Conditions = Conditions()
    rules: Rules = Rules()


Deal = Callable[[int, int], Fate]
"""What happens to a task, by its index and by how often it was begun before."""


@dataclass(eq=False)
class Submitted:
    """A job, and what its consumer was told."""

    total: int
    options: TaskOptions
    fate: Deal
    client: int = 0
    flaky: int = 0
    """Every so many tasks, one has to be run twice."""
    poison: int = 0
    """Every so many tasks, one ends whatever worker runs it; 0 for none."""
    task_s: float = 0.0
    at_s: float = 0.0
    begun: Counter[int] = field(default_factory=Counter)
    id: JobId = ""
    kinds: dict[int, OutcomeKind] = field(default_factory=dict)
    told: Counter[int] = field(default_factory=Counter)
    ends: int = 0
    wanted_back: set[int] = field(default_factory=set)
    killed: set[int] = field(default_factory=set)
    """What had not ended when its consumer killed it: it is told of no more."""

    def is_poison(self, index: int) -> bool:
        """Tell whether a task ends every worker that runs it."""
        return self.poison > 0 and index % self.poison == self.poison - 1

    def is_flaky(self, index: int) -> bool:
        """Tell whether a task has to be run twice."""
        return self.flaky > 0 and index % self.flaky == 0

    def open_in(self, start: int, stop: int) -> set[int]:
        """Return which of these tasks have not ended, as far as the consumer knows."""
        return set(range(start, min(stop, self.total))) - self.told.keys() - self.killed

    def finished(self, finish: Finish, error: BaseException | None) -> None:
        for index in range(finish.start, finish.stop):
            self.told[index] += 1
            self.kinds[index] = finish.kind

    def restored(self, index: int, kind: OutcomeKind) -> None:
        """Its consumer, started again, hears how a task ended in an earlier life."""
        self.told[index] += 1
        self.kinds[index] = kind

    def forget(self) -> None:
        """Its consumer is killed, and will ask for all of it again."""
        self.told.clear()
        self.kinds.clear()
        self.ends = 0

    def ended(self, task_s: float | None) -> None:
        self.ends += 1

"""Workers on a fake clock: what they tell, and what dies with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from tests.processes.crew import make_chunk, make_job, opened
from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import Chunk, JobId, SessionId, Tasks
from zmqtasks.processes.events import WorkerEvent, WorkerExited, WorkerReady, WorkerSaid, WorkerStarted
from zmqtasks.processes.progress import WorkPhase
from zmqtasks.testing import FakeClock, Fate, SimWorkers

E = TypeVar("E")


def triple(number: int) -> int:
    return 3 * number


class Staff:
    """One worker that is ready, and what its node heard."""

    def __init__(self, fate: Callable[[JobId, int], Fate] = lambda job, index: Fate(0.01)) -> None:
        self.clock = FakeClock()
        self.node = self.clock.peer_clock(offset_s=77.0)
        self.events: list[WorkerEvent] = []
        self.workers = SimWorkers(self.clock, self.node, "node", self.events.append, random.Random(1), fate=fate)
        self.workers.start(0)
        self.clock.advance(1.0)

    def give(self, items: Sequence[Any] = range(10), **options: Any) -> Chunk:
        job = make_job(triple, **options)
        chunk = make_chunk(job, items)
        self.workers.send(0, Tasks(SessionId(0, 0), 0, (job,), (chunk,)))
        return chunk

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def results(self) -> dict[int, Any]:
        return opened([outcome for said in self.all(WorkerSaid) for outcome in said.outcomes])


def test_a_worker_starts_and_calls_the_function() -> None:
    staff = Staff()
    assert [type(event) for event in staff.events] == [WorkerStarted, WorkerReady]
    staff.give()
    staff.clock.advance(0.055)
    assert staff.results() == {index: 3 * index for index in range(5)}
    staff.clock.advance(1.0)
    assert staff.results() == {index: 3 * index for index in range(10)}
    assert [run.task for run in staff.workers.ledger] == list(range(10))


def test_short_tasks_are_told_together() -> None:
    staff = Staff(lambda job, index: Fate(0.0001))
    staff.give(range(100))
    staff.clock.advance(1.0)
    assert len(staff.results()) == 100
    assert len(staff.all(WorkerSaid)) == 2


def test_at_most_once_tasks_are_told_one_by_one() -> None:
    staff = Staff(lambda job, index: Fate(0.0001))
    staff.give(range(20), retry=False)
    staff.clock.advance(1.0)
    assert len(staff.all(WorkerSaid)) == 20


def test_a_task_that_raises_harms_only_itself() -> None:
    staff = Staff(lambda job, index: Fate(0.0001, error=KeyError(index) if index == 3 else None))
    staff.give()
    staff.clock.advance(1.0)
    results = staff.results()
    assert isinstance(results.pop(3), KeyError)
    assert results == {index: 3 * index for index in range(10) if index != 3}


def test_what_a_dead_worker_had_told_is_heard_and_the_rest_is_lost() -> None:
    staff = Staff(lambda job, index: Fate(0.01, crashes=index == 4))
    chunk = staff.give()
    staff.clock.advance(1.0)
    assert sorted(staff.results()) == [0, 1, 2, 3]
    (exited,) = staff.all(WorkerExited)
    assert staff.events[-1] is exited
    assert (exited.signal, exited.progress.phase) == (9, WorkPhase.RUNNING)
    assert (exited.progress.index, exited.progress.attempt) == (4, chunk.attempt)
    assert [run.task for run in staff.workers.ledger] == [0, 1, 2, 3, 4]


def test_a_worker_can_die_over_its_results() -> None:
    staff = Staff(lambda job, index: Fate(0.001))
    staff.give()
    staff.workers.crash(0, packing=True)
    staff.clock.advance(1.0)
    (exited,) = staff.all(WorkerExited)
    assert exited.progress.phase is WorkPhase.PACKING
    assert exited.progress.index == 6
    assert not staff.results()


def test_progress_is_told_in_the_time_of_the_node() -> None:
    staff = Staff()
    staff.give()
    begun = staff.node.time()
    staff.clock.advance(0.025)
    progress = staff.workers.progress(0)
    assert (progress.index, progress.phase) == (2, WorkPhase.RUNNING)
    assert progress.started_ns / 1e9 == pytest.approx(begun + 0.02, abs=0.001)
    assert staff.workers.running() == [0]


def test_workers_go_on_while_their_node_is_stopped() -> None:
    staff = Staff()
    staff.give()
    staff.node.stop()
    staff.clock.advance(1.0)
    assert not staff.results()
    assert len(staff.workers.ledger) == 10
    staff.node.resume()
    staff.clock.advance(0.0)
    assert len(staff.results()) == 10


def test_a_worker_that_is_stopped_in_order_ends_its_work_first() -> None:
    staff = Staff()
    staff.give()
    staff.workers.stop(0)
    staff.clock.advance(1.0)
    (exited,) = staff.all(WorkerExited)
    assert (exited.exit_code, exited.signal) == (0, None)
    assert len(staff.results()) == 10
    staff.workers.start(0)
    assert staff.workers.living() == [0]


def test_a_killed_worker_dies_soon() -> None:
    staff = Staff()
    staff.give()
    staff.workers.kill(0)
    staff.workers.kill(0)
    staff.clock.advance(0.002)
    assert len(staff.all(WorkerExited)) == 1
    assert not staff.workers.living()


def test_a_slot_has_one_worker() -> None:
    staff = Staff()
    with pytest.raises(LocalProtocolError, match="taken"):
        staff.workers.start(0)
    with pytest.raises(LocalProtocolError, match="no worker"):
        staff.workers.stop(1)


def test_nothing_is_heard_after_the_end() -> None:
    staff = Staff()
    staff.give()
    staff.workers.close()
    heard = list(staff.events)
    staff.workers.close()
    staff.clock.advance(1.0)
    assert staff.events == heard
    with pytest.raises(LocalProtocolError, match="closed"):
        staff.workers.start(1)

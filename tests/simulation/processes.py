"""The processes of a simulated mesh: the real peers and shells, each on a clock of its own.

Owns how they are wired. What may be done to them is in `harness.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from tests.simulation.deaths import Mourned
from tests.simulation.layout import Layout, Submitted
from tests.simulation.recording import SlowRecorder, Store
from tests.simulation.watching import Watch, WatchedPeer
from zmqtasks.machines.collection import Record
from zmqtasks.machines.dispatch_moves import Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Address, Flight, JobId, Outcome, OutcomeKind, PeerId, ventilator_of
from zmqtasks.node.shell import Node
from zmqtasks.options import NodeOptions
from zmqtasks.peer import Link, Peer
from zmqtasks.sink import Sink
from zmqtasks.testing import Executed, FakeClock, Fate, PeerClock, SimNetwork, SimWorkers
from zmqtasks.testing.journal import MemoryJournal, Pages
from zmqtasks.testing.worker_process import WorkerProcess
from zmqtasks.ventilator.resuming import Kin, Resuming
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form

SINK = "sink"


def work(number: int) -> int:
    """The function of every task."""
    return 3 * number + 1


WORK = payload.pack_function(work)


class Surroundings(Protocol):
    """What a process sees of its mesh."""

    layout: Layout
    chance: random.Random
    clock: FakeClock
    network: SimNetwork
    watch: Watch
    store: Store
    ledger: list[Executed]
    flights: dict[str, Flight]
    pages: dict[str, Pages]
    mourned: Mourned

    def fate(self, job: JobId, index: int) -> Fate:
        """Return what happens to a task that is begun."""


class Process:
    """One process at a place; a later one there has another peer id.

    Args:
        mesh: it belongs to.
        place: its endpoint.
        number: how many were there before.
        peer: its id; one of its own if empty.
    """

    def __init__(self, mesh: Surroundings, place: str, number: int, peer: PeerId = "") -> None:
        self.place = place
        self.alive = True
        # Clocks of two processes have nothing in common.
        self.clock: PeerClock = mesh.clock.peer_clock(offset_s=mesh.chance.uniform(0, 10_000))
        self.network = mesh.network.join(place, peer or f"{place}.{number}", self.clock)
        self.peer: Peer = WatchedPeer(
            self.clock,
            self.network,
            mesh.chance.getrandbits(63),
            mesh.chance.random,
            watch=mesh.watch,
            timing=mesh.layout.rules.timing,
        )

    def was_missed(self) -> bool:
        """Tell whether something waits for it, while it is stopped."""
        return bool(self.clock._held or self.network._waiting)

    def die(self) -> None:
        """Be gone at once."""
        self.alive = False
        self.clock.kill()

    def check(self) -> None:
        """Check the invariants of every machine."""
        for link in self.peer.links.values():
            link.machine.check()
        for guest in self.peer.guests.values():
            guest.machine.check()


class SinkProcess(Process):
    """A standalone sink; a later one starts from what the earlier has stored."""

    def __init__(self, mesh: Surroundings, place: str, number: int) -> None:
        super().__init__(mesh, place, number)
        layout = mesh.layout
        self.recorder = SlowRecorder(self.clock, mesh.store, layout.store_s, eager=layout.rules.eager_recorder)
        read = lambda job: (mesh.store.succeeded(job), mesh.store.failures.get(job, {}))  # noqa: E731
        self.sink = Sink(self.peer, self.recorder, read=read, jobs_at_hand=1)
        self.sink._collection = layout.rules.collection()

    def check(self) -> None:
        super().check()
        self.sink._collection.check()
        self.sink._recent.check()


class MourningVentilator(Ventilator):
    """A ventilator; what it thinks aboard a node that it gives up is noted."""

    mourned: Mourned

    def _lose(self, link: Link, *, died: bool) -> None:
        self.mourned.aboard(self._dispatch, link.partner)
        super()._lose(link, died=died)


class MortalWorkers(SimWorkers):
    """Workers; what one of them has that ends by force is noted."""

    on_death: Callable[[int], None]

    def _exit(self, worker: WorkerProcess, *, code: int | None = None, signal: int | None = None) -> None:
        if code is None:
            self.on_death(worker.slot)
        super()._exit(worker, code=code, signal=signal)


class ClientProcess(Process):
    """A ventilator, and a sink unless there is a standalone one; wired as in `zmqtasks.embedded`."""

    def __init__(self, mesh: Surroundings, place: str, number: int) -> None:
        layout = mesh.layout
        pages = mesh.pages.setdefault(place, Pages(f"{place}.0")) if layout.journal else None
        super().__init__(mesh, place, number, pages.peer if pages else "")
        address = Address("", "", (f"sim://{SINK}",)) if layout.standalone_sink else None
        self.journal = MemoryJournal(pages, self.clock) if pages else None
        resuming = Resuming(self.journal) if self.journal else None
        self.ventilator = MourningVentilator(self.peer, address, resuming=resuming)
        self.ventilator.mourned = mesh.mourned
        self.ventilator._dispatch = layout.rules.dispatch(self.journal.first_attempt if self.journal else 1)
        self._store = mesh.store
        self._submitted = 0
        self.recorder = SlowRecorder(self.clock, mesh.store, layout.store_s, eager=layout.rules.eager_recorder)
        self.sink = None if address else Sink(self.peer, self.recorder, self.ventilator.settle)
        if self.sink:
            self.sink._collection = layout.rules.collection()
            for job in [job for job in mesh.store.jobs() if pages and ventilator_of(job) == self.peer.id]:
                self.sink.resume(job, mesh.store.succeeded(job), {})
        for node in range(layout.nodes):
            self.ventilator.add_node(Address("", "", (f"sim://node{node}",)))

    def leave(self) -> None:
        """End in order, as `embedded` does."""
        self.ventilator.close()
        if self.sink:
            self.sink.close()
        self.peer.close()
        self.alive = False

    def submit(self, job: Submitted) -> None:
        """Give a job to the mesh, all of it at once."""

        def ended(task_s: float | None) -> None:
            job.ended(task_s)
            if self.sink:
                self.sink.forget(job.id)

        def finished(finish: Finish, error: BaseException | None) -> None:
            job.finished(finish, error)
            if self.journal:
                done = Outcome(job.id, finish.attempt, finish.node, finish.start, finish.stop, finish.kind, 0.0)
                self.journal.write(lambda: (Record(done, done.start, done.stop),))

        def restored(start: int, stop: int) -> None:
            failed, stored = self._failed(job.id), self._store.failures.get(job.id, {})
            # What a standalone sink has recorded alone, the journal has no word of.
            failed = {index: kind for index, (_, kind) in stored.items()} | failed
            for index in range(start, stop):
                job.restored(index, failed.get(index, OutcomeKind.OK))

        self._submitted += 1
        name = f"work {self._submitted}"
        job.id = self.ventilator.open_job(
            WORK,
            name,
            job.options,
            on_finish=finished,
            on_end=ended,
            on_restored=restored,
            kin=Kin("input", name, self._recorded if self.sink else None),
        )
        self.ventilator.add(job.id, range(job.total), Form.ONE)
        self.ventilator.close_job(job.id)

    def _failed(self, job: JobId) -> dict[int, OutcomeKind]:
        """Return how tasks have failed for good, as the journal has it."""
        assert self.journal is not None
        records = self.journal.records(job, 0, 1 << 62)
        failed = [r for r in records if r.outcome.kind is not OutcomeKind.OK]
        return {index: r.outcome.kind for r in failed for index in range(r.start, r.stop)}

    def _recorded(self, job: JobId) -> RangeSet:
        """Return what has ended, as a program with a store of its own knows it."""
        ended = self._store.succeeded(job)
        for index in self._failed(job):
            ended.add(index, index + 1)
        return ended

    def die(self) -> None:
        super().die()
        if self.journal:
            self.journal.die()

    def check(self) -> None:
        super().check()
        self.ventilator._dispatch.check()
        if self.sink:
            self.sink._collection.check()


class NodeProcess(Process):
    """A node and its workers."""

    def __init__(self, mesh: Surroundings, place: str, number: int) -> None:
        super().__init__(mesh, place, number)
        workers: list[MortalWorkers] = []

        def make_workers(on_event: Callable[..., None]) -> MortalWorkers:
            made = MortalWorkers(
                mesh.clock, self.clock, self.peer.id, on_event, mesh.chance, fate=mesh.fate, ledger=mesh.ledger
            )
            made.on_death = lambda slot: mesh.mourned.ended(self.node, slot)
            workers.append(made)
            return made

        options = NodeOptions(workers=mesh.layout.workers, standby=1, window_bytes=mesh.layout.window_bytes)
        self.drained = False
        flight = mesh.flights.pop(place, None)
        self.node = Node(self.peer, options, make_workers, on_drained=self._drained, flight=flight)
        self.workers = workers[0]

    def _drained(self) -> None:
        """End in order, as `serving.py` does."""
        self.drained = True
        self.node.close()
        self.alive = False

    def die(self) -> None:
        super().die()
        self.workers.close()

    def check(self) -> None:
        super().check()
        self.node._holding.check()
        self.node._slots.check()

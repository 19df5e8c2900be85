"""A whole mesh in one thread: the real peers, ventilator, nodes and sink on a fake clock, network and workers.

Owns the processes of the mesh, and what may be done to them. What has to hold is in `oracle.py`, what befalls it in
`schedules.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.recording import SlowRecorder, Store
from tests.simulation.watching import Watch, WatchedPeer
from zmqtasks.machines.collection import Collection
from zmqtasks.machines.dispatch import Dispatch, Finish
from zmqtasks.machines.session import Timing
from zmqtasks.messages import Address, JobId, OutcomeKind
from zmqtasks.node import Node
from zmqtasks.options import MIB, NodeOptions, TaskOptions
from zmqtasks.peer import Peer
from zmqtasks.sink import Sink
from zmqtasks.testing import Conditions, Executed, FakeClock, Fate, PeerClock, SimNetwork, SimWorkers
from zmqtasks.ventilator import Ventilator
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form

CLIENT, SINK = "client", "sink"
LOOK_EVERY = 16
"""Calls of the clock between two looks at what is waited for."""


def work(number: int) -> int:
    """The function of every task."""
    return 3 * number + 1


WORK = payload.pack_function(work)


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

    nodes: int = 3
    workers: int = 2
    standalone_sink: bool = False
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
    begun: Counter[int] = field(default_factory=Counter)
    id: JobId = ""
    kinds: dict[int, OutcomeKind] = field(default_factory=dict)
    told: Counter[int] = field(default_factory=Counter)
    ends: int = 0

    def finished(self, finish: Finish, error: BaseException | None) -> None:
        for index in range(finish.start, finish.stop):
            self.told[index] += 1
            self.kinds[index] = finish.kind

    def ended(self, task_s: float | None) -> None:
        self.ends += 1


class Process:
    """One process at a place; a later one there has another peer id.

    Args:
        mesh: it belongs to.
        place: its endpoint.
        number: how many were there before.
    """

    def __init__(self, mesh: SimMesh, place: str, number: int) -> None:
        self.place = place
        self.alive = True
        # Clocks of two processes have nothing in common.
        self.clock: PeerClock = mesh.clock.peer_clock(offset_s=mesh.chance.uniform(0, 10_000))
        self.network = mesh.network.join(place, f"{place}.{number}", self.clock)
        self.peer: Peer = WatchedPeer(
            self.clock,
            self.network,
            mesh.chance.getrandbits(63),
            mesh.chance.random,
            watch=mesh.watch,
            timing=mesh.layout.rules.timing,
        )

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

    def __init__(self, mesh: SimMesh, place: str, number: int) -> None:
        super().__init__(mesh, place, number)
        layout = mesh.layout
        self.recorder = SlowRecorder(self.clock, mesh.store, layout.store_s, eager=layout.rules.eager_recorder)
        self.sink = Sink(self.peer, self.recorder)
        self.sink._collection = layout.rules.collection()
        for job in mesh.store.jobs():
            self.sink.resume(job, mesh.store.succeeded(job), mesh.store.failures.get(job, {}))

    def check(self) -> None:
        super().check()
        self.sink._collection.check()


class ClientProcess(Process):
    """A ventilator, and a sink unless there is a standalone one; wired as in `embedded.py` and `registry.py`."""

    def __init__(self, mesh: SimMesh, place: str, number: int) -> None:
        super().__init__(mesh, place, number)
        layout = mesh.layout
        address = Address("", "", (f"sim://{SINK}",)) if layout.standalone_sink else None
        self.ventilator = Ventilator(self.peer, address)
        self.ventilator._dispatch = layout.rules.dispatch()
        self.recorder = SlowRecorder(self.clock, mesh.store, layout.store_s, eager=layout.rules.eager_recorder)
        self.sink = None if address else Sink(self.peer, self.recorder, self.ventilator.settle)
        if self.sink:
            self.sink._collection = layout.rules.collection()
        for number in range(layout.nodes):
            self.ventilator.add_node(Address("", "", (f"sim://node{number}",)))

    def submit(self, job: Submitted) -> None:
        """Give a job to the mesh, all of it at once."""

        def ended(task_s: float | None) -> None:
            job.ended(task_s)
            if self.sink:
                self.sink.forget(job.id)

        job.id = self.ventilator.open_job(WORK, "work", job.options, on_finish=job.finished, on_end=ended)
        self.ventilator.add(job.id, range(job.total), Form.ONE)
        self.ventilator.close_job(job.id)

    def check(self) -> None:
        super().check()
        self.ventilator._dispatch.check()
        if self.sink:
            self.sink._collection.check()


class NodeProcess(Process):
    """A node and its workers."""

    def __init__(self, mesh: SimMesh, place: str, number: int) -> None:
        super().__init__(mesh, place, number)
        workers: list[SimWorkers] = []

        def make_workers(on_event: Callable[..., None]) -> SimWorkers:
            made = SimWorkers(
                mesh.clock, self.clock, self.peer.id, on_event, mesh.chance, fate=mesh.fate, ledger=mesh.ledger
            )
            workers.append(made)
            return made

        options = NodeOptions(workers=mesh.layout.workers, standby=1, window_bytes=mesh.layout.window_bytes)
        self.node = Node(self.peer, options, make_workers)
        self.workers = workers[0]

    def die(self) -> None:
        super().die()
        self.workers.close()

    def check(self) -> None:
        super().check()
        self.node._holding.check()
        self.node._slots.check()


KINDS: dict[str, type[Process]] = {CLIENT: ClientProcess, SINK: SinkProcess}


class SimMesh:
    """A mesh at places "client", "node0", "node1", ... and, where it stands alone, "sink".

    Args:
        seed: of all chance.
        layout: what it consists of.
        story: keep a line about everything that happens.
    """

    def __init__(self, seed: int, layout: Layout | None = None, *, story: bool = False) -> None:
        self.layout = layout or Layout()
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.story: list[str] = []
        self.watch = Watch(self.clock.time, self.tell)
        self.tells = story
        self.network = SimNetwork(
            self.clock,
            self.chance,
            self.layout.conditions,
            story=self.tell if story else None,
            on_arrival=self.watch.arrived,
        )
        self.store = Store()
        self.ledger: list[Executed] = []
        self.jobs: dict[JobId, Submitted] = {}
        self.processes: dict[str, Process] = {}
        self._started: Counter[str] = Counter()
        places = [CLIENT, *(f"node{number}" for number in range(self.layout.nodes))]
        for place in [*places, SINK] if self.layout.standalone_sink else places:
            self.start(place)

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        if self.tells:
            self.story.append(f"{self.clock.time() - 1000:10.6f} {line}")

    @property
    def client(self) -> ClientProcess:
        """Return the client's process; it is never killed."""
        client = self.processes[CLIENT]
        assert isinstance(client, ClientProcess)
        return client

    def fate(self, job: JobId, index: int) -> Fate:
        """Return what happens to a task that is begun."""
        submitted = self.jobs[job]
        submitted.begun[index] += 1
        return submitted.fate(index, submitted.begun[index] - 1)

    def submit(
        self, total: int, fate: Deal = lambda index, before: Fate(), options: TaskOptions | None = None
    ) -> Submitted:
        """Submit a job of `work(0)`, `work(1)`, ..."""
        job = Submitted(total, options or TaskOptions(), fate)
        self.client.submit(job)
        self.jobs[job.id] = job
        return job

    # What may befall it

    def start(self, place: str) -> None:
        """Start a process at a place that is free."""
        self.tell(f"start {place}")
        number = self._started[place]
        self._started[place] += 1
        self.processes[place] = KINDS.get(place, NodeProcess)(self, place, number)

    def kill(self, place: str, *, silently: bool = False) -> None:
        """Kill the process at a place."""
        if self.processes[place].alive:
            self.processes[place].die()
            self.network.kill(place, silently=silently)

    def restart(self, place: str) -> None:
        """Start a new process where one was killed."""
        if not self.processes[place].alive:
            self.start(place)

    def stop(self, place: str, seconds: float) -> None:
        """Stop a process for a while, as SIGSTOP and SIGCONT do."""
        process = self.processes[place]
        if process.alive and not process.clock.stopped:
            self.tell(f"stop {place} for {seconds:.3f} s")
            process.clock.stop()
            self.network.stop(place)
            self.clock.call_later(seconds, self._resume, process)

    def _resume(self, process: Process) -> None:
        if not process.alive:
            return
        self.tell(f"resume {process.place}")
        # What runs first is a race: what had come, or what had come due.
        if self.chance.random() < 0.5:
            self.network.resume(process.place)
            process.clock.resume()
        else:
            process.clock.resume()
            self.network.resume(process.place, lag_s=0.001)

    def crash_worker(self, place: str, *, packing: bool = False) -> None:
        """Let a busy worker of a node die."""
        process = self.processes[place]
        assert isinstance(process, NodeProcess)
        if process.alive and (slots := process.workers.running()):
            slot = self.chance.choice(slots)
            self.tell(f"worker {slot} of {place} dies{' packing' * packing}")
            process.workers.crash(slot, packing=packing)

    def slow_down(self, store_s: float) -> None:
        """Let whoever stores results take so long for each batch."""
        process = self.processes[SINK if self.layout.standalone_sink else CLIENT]
        assert isinstance(process, SinkProcess | ClientProcess)
        self.tell(f"{process.place} stores a batch in {store_s:.3f} s")
        process.recorder.delay_s = store_s

    # Running

    def run_until(self, condition: Callable[[], bool], limit_s: float, *, check_every: int = 128) -> None:
        """Let time pass until the condition holds; look at all invariants now and then."""
        clock, end = self.clock, self.clock.time() + limit_s
        while not condition():
            assert clock.time() < end, f"it took more than {limit_s:g} s: {self!r}"
            for _ in range(LOOK_EVERY):
                assert clock.step(), f"nothing is due any more: {self!r}"
            if clock.calls % check_every < LOOK_EVERY:
                self.check()

    def all_ended(self) -> bool:
        """Tell whether the consumer was told of the end of each job."""
        return all(job.ends for job in self.jobs.values())

    def check(self) -> None:
        """Check the invariants of every machine."""
        for process in self.processes.values():
            if process.alive:
                process.check()

    def __repr__(self) -> str:
        alive = [repr(process.peer) for process in self.processes.values() if process.alive]
        return f"<SimMesh {self.client.ventilator._dispatch!r} {' '.join(alive)}>"

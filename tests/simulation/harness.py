"""A whole mesh in one thread: the real peers, ventilator, nodes and sink on a fake clock, network and workers.

Owns the processes of the mesh, and what may be done to them. What has to hold is in `oracle.py`, what befalls it in
`schedules.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from tests.simulation.deaths import Mourned
from tests.simulation.layout import Deal, Layout, Submitted
from tests.simulation.processes import SINK, ClientProcess, NodeProcess, Process, SinkProcess
from tests.simulation.recording import Store
from tests.simulation.watching import Watch
from zmqtasks.messages import Flight, JobId, Range, ventilator_of
from zmqtasks.options import TaskOptions
from zmqtasks.testing import Executed, FakeClock, Fate, SimNetwork
from zmqtasks.testing.journal import Pages

CLIENT = "client"
RECORDED = 0.7
"""How many of the nodes that are killed had a flight recorder."""
LOOK_EVERY = 16
"""Calls of the clock between two looks at what is waited for."""


class SimMesh:
    """A mesh at places "client", "client1", ..., "node0", "node1", ... and, where it stands alone, "sink".

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
        self.clients: list[ClientProcess] = []
        self.processes: dict[str, Process] = {}
        self.hits: Counter[str] = Counter()
        """Faults that hit something, by kind."""
        self.mourned = Mourned()
        self.flights: dict[str, Flight] = {}
        """What the flight recorder of a node that was killed says, by its place."""
        self.pages: dict[str, Pages] = {}
        """What the journals of clients have, by their places."""
        self._recorders = random.Random(f"recorders of {seed}")
        self._started: Counter[str] = Counter()
        for number in range(self.layout.clients):
            self._start_client(number)
        for number in range(self.layout.nodes):
            self.start(f"node{number}")
        if self.layout.standalone_sink:
            self.start(SINK)

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        if self.tells:
            self.story.append(f"{self.clock.time() - 1000:10.6f} {line}")

    @property
    def client(self) -> ClientProcess:
        """Return the first client."""
        return self.clients[0]

    def _start_client(self, number: int) -> None:
        """Start a client, which submits all again that it did in earlier lives; only one with a journal is killed."""
        place = f"{CLIENT}{number or ''}"
        client = ClientProcess(self, place, self._started[place])
        self._started[place] += 1
        self.clients[number : number + 1] = [client]
        self.processes[place] = client
        for job in [job for job in self.jobs.values() if job.client == number]:
            client.submit(job)
            assert self.jobs[job.id] is job, f"{job.id} is another job now"

    def fate(self, job: JobId, index: int) -> Fate:
        """Return what happens to a task that is begun."""
        submitted = self.jobs[job]
        submitted.begun[index] += 1
        return submitted.fate(index, submitted.begun[index] - 1)

    def submit(
        self,
        total: int,
        fate: Deal = lambda index, before: Fate(),
        options: TaskOptions | None = None,
        *,
        client: int = 0,
    ) -> Submitted:
        """Let a client submit a job of `work(0)`, `work(1)`, ..."""
        job = Submitted(total, options or TaskOptions(), fate, client, at_s=self.clock.time())
        self.clients[client].submit(job)
        self.jobs[job.id] = job
        return job

    def want_back(self, job: Submitted, start: int, stop: int) -> None:
        """Let the client of a job take tasks back, if they were not begun."""
        self.tell(f"{job.id} wants {start}..{stop} back")
        job.wanted_back |= job.open_in(start, stop)
        self._client_of(job).ventilator.request_cancel([Range(job.id, start, stop)])

    def kill_tasks(self, job: Submitted, start: int, stop: int) -> None:
        """Let the client of a job end tasks in any case."""
        self.tell(f"{job.id} kills {start}..{stop}")
        ended = job.open_in(start, stop)
        job.killed |= ended
        for index in sorted(ended):
            self._client_of(job).ventilator.cancel(job.id, index, index + 1, kill=True)

    def _client_of(self, job: Submitted) -> ClientProcess:
        return next(client for client in self.clients if client.peer.id == ventilator_of(job.id))

    # What may befall it

    def start(self, place: str) -> None:
        """Start a process at a place that is free."""
        self.tell(f"start {place}")
        if place.startswith(CLIENT):
            self._start_client(int(place.removeprefix(CLIENT) or 0))
            return
        number = self._started[place]
        self._started[place] += 1
        self.processes[place] = (SinkProcess if place == SINK else NodeProcess)(self, place, number)

    def hit(self, kind: str) -> None:
        """Count a fault: it hit something."""
        self.hits[kind] += 1

    def kill(self, place: str, *, silently: bool = False) -> bool:
        """Kill the process at a place; tell whether there was one."""
        process = self.processes[place]
        if not process.alive:
            return False
        if isinstance(process, NodeProcess):
            self.mourned.node(process.node)
            # It is gone with its host; and not everybody has one.
            if not silently and self._recorders.random() < RECORDED:
                self.flights[place] = process.workers.flight()
        if isinstance(process, ClientProcess):
            for job in [job for job in self.jobs.values() if self.clients[job.client] is process]:
                # Who comes next knows only up to where tasks were perhaps sent.
                if pages := self.pages.get(place):
                    self.mourned.doubt(job.id, 0, pages.sent.get(job.id, 0))
                job.forget()
        if isinstance(process, SinkProcess):
            # What it acknowledged to a node, and had not told the ventilator yet, dies with it.
            for client in self.clients:
                self.mourned.aboard(client.ventilator._dispatch)
        process.die()
        self.network.kill(place, silently=silently)
        return True

    def leave(self, place: str) -> None:
        """Let a client end in order."""
        client = next(client for client in self.clients if client.place == place)
        self.tell(f"{place} leaves")
        client.leave()
        self.clients.remove(client)

    def drain(self, place: str) -> bool:
        """Let a node end in order, once what it has begun is done; tell whether there was one."""
        process = self.processes[place]
        assert isinstance(process, NodeProcess)
        if process.alive:
            self.tell(f"drain {place}")
            process.node.drain()
        return process.alive

    def restart(self, place: str) -> None:
        """Start a new process where one was killed."""
        if not self.processes[place].alive:
            self.start(place)

    def stop(self, place: str, seconds: float, *, stalled: bool = False, kind: str = "stop") -> None:
        """Stop a process for a while, as SIGSTOP and SIGCONT do; `stalled`, as a thread that holds the GIL does.

        It counts as a fault of this kind if anything had to wait for it.
        """
        process = self.processes[place]
        if process.alive and not process.clock.stopped:
            self.tell(f"{'stall' if stalled else 'stop'} {place} for {seconds:.3f} s")
            process.clock.stop()
            self.network.stop(place, stalled=stalled)
            self.clock.call_later(seconds, self._resume, process, kind)

    def _resume(self, process: Process, kind: str) -> None:
        if not process.alive:
            return
        self.tell(f"resume {process.place}")
        self.hits[kind] += process.was_missed()
        # What runs first is a race: what had come, or what had come due.
        if self.chance.random() < 0.5:
            self.network.resume(process.place)
            process.clock.resume()
        else:
            process.clock.resume()
            self.network.resume(process.place, lag_s=0.001)

    def crash_worker(self, place: str, *, packing: bool = False) -> bool:
        """Let a busy worker of a node die; tell whether there was one."""
        process = self.processes[place]
        assert isinstance(process, NodeProcess)
        slots = process.workers.running() if process.alive else []
        if slots:
            slot = self.chance.choice(slots)
            self.tell(f"worker {slot} of {place} dies{' packing' * packing}")
            self.mourned.worker(process.node, slot)
            process.workers.crash(slot, packing=packing)
        return bool(slots)

    def slow_down(self, store_s: float) -> int:
        """Let whoever stores results take so long for each batch; return how many were stored slowly so far."""
        process = self.processes[SINK if self.layout.standalone_sink else CLIENT]
        assert isinstance(process, SinkProcess | ClientProcess)
        self.tell(f"{process.place} stores a batch in {store_s:.3f} s")
        process.recorder.delay_s = store_s
        return process.recorder.commits

    def fill_disk(self, *, full: bool) -> int:
        """Let the disk of whoever stores results take nothing, or all again; return how many commits failed so far."""
        self.tell("the disk is full" if full else "the disk has room")
        self.store.full = full
        return self.store.refused

    # Running

    def run_until(
        self,
        condition: Callable[[], bool],
        limit_s: float,
        *,
        check_every: int = 128,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        """Let time pass until the condition holds; look at all invariants, and at what else is given, now and then."""
        clock, end = self.clock, self.clock.time() + limit_s
        while not condition():
            assert clock.time() < end, f"it took more than {limit_s:g} s: {self!r}"
            for _ in range(LOOK_EVERY):
                assert clock.step(), f"nothing is due any more: {self!r}"
            if clock.calls % check_every < LOOK_EVERY:
                self.check()
                also()

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
        dispatches = [repr(client.ventilator._dispatch) for client in self.clients]
        return f"<SimMesh {' '.join(dispatches)} {' '.join(alive)}>"

"""Random schedules: what is submitted, and what befalls the mesh meanwhile; all drawn from one seed.

Owns the draw. A schedule is small, so that a thousand of them take seconds, and never so cruel that a task may rightly
fail: at most two workers and two nodes die, and three deaths are what a task needs to be given up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tests.simulation.harness import CLIENT, SimMesh
from tests.simulation.layout import Layout, Rules, Submitted
from tests.simulation.oracle import judge, judge_leftovers
from tests.simulation.processes import SINK
from zmqtasks.options import HIGH, KIB, NORMAL, TaskOptions
from zmqtasks.testing import Conditions, Fate

NODES = 3
SPAN_S = 8.0
"""Faults begin within this time."""
LIMIT_S = 300.0
"""No schedule takes longer, unless something hangs."""

COUNTED = {
    "reset": "cut",
    "heal": "partition",
    "kill": "killed node",
    "worker": "killed worker",
    "drain": "drained node",
}
"""Kinds of fault by the first word of their names; what they return tells whether they hit something."""

Fault = Callable[[SimMesh], object]


@dataclass(frozen=True)
class Work:
    """A job of a schedule."""

    at_s: float
    total: int
    task_s: float
    options: TaskOptions
    client: int
    flaky: int = 0
    """Every so many tasks, one raises when it is begun for the first time; 0 for none."""

    poison: int = 0
    """Every so many tasks, one ends its worker whenever it is begun; 0 for none."""

    def submit(self, mesh: SimMesh, *, client: int | None = None) -> Submitted:
        """Submit it, through its own client or another."""
        well, ill = Fate(self.task_s), Fate(self.task_s, error=ValueError("the first time it fails"))
        deadly = Fate(self.task_s, crashes=True)

        def fate(index: int, before: int) -> Fate:
            if job.is_poison(index):
                return deadly
            return ill if not before and job.is_flaky(index) else well

        job = mesh.submit(self.total, fate, self.options, client=self.client if client is None else client)
        job.flaky, job.poison, job.task_s = self.flaky, self.poison, self.task_s
        return job


@dataclass(frozen=True)
class Schedule:
    """What happens in one run."""

    seed: int
    layout: Layout
    jobs: tuple[Work, ...]
    faults: tuple[tuple[float, str, Fault], ...]

    replays = ""

    def run(self, *, story: bool = False) -> SimMesh:
        """Play it, and judge the end."""
        return played(self, story=story)

    def play(self, mesh: SimMesh) -> None:
        """Let it happen to a mesh."""
        for work in self.jobs:
            mesh.clock.call_later(work.at_s, work.submit, mesh)
        for at_s, name, fault in self.faults:
            mesh.clock.call_later(at_s, _befall, mesh, name, fault)
        mesh.run_until(lambda: len(mesh.jobs) == len(self.jobs) and mesh.all_ended(), LIMIT_S)
        judge(mesh)
        over = mesh.clock.time() + max(0.0, SPAN_S - mesh.clock.time())
        mesh.run_until(lambda: mesh.clock.time() >= over, LIMIT_S)
        judge_leftovers(mesh)
        judge(mesh)

    def __str__(self) -> str:
        faults = "\n".join(f"  {at_s:7.3f} {name}" for at_s, name, _ in self.faults)
        return f"seed {self.seed}: {self.layout}\n  {self.jobs}\n{faults}"


def _befall(mesh: SimMesh, name: str, fault: Fault) -> None:
    """Let a fault happen, and count it where it hit something."""
    hit, kind = fault(mesh), COUNTED.get(name.split()[0])
    if kind and hit:
        mesh.hit("killed sink" if name.startswith("kill sink") else kind)


class Played(Protocol):
    """What is drawn from a seed and can be played."""

    @property
    def seed(self) -> int:
        """Return what it was drawn from."""

    @property
    def replays(self) -> str:
        """Return what the command to replay it needs beside the seed."""

    @property
    def layout(self) -> Layout:
        """Return what the mesh is made of."""

    def play(self, mesh: SimMesh) -> None:
        """Let it happen to a mesh."""


def played(schedule: Played, *, story: bool = False) -> SimMesh:
    """Play it on a mesh of its own, and judge the end.

    Raises:
        ScheduleFailed: something was wrong.
    """
    mesh = SimMesh(schedule.seed, schedule.layout, story=story)
    try:
        schedule.play(mesh)
    except Exception as error:
        raise ScheduleFailed(schedule, mesh, error) from error
    return mesh


class ScheduleFailed(AssertionError):
    """What was wrong, the end of the story, and how to see all of it."""

    def __init__(self, schedule: Played, mesh: SimMesh, error: Exception) -> None:
        self.mesh = mesh
        self.summary = f"{type(error).__name__}: {error}\n{schedule}"
        self.command = f"python -m tests.simulation.replay {schedule.seed} {schedule.replays}".rstrip()
        story = mesh.story[-200:] or [f"the story: {self.command}"]
        super().__init__("\n".join([self.summary, *story]))


def draw(seed: int, rules: Rules | None = None) -> Schedule:
    """Return the schedule of a seed."""
    chance = random.Random(seed)
    standalone = chance.random() < 0.4
    layout = Layout(
        clients=chance.choice((1, 1, 2)),
        nodes=NODES,
        workers=chance.choice((1, 2)),
        standalone_sink=standalone,
        store_s=chance.choice((0.001, 0.02, 0.2)) if standalone else 0.0,
        window_bytes=chance.choice((KIB, 64 * KIB, 256 * KIB * KIB)),
        conditions=Conditions(
            latency_s=chance.choice((0.0001, 0.002, 0.05)),
            jitter_s=chance.choice((0.0001, 0.02)),
            encoded=chance.random() < 0.15,
        ),
        rules=rules or Rules(),
    )
    jobs = tuple(_draw_job(chance, layout) for _ in range(chance.choice((1, 1, 2))))
    jobs = _draw_times(random.Random(f"times {seed}"), jobs)
    faults = [*_draw_faults(chance, layout), *_draw_cancels(random.Random(f"cancel {seed}"), jobs)]
    return Schedule(seed, layout, jobs, tuple(sorted(faults, key=lambda fault: fault[0])))


def _draw_job(chance: random.Random, layout: Layout) -> Work:
    """Draw a job of some seconds: many short tasks, or few long ones."""
    task_s, most = chance.choice(((0.0005, 2000), (0.02, 150), (0.2, 120), (1.0, 50), (3.0, 20)))
    total = chance.randint(most // 4, most)
    retry = chance.random() < 0.8
    flaky = chance.choice((0, 0, 2 + total // 10)) if retry else 0
    retries, backoff = (1, chance.choice((0.0, 0.5))) if flaky else (0, 0.0)
    options = TaskOptions(retry=retry, retries=retries, backoff=backoff, priority=chance.choice((0, 0, 1)))
    return Work(chance.uniform(0.0, 4.0), total, task_s, options, chance.randrange(layout.clients), flaky)


def _draw_times(chance: random.Random, jobs: tuple[Work, ...]) -> tuple[Work, ...]:
    """Draw, for one schedule of four, that tasks are delayed, expire or go first; apart from all else."""
    if chance.random() < 0.75:
        return jobs
    changes = [
        {
            "delay": chance.choice((0.0, chance.uniform(0.0, 6.0))),
            "expires": chance.choice((None, chance.uniform(7.0, 20.0))),
            "priority": chance.choice((NORMAL, HIGH)),
        }
        for _ in jobs
    ]
    pairs = zip(jobs, changes, strict=True)
    return tuple(replace(job, options=job.options.replace(**change)) for job, change in pairs)


def _draw_cancels(chance: random.Random, jobs: tuple[Work, ...]) -> Drawn:
    """Draw, for one schedule of three, what consumers do not want any more; apart from all else."""
    drawn: Drawn = []
    for _ in range(chance.choice((0, 0, 4))):
        number = chance.randrange(len(jobs))
        start = chance.randrange(jobs[number].total)
        stop, kill = start + chance.choice((1, 1, 5, 100)), chance.random() < 0.4
        at_s = jobs[number].at_s + chance.uniform(0.0, 4.0)
        drawn.append((at_s, f"{'kill' if kill else 'cancel'} {start}..{stop}", _cancel(number, start, stop, kill)))
    return drawn


def _cancel(number: int, start: int, stop: int, kill: bool) -> Fault:
    def cancel(mesh: SimMesh) -> None:
        job = list(mesh.jobs.values())[number] if number < len(mesh.jobs) else None
        if job and not job.ends:
            (mesh.kill_tasks if kill else mesh.want_back)(job, start, min(stop, job.total))

    return cancel


def _draw_faults(chance: random.Random, layout: Layout) -> tuple[tuple[float, str, Fault], ...]:
    nodes = [f"node{number}" for number in range(layout.nodes)]
    hub = SINK if layout.standalone_sink else CLIENT
    pairs = [(CLIENT, node) for node in nodes]
    if layout.standalone_sink:
        pairs += [(SINK, node) for node in nodes] + [(CLIENT, SINK)]
    drawers = [_reset, _reset, _partition, _partition, _stop, _stop, _slow]
    scarce = [_kill_node, _kill_node, _crash_worker, _crash_worker, _drain_node] + ([_kill_sink] if hub == SINK else [])
    chosen = chance.sample(scarce, chance.randint(0, 3)) + chance.choices(drawers, k=chance.randint(1, 3))
    faults: list[tuple[float, str, Fault]] = []
    for drawer in chosen:
        faults += drawer(chance, chance.uniform(0.1, SPAN_S), nodes, pairs)
    return tuple(sorted(faults, key=lambda fault: fault[0]))


Drawn = list[tuple[float, str, Fault]]
Pairs = list[tuple[str, str]]


def _reset(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    one, other = chance.choice(pairs)
    return [(at_s, f"reset {one} {other}", lambda mesh: mesh.network.reset(one, other))]


def _partition(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    one, other = chance.sample(chance.choice(pairs), 2)
    both_ways = chance.random() < 0.5
    lasts_s = chance.choice((chance.uniform(0.5, 4.0), chance.uniform(4.0, 20.0)))
    faults: Drawn = [
        (at_s, f"partition {one} {other} {both_ways=}", lambda m: m.network.partition(one, other, both_ways=both_ways)),
        (at_s + lasts_s, f"heal {one} {other}", lambda m: m.network.heal(one, other)),
    ]
    # TCP gives a connection up when it has waited long enough; one that breaks otherwise may break at any time.
    if chance.random() < 0.3:
        faults.insert(1, (at_s + lasts_s, f"reset {one} {other}", lambda m: m.network.reset(one, other)))
    return faults


def _stop(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    place = chance.choice([*nodes, *pairs[-1]])
    lasts_s = chance.uniform(1.0, 15.0)
    return [(at_s, f"stop {place} for {lasts_s:.3f} s", lambda mesh: mesh.stop(place, lasts_s))]


def _slow(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    store_s, lasts_s = chance.uniform(0.05, 0.5), chance.uniform(1.0, 5.0)
    return [
        (at_s, f"slow {store_s:.3f}", lambda mesh: mesh.slow_down(store_s)),
        (at_s + lasts_s, "fast", lambda mesh: mesh.slow_down(mesh.layout.store_s)),
    ]


def _kill_node(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    return _kill(chance, at_s, chance.choice(nodes))


def _drain_node(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    node, absent_s = chance.choice(nodes), chance.uniform(0.05, 5.0)
    return [
        (at_s, f"drain {node}", lambda mesh: mesh.drain(node)),
        (at_s + absent_s, f"restart {node}", lambda mesh: mesh.restart(node)),
    ]


def _kill_sink(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    return _kill(chance, at_s, SINK)


def _kill(chance: random.Random, at_s: float, place: str) -> Drawn:
    silently = chance.random() < 0.3
    absent_s = chance.uniform(0.05, 5.0)
    return [
        (at_s, f"kill {place} {silently=}", lambda mesh: mesh.kill(place, silently=silently)),
        (at_s + absent_s, f"restart {place}", lambda mesh: mesh.restart(place)),
    ]


def _crash_worker(chance: random.Random, at_s: float, nodes: list[str], pairs: Pairs) -> Drawn:
    node, packing = chance.choice(nodes), chance.random() < 0.3
    return [(at_s, f"worker of {node} dies {packing=}", lambda mesh: mesh.crash_worker(node, packing=packing))]

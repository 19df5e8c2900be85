"""Storms: minutes of a busy mesh under hundreds of faults, all drawn from one seed.

Owns the draw, and what is submitted meanwhile. Where a schedule of `schedules.py` is small, so that every combination
of a few faults comes up, a storm is long: faults come upon what earlier ones have left. What takes nodes away comes
seldom enough that most work is done once; all else comes many times a second.

One, and all of its story: python -m tests.simulation.replay SEED --storm
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.bounds import Bounds
from tests.simulation.faults import Fault
from tests.simulation.harness import CLIENT, SimMesh
from tests.simulation.layout import Layout, Rules, Submitted
from tests.simulation.oracle import judge, judge_leftovers
from tests.simulation.processes import SINK
from tests.simulation.schedules import LIMIT_S, Work, played
from zmqtasks.options import KIB, MIB, TaskOptions
from zmqtasks.testing import Conditions

SPAN_S = 120.0
"""Faults begin within this time, and as long there is work."""
OPEN_JOBS = 2
"""So many jobs a client has open at once."""
LOOK_S = 0.2
CHECK_EVERY = 512
"""Calls of the clock between two looks at the invariants."""
LONG_S = 1.0
"""A task that takes so long is a long one."""
UNLUCKY_S = 8.0
"""Mean time between two faults that take a node's work away."""

FREQUENT = {"lost run": 40, "reset": 35, "cut": 16, "partition": 3, "one-way partition": 3, "packet loss": 3}
"""Kinds of fault between two peers, by weight."""


@dataclass(frozen=True)
class Storm:
    """What happens in one run."""

    seed: int
    layout: Layout
    jobs: tuple[Work, ...]
    """Submitted one after the other, again and again, in place of those that have ended."""
    faults: tuple[Fault, ...]
    span_s: float = SPAN_S

    replays = "--storm"

    def run(self, *, story: bool = False) -> SimMesh:
        """Play it, and judge the end."""
        return played(self, story=story)

    def play(self, mesh: SimMesh) -> None:
        """Let it happen to a mesh."""
        clock, end = mesh.clock, mesh.clock.time() + self.span_s
        bounds = Bounds(mesh)
        self._supply(mesh, [], end)
        for fault in self.faults:
            clock.call_later(fault.at_s, fault.befall, mesh)
        over = lambda: clock.time() > end and mesh.all_ended()  # noqa: E731
        mesh.run_until(over, self.span_s + LIMIT_S, check_every=CHECK_EVERY, also=bounds.check)
        judge(mesh)
        judge_leftovers(mesh)
        judge(mesh)

    def _supply(self, mesh: SimMesh, given: list[Submitted], end: float) -> None:
        """Keep some jobs open at each client until the storm is over."""
        for number, process in enumerate(mesh.clients):
            open_jobs = [job for job in given if not job.ends and job.client == number]
            while process.alive and len(open_jobs) < OPEN_JOBS:
                job = self.jobs[len(given) % len(self.jobs)].submit(mesh, client=number)
                open_jobs.append(job)
                given.append(job)
        if mesh.clock.time() < end:
            mesh.clock.call_later(LOOK_S, self._supply, mesh, given, end)

    def __str__(self) -> str:
        faults = "\n".join(f"  {fault}" for fault in self.faults)
        return f"storm {self.seed} of {self.span_s:g} s: {self.layout}\n  {self.jobs}\n{faults}"


def draw_storm(seed: int, rules: Rules | None = None, *, span_s: float = SPAN_S) -> Storm:
    """Return the storm of a seed."""
    chance = random.Random(f"storm {seed}")
    standalone = chance.random() < 0.5
    layout = Layout(
        clients=chance.choice((1, 1, 2)),
        nodes=chance.choice((3, 4, 6)),
        workers=chance.choice((1, 2)),
        standalone_sink=standalone,
        journal=chance.random() < 0.5,
        store_s=chance.choice((0.001, 0.02)) if standalone else 0.0,
        window_bytes=chance.choice((4 * KIB, 64 * KIB, 256 * MIB)),
        conditions=Conditions(
            latency_s=chance.choice((0.0001, 0.002, 0.02)),
            jitter_s=chance.choice((0.0001, 0.005)),
            encoded=chance.random() < 0.1,
        ),
        rules=rules or Rules(),
    )
    faults = [*_draw_frequent(chance, layout, span_s), *_draw_rare(chance, layout, span_s)]
    return Storm(seed, layout, tuple(_draw_jobs(chance, layout)), tuple(sorted(faults)), span_s)


def _draw_jobs(chance: random.Random, layout: Layout) -> list[Work]:
    """Draw the jobs of a storm, each some seconds of work for the whole mesh."""
    workers = layout.nodes * layout.workers
    kinds = [(0.002, 150), (0.02, 100), (0.2, 30), (1.0, 8), (2.0, 6)]
    jobs = []
    for _ in range(chance.randint(2, 4)):
        task_s, a_worker = chance.choice(kinds)
        retry = chance.random() < 0.8
        total = chance.randint(1, a_worker) * workers
        flaky = chance.choice((0, 0, 2 + total // 5)) if retry else 0
        retries, backoff = (1, chance.choice((0.0, 0.5))) if flaky else (0, 0.0)
        poison = chance.choice((0, 0, 0, max(2, total))) if retry else 0
        options = TaskOptions(retry=retry, retries=retries, backoff=backoff, priority=chance.choice((0, 0, 1)))
        jobs.append(Work(0.0, total, task_s, options, 0, flaky, poison))
    return jobs


def _pairs(layout: Layout) -> list[tuple[str, str]]:
    clients = [f"{CLIENT}{number or ''}" for number in range(layout.clients)]
    nodes = [f"node{number}" for number in range(layout.nodes)]
    pairs = [(client, node) for client in clients for node in nodes]
    if layout.standalone_sink:
        pairs += [(SINK, place) for place in (*nodes, *clients)]
    return pairs


def _draw_frequent(chance: random.Random, layout: Layout, span_s: float) -> list[Fault]:
    """Draw what befalls two peers; all of it is over soon enough that no session ends by it alone."""
    faults = []
    pairs, kinds, weights = _pairs(layout), list(FREQUENT), list(FREQUENT.values())
    mean_s = chance.choice((0.6, 1.2, 2.5)) / len(pairs)
    at_s = 0.5
    while (at_s := at_s + chance.expovariate(1 / mean_s)) < span_s:
        one, other = chance.sample(chance.choice(pairs), 2)
        kind = chance.choices(kinds, weights)[0]
        lasts_s = min(0.02 + chance.expovariate(3.0), 4.0)
        number = chance.choice((1, 1, 2, 5, 20))
        faults.append(Fault(at_s, kind, one, other, lasts_s, number, share=0.05, flag=chance.random() < 0.2))
    return faults


def _draw_rare(chance: random.Random, layout: Layout, span_s: float) -> list[Fault]:
    """Draw what stops or ends processes, and what is long."""
    clients = [f"{CLIENT}{number or ''}" for number in range(layout.clients)]
    nodes = [f"node{number}" for number in range(layout.nodes)]
    hubs = [*clients, SINK] if layout.standalone_sink else clients
    faults: list[Fault] = []

    def often(mean_s: float, *draws: Fault) -> None:
        at_s = 1.0
        while (at_s := at_s + chance.expovariate(1 / mean_s)) < span_s:
            faults.append(chance.choice(draws)._replace(at_s=at_s, flag=chance.random() < 0.3))

    def between(least_s: float, most_s: float) -> float:
        return chance.uniform(least_s, most_s)

    often(3.0, *[Fault(0, "stop", place, lasts_s=between(0.02, 2.0)) for place in [*nodes, *hubs] for _ in range(4)])
    often(40.0, *[Fault(0, "stop", place, lasts_s=between(5.0, 30.0)) for place in hubs for _ in range(4)])
    often(
        60.0, *[Fault(0, "stalled client", place, lasts_s=between(10.0, 20.0)) for place in clients for _ in range(4)]
    )
    often(15.0, *[Fault(0, "slow consumer", "", lasts_s=between(0.5, 5.0), share=between(0.05, 0.5)) for _ in range(9)])
    often(20.0, *[Fault(0, "full disk", "", lasts_s=between(0.5, 10.0)) for _ in range(9)])
    often(4.0, *[Fault(0, "killed worker", node) for node in nodes])
    often(20.0, *[Fault(0, "drained node", node, lasts_s=between(0.1, 3.0)) for node in nodes])
    if layout.standalone_sink:
        often(10.0, *[Fault(0, "killed sink", SINK, lasts_s=between(0.02, 3.0)) for _ in range(9)])
    if layout.journal:
        often(15.0, *[Fault(0, "killed ventilator", place, lasts_s=between(0.02, 8.0)) for place in clients * 9])
    long = [("partition", place, node) for place in hubs for node in nodes]
    long += [("one-way partition", *chance.sample(pair[1:], 2)) for pair in long]
    often(
        UNLUCKY_S * 6 / layout.nodes,
        *[Fault(0, "killed node", node, lasts_s=between(0.02, 5.0)) for node in nodes for _ in range(4)],
        *[Fault(0, "stop", node, lasts_s=between(5.0, 30.0)) for node in nodes],
        *[Fault(0, kind, one, other, lasts_s=between(4.0, 20.0)) for kind, one, other in chance.sample(long, 4)],
    )
    return faults

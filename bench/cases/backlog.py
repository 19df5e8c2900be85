"""Sergeant's own benchmark: tasks that do nothing are produced first, then consumed by one worker.

Variants: "singly", each task pushed by itself, and taken by itself; "in batches", all pushed at once, and as many taken
at once as its own benchmark does (25,000). Sergeant's clock of consuming runs in its worker, from the first task to
the last: it need not have started, and it gives nothing back. Ours runs until all results are with the program. What is
pushed waits: here in a queue that is paused, there in Redis.

A range that is given to `map` waits as it is, and costs something only when it is sent: what "produced" says of batches
is no comparison, and the sum of both is judged instead.

Its documentation tells of 2022: 100,000 tasks pushed in 5.96 s singly and 0.38 s in bulk, consumed in 6.06 and 0.31 s.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.cases.case import MESH, Case, Figures, Found, Reach, times
from bench.peers.peer import Demand, Runner

SINGLY, BATCHES = "singly", "in batches"
PRODUCED, CONSUMED = "produced_a_second", "consumed_a_second"
TASKS = 100_000


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Have the peer produce and consume so many tasks."""
    produce_s, consume_s = runner.backlog(size, at_once=variant == BATCHES)
    return {"seconds": produce_s + consume_s, PRODUCED: size / produce_s, CONSUMED: size / consume_s}


def _ahead(figure: str, variant: str) -> Callable[[Found], list[float]]:
    return lambda at: times(at(MESH, figure, variant), at("sergeant", figure, variant))


def _sooner(variant: str) -> Callable[[Found], list[float]]:
    return lambda at: times(at("sergeant", "seconds", variant), at(MESH, "seconds", variant))


CASE = Case(
    "W15",
    "backlog",
    "100,000 tasks that do nothing: produced, then consumed by one worker",
    measure,
    CONSUMED,
    peers=(MESH, "sergeant"),
    variants=(SINGLY, BATCHES),
    sizes=(TASKS, TASKS),
    demand=Demand(workers=1),
    reaches=(
        Reach("singly, produced: Sergeant with Redis", _ahead(PRODUCED, SINGLY), least=1),
        Reach("singly, consumed: Sergeant with Redis", _ahead(CONSUMED, SINGLY), least=1),
        Reach("singly, both: Sergeant with Redis", _sooner(SINGLY), least=1),
        Reach("in batches, consumed: Sergeant with Redis", _ahead(CONSUMED, BATCHES), least=1),
        Reach("in batches, both: Sergeant with Redis", _sooner(BATCHES), least=1),
    ),
    quick=(),
)

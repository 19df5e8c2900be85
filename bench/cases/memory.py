"""Tasks that allocate without end, beside good ones: who survives.

A round sends four tasks that allocate until they are stopped, and two hundred of 5 ms, to a node with two workers
and 512 MiB of memory; every other round limits each task to 200 MiB instead. A round is survived where the
node is the same, all good tasks are right, and the bad ones have ended as MemoryLimitExceeded.
"""

from __future__ import annotations

import os
import time
from typing import Any

from bench.cases.case import MESH, Case, Figures, Reach
from bench.peers.peer import WORKERS, Peer

MIB = 2**20
ROUNDS = 4
BAD, GOOD = 4, 200
A_NODE, A_TASK = 512 * MIB, 200 * MIB
MOST_MIB = 2048
"""A bad task that nobody stops ends itself: the machine shall survive the bench."""
ANSWER_S = 60.0
SURVIVED = "rounds_survived"


def devour(step_mib: int) -> None:
    """Allocate without end."""
    held: list[bytearray] = []
    while len(held) * step_mib < MOST_MIB:
        held.append(bytearray(b"x") * (step_mib * MIB))
    raise AssertionError("nobody stopped it")


def square(value: int) -> int:
    """Work for 5 ms."""
    time.sleep(0.005)
    return value * value


def play(client: Any, node: int, a_task: int | None) -> tuple[bool, float]:
    """Play one round; return whether it was survived, and the highest peak that was told, in MiB."""
    bad = [client.options(max_memory=a_task).submit(devour, 4 + 4 * (n % 2)) for n in range(BAD)]
    good = [client.submit(square, n) for n in range(GOOD)]
    right = all(future.result(ANSWER_S) == n * n for n, future in enumerate(good))
    peaks = [getattr(future.exception(ANSWER_S), "peak_bytes", None) for future in bad]
    same = client.submit(os.getppid).result(ANSWER_S) == node
    return right and same and None not in peaks, max(filter(None, peaks), default=0) / MIB


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Play rounds on one node, and count those that were survived."""
    import zmqtasks

    started = time.perf_counter()
    with zmqtasks.Client(workers=WORKERS, memory=A_NODE) as client:
        node = client.submit(os.getppid).result(ANSWER_S)
        rounds = [play(client, node, A_TASK if n % 2 else None) for n in range(size)]
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        SURVIVED: sum(survived for survived, _ in rounds) / size,
        "most_peak_mib": max(peak for _, peak in rounds),
    }


CASE = Case(
    "W8",
    "memory",
    "share of the rounds that node and neighbours of tasks that allocate without end survive",
    measure,
    SURVIVED,
    sizes=(ROUNDS, ROUNDS),
    demand=None,
    reaches=(Reach("all rounds survived", lambda at: at(MESH, SURVIVED), least=1, unit=""),),
    quick=(),
)

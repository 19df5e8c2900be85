"""What a journal costs: tasks a second that are written by themselves, and through a client; and how fast one resumes.

Variants: "alone", blocks and outcomes handed to the writer until all is committed; "submit" and "map", a client with a
journal from the call to the last result; "resume", the same program again, when all is done.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cases.case import MESH, Case, Figures, Reach, rate
from bench.work import nothing

RATE = "tasks_a_second"
ALONE, SUBMIT, MAP, RESUME = "alone", "submit", "map", "resume"
BATCH = 1000


def measure(runner: Any, variant: str, size: int, chunk: int | None) -> Figures:
    """Measure one variant on a fresh file."""
    with tempfile.TemporaryDirectory(prefix="bench-journal-") as folder:
        path = Path(folder, "journal.db")
        if variant == ALONE:
            return _alone(path, size)
        if variant == RESUME:
            _through_client(path, MAP, size)
        return _through_client(path, MAP if variant == RESUME else variant, size)


def _alone(path: Path, size: int) -> Figures:
    from zmqtasks.journal import FileJournal
    from zmqtasks.machines.collection import Record
    from zmqtasks.messages import Outcome, OutcomeKind
    from zmqtasks.options import TaskOptions
    from zmqtasks.ventilator.resuming import Kin, Resuming
    from zmqtasks.wire.payload import Form, pack

    with FileJournal(str(path)) as journal:
        resuming = Resuming(journal)
        started = time.perf_counter()
        job = resuming.open("nothing", TaskOptions(), Kin("map"))
        for first in range(0, size, BATCH):
            stop = min(first + BATCH, size)
            items = list(range(first, stop))
            resuming.add(job, items, Form.ONE, (), lambda a, b: None)
            body = pack(items)[0].body
            assert isinstance(body, bytes)
            done = Record(Outcome(job, 1, "node", first, stop, OutcomeKind.OK, 0.0, body), first, stop)
            journal.write(lambda done=done: (done,))  # type: ignore[misc]
        journal.flush()
        seconds = time.perf_counter() - started
    return {"seconds": seconds, RATE: size / seconds}


def _through_client(path: Path, how: str, size: int) -> Figures:
    import zmqtasks

    with zmqtasks.Client(workers=1, journal=path) as client:
        client.submit(nothing, 0).result()
        if how == MAP:
            return rate(size, lambda: client.map(nothing, range(size)))
        return rate(size, lambda: (f.result() for f in [client.submit(nothing, n) for n in range(size)]))


CASE = Case(
    "W14",
    "journal",
    "tasks a second with a journal",
    measure,
    RATE,
    peers=(MESH,),
    variants=(ALONE, SUBMIT, MAP, RESUME),
    sizes=(2_000, 300_000),
    demand=None,
    reaches=tuple(
        Reach(f"100,000/s, {variant}", lambda at, variant=variant: at(MESH, RATE, variant), least=100_000, unit="/s")
        for variant in (ALONE, SUBMIT, MAP)
    ),
    quick=(ALONE,),
)

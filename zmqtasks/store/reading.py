"""What a file of results has, for people: read while it is written, and never changed, locked or created.

Owns the count of each job. Called by `zmqtasks status`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path, PurePath
from typing import NamedTuple

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId

SQLITE_ENDINGS = (".db", ".sqlite", ".sqlite3")
READ_BUSY_S = 5.0

COUNTS = """
SELECT jobs.id, jobs.name, jobs.total, COUNT(results.task), COALESCE(SUM(results.status <> 'ok'), 0),
       MAX(results.recorded_at)
FROM jobs LEFT JOIN results ON results.job = jobs.id GROUP BY jobs.id ORDER BY jobs.rowid
"""


class JobSummary(NamedTuple):
    """One job of a file; None is what the file does not know."""

    job: JobId
    function: str
    total: int | None
    done: int
    failed: int
    last: str | None
    """When something was recorded last, UTC."""


def summary(path: str) -> list[JobSummary]:
    """Return what a file of results has, a line a job.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it holds something else.
    """
    if not os.path.exists(path):
        raise FileNotFoundError("no such file")
    return _of_database(path) if PurePath(path).suffix.lower() in SQLITE_ENDINGS else _of_lines(path)


def _of_database(path: str) -> list[JobSummary]:
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=READ_BUSY_S)) as connection:
            rows = connection.execute(COUNTS).fetchall()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"not a database of results that can be read: {error}") from error
    return [JobSummary(job, name, total, ended - bad, bad, last) for job, name, total, ended, bad, last in rows]


def _of_lines(path: str) -> list[JobSummary]:
    done: dict[JobId, RangeSet] = {}
    failed: dict[JobId, set[int]] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # it is being written
            try:
                entry = json.loads(line)
                job, task, ok = entry["job"], entry["task"], entry["ok"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number} is not a result of zmqtasks") from error
            ended, bad = done.setdefault(job, RangeSet()), failed.setdefault(job, set())
            if ok:
                ended.add(task, task + 1)
                bad.discard(task)
            elif task not in ended:
                bad.add(task)
    return [JobSummary(job, "", None, ended.count(), len(failed[job]), None) for job, ended in done.items()]

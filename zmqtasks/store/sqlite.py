"""Results in a SQLite database, which other programs may read while it grows.

Owns the schema and the rule which row stays. Called by the writer.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from itertools import islice

from zmqtasks.databases import as_os_error, connect, transaction, write_ahead
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId
from zmqtasks.store.rows import KIND, Failed, Recorded, Row, StoredJob

FORMAT = 1
"""Raised whenever an older program could no longer read or write the file."""
WRITE_BUSY_S = 2.0
"""How long to wait for another writer at each commit; then it is told, and tried again."""
CACHED_STATEMENTS = 4
KNOWN_JOBS = 10_000
"""So many are remembered to be in the table of jobs; one that is not is written there again, which does no harm."""
STATEMENT_ROWS = 1024
"""Rows a statement. Python lets go of its global lock at each step of a statement and has to wait for it again when
other threads are busy: with a row a step, each row would cost a switch of threads."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE jobs (id TEXT PRIMARY KEY, name TEXT NOT NULL, total INTEGER, opened_at TEXT NOT NULL);
CREATE TABLE results (
    job TEXT NOT NULL,
    task INTEGER NOT NULL,
    status TEXT NOT NULL,      -- ok, or why not: error, crashed, timeout, out_of_memory, too_big, lost, node_killer
    input TEXT,                -- the input as text, where the command that submitted it knew it
    value TEXT,                -- JSON
    pickle BLOB,               -- where JSON does not give back the same value
    error_type TEXT,
    error TEXT,
    traceback TEXT,
    attempt INTEGER NOT NULL,
    node TEXT NOT NULL,
    elapsed_s REAL NOT NULL,   -- mean of the run of tasks this one came back with
    recorded_at TEXT NOT NULL, -- UTC
    PRIMARY KEY (job, task)
);
CREATE VIEW failures AS
    SELECT job, task, status, input, error_type, error, traceback, attempt, node, elapsed_s, recorded_at
    FROM results WHERE status <> 'ok';
"""

COLUMNS = len(Row._fields)
UPSERT = f"""
INSERT INTO results ({", ".join(Row._fields)}) VALUES {{rows}}
ON CONFLICT (job, task) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in Row._fields if name not in ("job", "task", "input"))},
    input = COALESCE(excluded.input, input)
WHERE status <> 'ok' AND (excluded.status = 'ok' OR excluded.attempt > attempt)
"""

NOTE = """
INSERT INTO jobs (id, name, total, opened_at) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END, total = COALESCE(excluded.total, total)
"""

FAILED = """
SELECT job, task, attempt, input FROM results WHERE status <> 'ok' AND (job, task) > (?, ?) ORDER BY job, task LIMIT ?
"""

OK_RANGES = """
SELECT MIN(task), MAX(task) + 1
FROM (SELECT task, task - ROW_NUMBER() OVER (ORDER BY task) AS island FROM results WHERE job = ? AND status = 'ok')
GROUP BY island
"""


class SqliteFile:
    """One database; opened here, written by one thread.

    Args:
        path: of the file; created where it is missing.

    Raises:
        ValueError: it is no database of results, or of a newer format.
        OSError: it cannot be opened or created.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known_jobs: set[JobId] = set()
        if os.path.exists(path) and not os.access(path, os.W_OK):
            # SQLite would open it for reading, and could not write even when it is writable again.
            raise OSError(f"{path} is read-only")
        with self._guarded():
            self._connection = self._connect()
        try:
            with self._guarded():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def write(self, jobs: Sequence[StoredJob], new: Iterable[Row]) -> None:
        """Write jobs and rows in one transaction; see `Backend`."""
        try:
            with self._guarded(), transaction(self._connection):
                self._note(jobs)
                remaining = iter(new)
                while rows := list(islice(remaining, STATEMENT_ROWS)):
                    self._note(StoredJob(job) for job in {row.job for row in rows} - self._known_jobs)
                    self._upsert(rows)
        except BaseException:
            self._known_jobs.clear()  # what was noted in this transaction is gone with it
            raise

    def recorded(self, job: JobId) -> Recorded:
        """Return what the file has of `job`; see `Backend`."""
        failed = "SELECT task, attempt, status FROM results WHERE job = ? AND status <> 'ok'"
        with self._guarded(), closing(self._connect()) as connection:
            ok = RangeSet(connection.execute(OK_RANGES, (job,)))
            return Recorded(ok, {task: (n, KIND[status]) for task, n, status in connection.execute(failed, (job,))})

    def jobs(self) -> list[StoredJob]:
        """Return the jobs in the file, oldest first; see `Backend`."""
        with self._guarded(), closing(self._connect()) as connection:
            return [StoredJob(*row) for row in connection.execute("SELECT id, name, total FROM jobs ORDER BY rowid")]

    def failures(self) -> Iterator[Failed]:
        """Yield what failed last, in the order of jobs and tasks; see `Backend`."""
        after: tuple[JobId, int] = ("", -1)
        while True:
            # A page at a time: a reader that stays would keep the log from being folded into the file.
            with self._guarded(), closing(self._connect()) as connection:
                page = [Failed(*row) for row in connection.execute(FAILED, (*after, STATEMENT_ROWS))]
            if not page:
                return
            yield from page
            after = page[-1].job, page[-1].task

    def close(self) -> None:
        """Close the database; the last one to do so folds the log into the file."""
        self._connection.close()

    def _prepare(self) -> None:
        """Create the tables in a new file, and refuse a file of something else before touching it."""
        with transaction(self._connection):
            tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                for statement in SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
            elif not {"meta", "jobs", "results"} <= tables:
                raise ValueError(f"{self._path} is a database, but not one of results of zmqtasks")
            (found,) = self._connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() or ("none",)
            if found != str(FORMAT):
                raise ValueError(f"{self._path} has format {found}; this version of zmqtasks knows format {FORMAT}")
        write_ahead(self._connection)
        self._connection.execute(f"PRAGMA busy_timeout = {WRITE_BUSY_S * 1000:.0f}")

    def _note(self, jobs: Iterable[StoredJob]) -> None:
        if len(self._known_jobs) > KNOWN_JOBS:
            self._known_jobs.clear()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for job in jobs:
            self._connection.execute(NOTE, (*job, now))
            self._known_jobs.add(job.id)

    def _upsert(self, rows: Sequence[Row]) -> None:
        places = ", ".join(["(" + ", ".join("?" * COLUMNS) + ")"] * len(rows))
        self._connection.execute(UPSERT.format(rows=places), [field for row in rows for field in row])

    def _connect(self) -> sqlite3.Connection:
        return connect(self._path, CACHED_STATEMENTS)

    def _guarded(self) -> AbstractContextManager[None]:
        return as_os_error(self._path, lambda error: ValueError(f"{self._path} is not a database of results: {error}"))

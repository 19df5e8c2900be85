"""The file of a journal: a SQLite database with a write-ahead log.

Owns the schema, and the words for what may be wrong with a file. Written by one thread, read by another through a
connection of its own. Called by `file.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from zmqtasks.databases import as_os_error, connect, transaction, write_ahead
from zmqtasks.errors import JournalError
from zmqtasks.journal.entries import Block, BlockNote, Entry, JobNote, JobState, Sent, last_words
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind, PeerId
from zmqtasks.options import TaskOptions
from zmqtasks.records import as_dict
from zmqtasks.wire import payload

FORMAT = 1
"""Raised whenever an older program could no longer read or write the file."""
FORMAT_SPAWNED = 2
"""Of a file that has calls of tasks, which programs that know of none would forget."""
CACHED_STATEMENTS = 8
LIFE_ATTEMPTS = 1 << 40
"""Attempts that one life may number: a million a second for twelve days. So nothing has to be written for each."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, code TEXT NOT NULL, options TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE blocks (
    job INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, form INTEGER NOT NULL, digest BLOB NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (job, start)
);
CREATE TABLE outcomes (
    job INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, kind INTEGER NOT NULL,
    attempt INTEGER NOT NULL, node TEXT NOT NULL, elapsed_s REAL NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL,   -- the tasks whose results the body holds
    body BLOB NOT NULL
);
CREATE INDEX outcomes_by_start ON outcomes (job, start, stop);
"""
FUNCTIONS = "CREATE TABLE IF NOT EXISTS functions (job INTEGER PRIMARY KEY, body BLOB NOT NULL)"

TABLES = {"meta", "jobs", "blocks", "outcomes"}
NEW_JOB = "INSERT INTO jobs (number, kind, name, code, options) VALUES (?, ?, ?, ?, ?)"
NEW_FUNCTION = "INSERT INTO functions VALUES (?, ?)"
RAISED = "UPDATE meta SET value = ? WHERE key = 'format'"
NEW_BLOCK = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)"
NEW_OUTCOME = "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SENT = "UPDATE jobs SET sent = MAX(sent, ?) WHERE number = ?"
OVERLAPPING = """
SELECT start, stop, kind, attempt, node, elapsed_s, first, last, body FROM outcomes
WHERE job = ? AND start < ? AND stop > ? ORDER BY rowid
"""


class JournalFile:
    """One database, for one life of a ventilator.

    Args:
        path: of the file; created where it is missing.
        peer: the id a new journal is begun with.

    Raises:
        JournalError: it cannot be opened, is no journal, of a newer format, or destroyed.
    """

    def __init__(self, path: str, peer: PeerId) -> None:
        self._path = path
        with refusing(path):
            self._writing = connect(path, CACHED_STATEMENTS)
            try:
                self._prepare(peer)
                self._reading = connect(path, CACHED_STATEMENTS)
            except BaseException:
                self._writing.close()
                raise

    def _prepare(self, peer: PeerId) -> None:
        """Begin a new file, or check what is there before anything of it is touched; then count this life."""
        connection = self._writing
        with transaction(connection):
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
                first = (("format", str(FORMAT)), ("peer", peer), ("life", "0"))
                connection.executemany("INSERT INTO meta VALUES (?, ?)", first)
            elif not tables >= TABLES:
                raise JournalError(f"{self._path} is a database, but no journal of zmqtasks; give another file")
            self._check_format()
            connection.execute(FUNCTIONS)
        write_ahead(connection)
        with transaction(connection):
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'life'")
            meta = dict(connection.execute("SELECT key, value FROM meta"))
        self.peer: PeerId = meta["peer"]
        self.first_attempt = 1 + (int(meta["life"]) - 1) * LIFE_ATTEMPTS

    def _check_format(self) -> None:
        (found,) = self._writing.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() or ("none",)
        if found not in (str(FORMAT), str(FORMAT_SPAWNED)):
            raise JournalError(
                f"{self._path} has format {found}, and this version of zmqtasks knows format {FORMAT} and "
                f"{FORMAT_SPAWNED}: go on with the version that began it, or begin a new journal"
            )

    # In the loop's thread

    def jobs(self) -> list[JobState]:
        """Return the jobs in the file, in the order they were opened."""
        found = (
            "SELECT number, kind, name, code, options, COALESCE(body, x''), sent "
            "FROM jobs LEFT JOIN functions ON job = number ORDER BY number"
        )
        with refusing(self._path):
            return [
                JobState(
                    JobNote(f"{self.peer}:{number}", kind, name, code, TaskOptions(**json.loads(options)), function),
                    self._blocks(number),
                    sent,
                    RangeSet(self._reading.execute("SELECT start, stop FROM outcomes WHERE job = ?", (number,))),
                )
                for number, kind, name, code, options, function, sent in self._reading.execute(found).fetchall()
            ]

    def _blocks(self, number: int) -> tuple[BlockNote, ...]:
        found = "SELECT start, stop, form, digest FROM blocks WHERE job = ? ORDER BY start"
        return tuple(BlockNote(*row) for row in self._reading.execute(found, (number,)))

    def body(self, job: JobId, start: int) -> bytes:
        """Return the arguments of a block."""
        found = "SELECT body FROM blocks WHERE job = ? AND start = ?"
        with refusing(self._path):
            (body,) = self._reading.execute(found, (_number(job), start)).fetchone()
        return bytes(body)

    def records(self, job: JobId, start: int, stop: int) -> list[Record]:
        """Return how tasks of [start, stop) ended, each task once: its success, or else its last failure."""
        with refusing(self._path):
            rows = self._reading.execute(OVERLAPPING, (_number(job), stop, start)).fetchall()
        records = [
            Record(Outcome(job, attempt, node, first, last, OutcomeKind(kind), elapsed_s, body), a, b)
            for a, b, kind, attempt, node, elapsed_s, first, last, body in rows
        ]
        return last_words(records, start, stop)

    # In the writer's thread

    def write(self, entries: Iterable[Entry]) -> None:
        """Write all of it in one transaction, or nothing and raise OSError.

        Raises:
            OSError: the disk is full, or the file locked.
            JournalError: the file is destroyed.
        """
        with as_os_error(self._path, self._destroyed), transaction(self._writing):
            for entry in entries:
                self._write(entry)

    def _write(self, entry: Entry) -> None:
        execute = self._writing.execute
        if isinstance(entry, Block):
            execute(NEW_BLOCK, (_number(entry.job), entry.start, entry.stop, entry.form, entry.digest, entry.body))
        elif isinstance(entry, JobNote):
            options = json.dumps(as_dict(entry.options))
            execute(NEW_JOB, (_number(entry.id), entry.kind, entry.name, entry.code, options))
            if entry.function:
                execute(NEW_FUNCTION, (_number(entry.id), entry.function))
                execute(RAISED, (str(FORMAT_SPAWNED),))
        elif isinstance(entry, Sent):
            execute(SENT, (entry.stop, _number(entry.job)))
        else:
            o = entry.outcome
            body = bytes(payload.in_memory(o.body))
            job = _number(o.job)
            values = job, entry.start, entry.stop, o.kind, o.attempt, o.node, o.elapsed_s, o.start, o.stop, body
            execute(NEW_OUTCOME, values)

    def _destroyed(self, error: sqlite3.DatabaseError) -> Exception:
        return JournalError(f"{self._path} is destroyed: {error}")

    def close_writing(self) -> None:
        """Close the writer's connection."""
        self._writing.close()

    def close_reading(self) -> None:
        """Close the reader's connection; whichever is closed last folds the log into the file."""
        self._reading.close()


def _number(job: JobId) -> int:
    return int(job.rpartition(":")[2])


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Raise what SQLite says while a journal is opened or read as JournalError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise JournalError(f"the journal {path} cannot be used: {error}") from error
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
        raise JournalError(
            f"{path} is not a journal, or is destroyed: {error}; restore it from a copy, or begin a new one"
        ) from error

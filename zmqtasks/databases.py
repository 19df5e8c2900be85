"""SQLite as the journal and the store of results use it: one file, one writer, any number of readers.

Owns how a database is opened, one transaction, and which of SQLite's errors speak of the disk. Knows no schema and no
words for people: who calls says what a destroyed file is called. `synchronous=NORMAL`: a commit survives the death of
the process, not a power cut. Called by `store/sqlite.py` and `journal/sqlite.py`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BUSY_S = 10.0
"""How long to wait for another program that holds the file."""


def connect(path: str, cached_statements: int) -> sqlite3.Connection:
    """Open a database, without transactions that begin by themselves; any thread may use it, one at a time."""
    return sqlite3.connect(
        os.fspath(path),
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=cached_statements,
    )


def write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and the writer not wait for each other."""
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of what is executed within, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def as_os_error(path: str, destroyed: Callable[[sqlite3.DatabaseError], Exception]) -> Iterator[None]:
    """Raise what SQLite says of disk, file and locks as OSError, and of strange contents what `destroyed` makes."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # a defect of the caller
        raise destroyed(error) from error

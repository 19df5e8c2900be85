"""Results a sink has: in a SQLite database, in a file of JSON lines, or on standard output.

Owns the choice of the format by the name of the file. `writer` has the thread, `rows` what one task becomes, `sqlite`
and `jsonlines` the formats. Never decides which outcomes a sink accepts, only that the first success stays. Called by
the sink shell and by `zmqtasks run`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from zmqtasks.options import Limits
from zmqtasks.store.jsonlines import JsonLinesFile
from zmqtasks.store.reading import SQLITE_ENDINGS
from zmqtasks.store.rows import Failed, Opener, Recorded, StoredJob
from zmqtasks.store.sqlite import SqliteFile
from zmqtasks.store.writer import Store
from zmqtasks.writing import Deliver

__all__ = ["Failed", "Recorded", "Store", "StoredJob", "open_store"]


def open_store(
    path: str | None,
    *,
    limits: Limits | None = None,
    serializer: str | None = None,
    on_failure: Callable[[Exception], None] = lambda error: None,
    deliver: Deliver = lambda callback: callback(),
) -> Store:
    """Open a file for results, or take up one that is there; close it with `Store.close`, or use it in a `with`.

    Args:
        path: `.db`, `.sqlite` or `.sqlite3` for a database; anything else for JSON lines; None or "-" for JSON lines
            on standard output.
        limits: bounds for opening bodies.
        serializer: "msgpack" where no pickle may ever be opened (safe mode).
        on_failure: called each time results could not be written, see `Store`.
        deliver: how the writer thread calls back: at once, or in the loop's thread (`loop.call_soon_threadsafe`).

    Raises:
        ValueError: CSV was asked for, or the file holds something else than results.
        OSError: the file cannot be opened, or is locked by another program.
    """
    ending = PurePath(path or "-").suffix.lower()
    if ending == ".csv":
        raise ValueError(f"{path}: values have no fixed columns, so there is no CSV; use .jsonl or .db")
    backend = SqliteFile(str(path)) if ending in SQLITE_ENDINGS else JsonLinesFile(path)
    return Store(backend, opener=Opener(limits or Limits(), serializer), on_failure=on_failure, deliver=deliver)

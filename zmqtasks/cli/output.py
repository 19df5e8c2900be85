"""OUT: the file results go to, opened so that those of another run are never touched by accident.

Owns that rule. The formats are those of `zmqtasks.store`. Called by `run`, `ventilator` and `sink`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from zmqtasks.cli.exits import Exit, Refusal
from zmqtasks.store import Store, open_store
from zmqtasks.writing import Deliver

SQLITE_COMPANIONS = ("-wal", "-shm")


def open_results(
    path: str | None,
    *,
    append: bool,
    overwrite: bool,
    serializer: str | None,
    deliver: Deliver,
    on_failure: Callable[[Exception], None],
) -> Store:
    """Open OUT for the results of a new job.

    Args:
        path: of the file; None or "-" for standard output.
        append: results may join those of other jobs.
        overwrite: remove the file first.
        serializer: see `open_store`.
        deliver: see `open_store`.
        on_failure: see `open_store`.

    Raises:
        Refusal: the file cannot be opened, holds something else, or results that nobody said what to do with (2).
    """
    to_file = path not in (None, "-") and not Path(str(path)).is_char_device()
    try:
        if to_file and overwrite:
            remove(str(path))
        store = open_store(path, serializer=serializer, deliver=deliver, on_failure=on_failure)
    except (OSError, ValueError) as error:
        raise Refusal(Exit.USAGE, f"cannot write results: {error}") from error
    if to_file and not append and store.jobs():
        store.close()
        raise Refusal(Exit.USAGE, f"{path} holds results already: --append adds a job, --overwrite removes them first")
    return store


def remove(path: str) -> None:
    """Remove a file of results, and what SQLite keeps beside it."""
    for name in (path, *(path + ending for ending in SQLITE_COMPANIONS)):
        Path(name).unlink(missing_ok=True)


def is_terminal(path: str | None) -> bool:
    """Tell whether results appear on the terminal, where a progress display would only be in their way."""
    return path in (None, "-") and os.isatty(sys.stdout.fileno())

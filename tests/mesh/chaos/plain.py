"""Files of results as the judge reads them: a database with the number of each task, whatever format and values.

Owns the copy. Every line of JSON lines becomes a row, so that a task that was recorded twice stays visible.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

Row = tuple[int, str, Any, str]


def plain(results: Path, folder: Path) -> Path:
    """Return a database in `folder` that has the numbers of a file of results as values."""
    copy = folder / f"{results.name}.plain"
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("CREATE TABLE results (task INTEGER, status TEXT, value TEXT, error TEXT)")
        rows = _of_database(results) if results.suffix == ".db" else _of_lines(results)
        numbered = ((task, status, _number(value), error) for task, status, value, error in rows)
        connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", numbered)
    return copy


def _number(value: Any) -> int | None:
    return value[0] if isinstance(value, list) else value


def _of_database(path: Path) -> Iterator[Row]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        for task, status, value, error in connection.execute("SELECT task, status, value, error FROM results"):
            yield task, status, value and json.loads(value), error


def _of_lines(path: Path) -> Iterator[Row]:
    with open(path, "rb") as file:
        for line in file:
            entry = json.loads(line)
            kind = "ok" if entry["ok"] else entry["error"]["kind"]
            yield entry["task"], kind, entry.get("value"), entry.get("error", {}).get("message", "")

"""What a file of results has, told while it is written."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.test_store import JOB, failed, keep, ok, path, table  # noqa: F401
from zmqtasks.store import open_store
from zmqtasks.store.reading import summary


def test_each_job_is_told_while_the_file_is_written(path: Path) -> None:  # noqa: F811
    with open_store(str(path)) as store:
        store.note_job(JOB, "package.f", 10)
        keep(store, ok(0, [1, 2, 3]), failed(3, ValueError()), failed(4, ValueError()), ok(4, [5], 2))
        keep(store, failed(0, ValueError(), 9), ok(0, [1], job="other:1"))
        first, second = summary(str(path))
        assert first[:1] + first[3:5] == (JOB, 4, 1)
        assert second[:1] + second[3:5] == ("other:1", 1, 0)
        if path.suffix == ".db":
            assert (first.function, first.total) == ("package.f", 10)
            assert (first.last or "").endswith("+00:00")
        else:
            with path.open("a") as file:
                file.write('{"task": 9, "ok": tr')
            assert summary(str(path))[0] == first
            with path.open("a") as file:
                file.write("\n")
            with pytest.raises(ValueError, match="line 8 is not a result"):
                summary(str(path))


def test_what_is_not_there_is_not_made(path: Path) -> None:  # noqa: F811
    with pytest.raises(FileNotFoundError):
        summary(str(path))
    assert not path.exists()


def test_what_is_something_else_is_told(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(ValueError, match="no such table: jobs"):
        summary(str(tmp_path / "x.db"))


def test_readers_in_a_tight_loop_see_whole_groups_and_hold_nobody_up(path: Path) -> None:  # noqa: F811
    over = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not over.is_set():
            for job in summary(str(path)):
                seen.append(job.done)

    with open_store(str(path)) as store:
        keep(store, ok(0, [0]))
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(1, 60):
                keep(store, ok(number, [number]))
        finally:
            over.set()
            reader.join()
    assert seen == sorted(seen)
    assert summary(str(path))[0].done == 60

"""The journal: what is written is there in the next life, in a file and in memory; one program at a time; damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.waiting import wait_until
from zmqtasks.errors import JournalError, JournalInUse
from zmqtasks.journal import Block, Entry, FileJournal, JobNote, Journal, Sent
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import KIB, TaskOptions
from zmqtasks.testing import FakeClock
from zmqtasks.testing.journal import MemoryJournal, Pages

OK, ERROR = OutcomeKind.OK, OutcomeKind.ERROR


class Disk(Protocol):
    """Where journals live one after the other."""

    def live(self) -> Journal: ...

    def settle(self) -> None:
        """Let all be written that was handed over."""

    def end(self) -> None:
        """End the life that is open."""


class RealDisk:
    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "journal.db")

    def live(self) -> FileJournal:
        self.journal = FileJournal(self.path)
        return self.journal

    def settle(self) -> None:
        self.journal.flush(20)

    def end(self) -> None:
        self.journal.close()


class FakeDisk:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pages = Pages("peer")

    def live(self) -> MemoryJournal:
        self.journal = MemoryJournal(self.pages, self.clock)
        return self.journal

    def settle(self) -> None:
        self.clock.advance(1.0)

    def end(self) -> None:
        self.journal.die()


@pytest.fixture(params=["file", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    disk: Disk = RealDisk(tmp_path) if request.param == "file" else FakeDisk()
    yield disk
    disk.end()


def note(job: JobId, **changes: object) -> JobNote:
    return JobNote(job, "map", "module.work", "code", TaskOptions(timeout=3.0, retry=False))


def block(job: JobId, start: int, stop: int, body: bytes = b"body") -> Block:
    return Block(job, start, stop, 0, b"digest", body)


def ended(job: JobId, start: int, stop: int, kind: OutcomeKind = OK, attempt: int = 1, body: bytes = b"r") -> Record:
    return Record(Outcome(job, attempt, "node", start, stop, kind, 0.5, body), start, stop)


def say(journal: Journal, *entries: Entry) -> None:
    journal.write(lambda: entries)


# What the file and the memory share


def test_a_later_life_finds_what_was_written(disk: Disk) -> None:
    first = disk.live()
    job = f"{first.peer}:1"
    say(first, note(job), block(job, 0, 10, b"ten"), block(job, 10, 12, b"two"))
    say(first, ended(job, 0, 4), Sent(job, 11), Sent(job, 5), ended(job, 7, 8, ERROR))
    disk.settle()
    disk.end()
    second = disk.live()
    assert second.peer == first.peer
    assert second.first_attempt > first.first_attempt + 1_000_000_000
    (state,) = second.jobs()
    assert state.note == note(job)
    assert [(b.start, b.stop, b.digest) for b in state.blocks] == [(0, 10, b"digest"), (10, 12, b"digest")]
    assert (state.total, state.sent) == (12, 11)
    assert state.ended == RangeSet([(0, 4), (7, 8)])
    assert second.body(job, 10) == b"two"


def test_records_are_given_back_once_and_in_order(disk: Disk) -> None:
    journal = disk.live()
    job = f"{journal.peer}:1"
    say(journal, note(job), ended(job, 4, 8, body=b"late"), ended(job, 0, 6, body=b"early"))
    say(journal, ended(job, 5, 6, ERROR, 1), ended(job, 9, 10, ERROR, 1, b"old"), ended(job, 9, 10, ERROR, 2, b"new"))
    disk.settle()
    found = [(r.start, r.stop, r.outcome.body, r.outcome.start) for r in journal.records(job, 1, 20)]
    assert sorted(found) in (
        [(1, 6, b"early", 0), (6, 8, b"late", 4), (9, 10, b"new", 9)],
        [(1, 4, b"early", 0), (4, 8, b"late", 4), (9, 10, b"new", 9)],
    )
    assert journal.records(job, 20, 30) == []


def test_a_failure_of_several_tasks_is_given_back_for_those_that_are_asked_for(disk: Disk) -> None:
    journal = disk.live()
    job = f"{journal.peer}:1"
    say(
        journal, note(job), ended(job, 4, 9, OutcomeKind.LOST, 1, b"old"), ended(job, 6, 7, OutcomeKind.LOST, 2, b"new")
    )
    say(journal, ended(job, 8, 10))
    disk.settle()

    def found(start: int, stop: int) -> list[tuple[int, int, bytes]]:
        return [(r.start, r.stop, bytes(r.outcome.body)) for r in journal.records(job, start, stop)]

    assert found(0, 20) == [(4, 6, b"old"), (6, 7, b"new"), (7, 8, b"old"), (8, 10, b"r")]
    assert found(5, 7) == [(5, 6, b"old"), (6, 7, b"new")], "part of a failure, and no task of it twice"
    assert found(7, 9) == [(7, 8, b"old"), (8, 9, b"r")]


def test_who_writes_is_told_in_order_and_only_when_it_is_written(disk: Disk) -> None:
    journal = disk.live()
    job = f"{journal.peer}:1"
    told: list[int] = []
    journal.write(lambda: [note(job)], lambda: told.append(len(journal.jobs())))
    for number in range(20):
        journal.write(lambda number=number: [block(job, number, number + 1)], lambda: told.append(-1))  # type: ignore[misc]
    journal.write(lambda: (), lambda: told.append(journal.jobs()[0].total))
    disk.settle()
    wait_until(lambda: len(told) == 22, lambda: told)
    assert told == [1, *[-1] * 20, 20]


def test_what_memory_did_not_write_in_time_is_lost_with_the_process() -> None:
    disk = FakeDisk()
    say(disk.live(), note("peer:1"))
    disk.end()
    disk.settle()
    assert disk.live().jobs() == []


# Only the file


def test_a_second_program_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.db")
    code = (
        f"import sys; from zmqtasks.journal import FileJournal\nFileJournal({path!r}); print('open'); sys.stdin.read()"
    )
    with ExitStack() as stack:
        holder = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(JournalInUse, match=rf"pid {holder.pid}\b"):
            FileJournal(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(20)
        with FileJournal(path):
            pass  # the lock went with the process


def test_one_program_cannot_open_it_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with FileJournal(str(path)), pytest.raises(JournalInUse, match="this program"):
        FileJournal(str(tmp_path / "." / "journal.db"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.db"]
    FileJournal(str(path)).close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[str, Callable[[Path], object], str]] = [
        ("text", lambda path: path.write_text("not a database, " * 100), "not a journal, or is destroyed"),
        ("other", lambda path: _execute(path, "CREATE TABLE t (x)"), "no journal of zmqtasks"),
        ("newer", _newer, "has format 99.*knows format 1"),
        ("folder", lambda path: path.mkdir(), "cannot be used"),
        ("none/none", lambda path: None, "cannot be used"),
    ]
    for name, make, complaint in cases:
        make(tmp_path / name)
        before = (tmp_path / name).read_bytes() if (tmp_path / name).is_file() else b""
        with pytest.raises(JournalError, match=complaint):
            FileJournal(str(tmp_path / name))
        assert not before or (tmp_path / name).read_bytes() == before


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    FileJournal(str(path)).close()
    _execute(path, "UPDATE meta SET value = '99' WHERE key = 'format'")


def test_a_full_disk_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = []
    told = threading.Event()
    with FileJournal(str(tmp_path / "journal.db"), on_failure=failures.append) as journal:
        job = f"{journal.peer}:1"
        journal.flush(20)
        limit = journal._file._writing.execute
        limit("PRAGMA max_page_count = 20").fetchone()
        journal.write(lambda: [note(job), block(job, 0, 1, bytes(200 * KIB))], told.set)
        wait_until(lambda: failures, lambda: caplog.text)
        assert not told.is_set()
        assert "cannot be written, and no new task begins" in caplog.text
        assert "full" in str(failures[0])
        limit("PRAGMA max_page_count = 1000000").fetchone()
        assert told.wait(30)
        assert journal.jobs()[0].total == 1
    assert "can be written again" in caplog.text


def _written(folder: Path, commits: int) -> tuple[bytes, bytes]:
    """Return database and log of a journal that was written, each block a commit of its own, and killed."""
    path = folder / "written.db"
    journal = FileJournal(str(path))
    job = f"{journal.peer}:1"
    say(journal, note(job))
    for number in range(commits):
        say(journal, block(job, number, number + 1, bytes([number]) * 100))
        journal.flush(20)
    copies = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    journal.close()
    return copies


def test_of_a_torn_log_a_prefix_of_the_commits_remains(tmp_path: Path) -> None:
    commits = 8
    database, log = _written(tmp_path, commits)
    seen = set()
    spots = [*range(0, len(log), len(log) // 24), len(log) - 1, len(log)]
    for number, (spot, overwrite) in enumerate((spot, overwrite) for spot in spots for overwrite in (False, True)):
        path = tmp_path / f"torn{number}.db"
        path.write_bytes(database)
        torn = log[:spot] + (os.urandom(64) + log[spot + 64 :] if overwrite else b"")
        Path(f"{path}-wal").write_bytes(torn)
        with FileJournal(str(path)) as journal:
            states = journal.jobs()
            blocks = [(b.start, b.stop) for state in states for b in state.blocks]
            assert blocks == [(n, n + 1) for n in range(len(blocks))]
            for start, _ in blocks:
                assert journal.body(states[0].note.id, start) == bytes([start]) * 100
            seen.add(len(blocks))
    assert {0, commits} <= seen
    assert len(seen) > commits // 2


def test_a_destroyed_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with FileJournal(str(path)) as journal:
        job = f"{journal.peer}:1"
        say(journal, note(job), *(block(job, n, n + 1, bytes([n]) * 500) for n in range(50)))
    whole = path.read_bytes()
    refused = 0
    for spot in range(0, len(whole), len(whole) // 20):
        torn = tmp_path / "torn.db"
        for leftover in tmp_path.glob("torn.db*"):
            leftover.unlink()
        torn.write_bytes(whole[:spot] + bytes(range(256)) * 16 + whole[spot + 4096 :])
        try:
            _read_all(torn)
        except JournalError as error:
            refused += str(torn) in str(error)
    assert refused >= 3


def _read_all(path: Path) -> None:
    with FileJournal(str(path)) as journal:
        for state in journal.jobs():
            for block_note in state.blocks:
                journal.body(state.note.id, block_note.start)

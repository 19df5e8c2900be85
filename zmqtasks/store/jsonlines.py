"""Results as JSON lines, one object a task, in a file that can be taken up again, or on standard output.

    {"task": 0, "input": "a.py", "ok": true, "value": {"lines": 12}, "job": "1f0c9a7e5d3b2416:1"}
    {"task": 1, "ok": false, "error": {"kind": "timeout", "type": "TaskTimeout", "message": "...", "traceback": "",
     "attempt": 4}, "job": "1f0c9a7e5d3b2416:1"}

`input` is there where it is known. A value that JSON cannot show is null, and `pickle` beside it holds the value in
base64. Lines are only ever added: a task that failed and was run again has one more line, and the last one counts.
Called by the writer.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId
from zmqtasks.store.rows import KIND, Failed, Recorded, Row, StoredJob

START = b'{"task": '
"""How each line begins."""
PIECE_BYTES = 1 << 20
"""How much is gathered before it is written."""


class JsonLinesFile:
    """One file or stream of JSON lines, written by one thread.

    Args:
        path: of the file; created where it is missing, taken up where it is there. None or "-" is standard output.

    Raises:
        ValueError: it holds something else.
        OSError: it cannot be opened, or another program writes it.
    """

    def __init__(self, path: str | None) -> None:
        self._recorded: dict[JobId, Recorded] = {}
        self._jobs: dict[JobId, StoredJob] = {}
        self._guard = threading.Lock()  # the two above are read by other threads
        self._path = str(path)
        self._sent_bytes = 0  # of a group that could not be written to its end
        is_stdout = path in (None, "-")
        self._fd = os.dup(sys.stdout.fileno()) if is_stdout else _open_locked(str(path))
        self._is_file = not is_stdout and _is_file(self._fd)
        try:
            if self._is_file:
                self._take_up(str(path))
        except BaseException:
            os.close(self._fd)
            raise

    def write(self, jobs: Sequence[StoredJob], new: Iterable[Row]) -> None:
        """Add a line for each row that tells something new; see `Backend`."""
        before = os.fstat(self._fd).st_size
        news: dict[tuple[JobId, int], Row] = {}
        try:
            self._write_from(self._sent_bytes, _pieces(self._line(row) for row in self._fresh(new, news)))
        except OSError:
            if self._is_file:
                os.ftruncate(self._fd, before)
                self._sent_bytes = 0
            raise
        self._sent_bytes = 0
        with self._guard:
            for job in jobs:
                known = self._jobs.get(job.id, job)
                self._jobs[job.id] = StoredJob(job.id, job.name or known.name, job.total or known.total)
            for row in news.values():
                self._remember(row.job, row.task, row.attempt, row.status)

    def recorded(self, job: JobId) -> Recorded:
        """Return what the file has of `job`, a stream of what went through it; see `Backend`."""
        with self._guard:
            known = self._recorded.get(job, Recorded(RangeSet(), {}))
            return Recorded(known.ok.copy(), known.failed.copy())

    def jobs(self) -> list[StoredJob]:
        """Return the jobs in the file; names are not in it, and known only of this run; see `Backend`."""
        with self._guard:
            return list(self._jobs.values())

    def failures(self) -> Iterator[Failed]:
        """Yield what failed last, in the order of the lines that are there now; see `Backend`."""
        with self._guard:
            left = {
                (job, task): attempt for job, r in self._recorded.items() for task, (attempt, _) in r.failed.items()
            }
        if not self._is_file or not left:
            return
        with open(self._path, "rb") as file:
            for line in file:
                if not left:
                    return
                entry = json.loads(line)
                attempt = left.pop((entry["job"], entry["task"]), None) if not entry["ok"] else None
                if attempt is not None:
                    yield Failed(entry["job"], entry["task"], attempt, entry.get("input"))

    def close(self) -> None:
        """Close the file, or leave standard output."""
        os.close(self._fd)

    def _fresh(self, rows: Iterable[Row], news: dict[tuple[JobId, int], Row]) -> Iterator[Row]:
        """Yield the rows that tell more than what is there, and gather in `news` the last one of each task."""
        for row in rows:
            known = self._recorded.get(row.job)
            earlier = news.get((row.job, row.task))
            if (known and row.task in known.ok) or (earlier and earlier.status == "ok"):
                continue
            failed_at = earlier.attempt if earlier else known.failed.get(row.task, (-1,))[0] if known else -1
            if row.status == "ok" or row.attempt > failed_at:
                news[row.job, row.task] = row
                yield row

    def _write_from(self, skipped: int, pieces: Iterable[bytes]) -> None:
        """Write the pieces but for the first bytes, which a stream took when the same group was tried before."""
        for piece in pieces:
            rest = memoryview(piece)[skipped:]
            skipped -= len(piece) - len(rest)
            while rest:
                written = os.write(self._fd, rest)
                self._sent_bytes += written
                rest = rest[written:]

    @staticmethod
    def _line(row: Row) -> str:
        given = f'"input": {json.dumps(row.input)}, ' if row.input is not None else ""
        if row.status != "ok":
            error = {"kind": row.status, "type": row.error_type, "message": row.error, "traceback": row.traceback}
            told = f'"ok": false, "error": {json.dumps(error | {"attempt": row.attempt})}'
        elif row.value is not None:
            told = f'"ok": true, "value": {row.value}'
        else:
            kept = {"pickle": base64.b64encode(row.pickle).decode()} if row.pickle is not None else {"error": row.error}
            told = f'"ok": true, "value": null, {json.dumps(kept)[1:-1]}'
        return f'{{"task": {row.task}, {given}{told}, "job": {_quoted(row.job)}}}\n'

    def _take_up(self, path: str) -> None:
        """Read what is there; cut off a last line that was never finished."""
        end = 0
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and (line.startswith(START) or START.startswith(line)):
                    os.ftruncate(self._fd, end)
                    break
                end += len(line)
                self._take_up_line(line, f"{path}, line {number}")

    def _take_up_line(self, line: bytes, where: str) -> None:
        try:
            entry = json.loads(line)
            error = {} if entry["ok"] else entry["error"]
            self._remember(entry["job"], entry["task"], error.get("attempt", 0), error.get("kind", "ok"))
        except (ValueError, KeyError, TypeError, AttributeError) as unknown:
            raise ValueError(f"{where} is not a result of zmqtasks; results are not mixed with other data") from unknown

    def _remember(self, job: JobId, task: int, attempt: int, status: str) -> None:
        known = self._recorded.get(job)
        if known is None:
            known = self._recorded[job] = Recorded(RangeSet(), {})
            self._jobs.setdefault(job, StoredJob(job))
        if status == "ok":
            known.ok.add(task, task + 1)
            known.failed.pop(task, None)
        else:
            known.failed[task] = (attempt, KIND[status])


@lru_cache
def _quoted(job: JobId) -> str:
    return json.dumps(job)


def _open_locked(path: str) -> int:
    """Open a file for one writer; what is no file (/dev/null, a pipe) takes any number."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if not _is_file(fd):
        return fd
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise OSError(f"{path} is being written by another program") from error
    return fd


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield lines in pieces of about `PIECE_BYTES`."""
    gathered: list[str] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    yield "".join(gathered).encode()

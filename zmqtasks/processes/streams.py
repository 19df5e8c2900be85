"""A worker's standard output and error, and its logging: a task that closes them takes them from nobody else.

Owns `sys.stdout`, `sys.stderr` and what `logging` does where the user set up nothing. Called by `worker.py`.
"""

from __future__ import annotations

import errno
import fcntl
import io
import logging
import os
import socket
import sys
from typing import Any, TextIO

from zmqtasks import control
from zmqtasks.processes.progress import ERR, OUT, note_output, slot_to_rehearse

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
_SPARES_FROM = 64
"""Copies of the descriptors get numbers from here on, where nobody expects or closes them."""

_spares: dict[int, int] = {}
"""Descriptor 1 and 2, and a copy of each."""
_streams: dict[str, TextIO] = {}
_slot = slot_to_rehearse()
"""Where it is counted what is written."""


class _Pipe(io.FileIO):
    """A descriptor that is put back where a task has closed it."""

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        try:
            count = super().write(data)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            _put_back(self.fileno())
            count = super().write(data)
        # Afterwards: who is killed in between has printed it all the same.
        note_output(_slot, OUT if self.fileno() == 1 else ERR, count or 0)
        return count


class _Stream(io.TextIOWrapper):
    """Text that stays open: the next task prints as well."""

    def close(self) -> None:
        self.flush()


def open_streams() -> None:
    """Set up `sys.stdout` and `sys.stderr`.

    New ones: those of the zygote remember what its own descriptors were. By lines: a crash loses none of them. Where
    they are set up before the process is forked that will use them, descriptors 1 and 2 must be pipes already.
    """
    for name, fd in (("stdout", 1), ("stderr", 2)):
        _streams[name] = _open(fd)
        setattr(sys, name, _streams[name])


def count_in(slot: memoryview) -> None:
    """Count in this slot what is written from now on."""
    global _slot
    _slot = slot


def keep_spares() -> None:
    """Copy descriptors 1 and 2, for the time when a task has closed them."""
    for fd in (1, 2):
        _spares[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _SPARES_FROM)


def redirect(fd: int, source: int) -> None:
    """Have descriptor 1 or 2 and its copy be `source`, which is closed: in a process that was forked with both."""
    os.dup2(source, fd)
    os.dup2(source, _spares[fd], inheritable=False)
    os.close(source)


def _open(fd: int) -> TextIO:
    raw: io.RawIOBase = _Pipe(fd, "w", closefd=False)
    return _Stream(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


def mend() -> None:
    """Put back what a task has closed or taken away; what it put in their place stays, as with any setting."""
    for fd in _spares:
        try:
            os.fstat(fd)
        except OSError:
            _put_back(fd)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if name in _streams and not _is_open(getattr(sys, name, None)):
            if not _is_open(_streams[name]):  # a task closed its buffer
                _streams[name] = _open(fd)
            setattr(sys, name, _streams[name])


def _is_open(stream: object) -> bool:
    try:
        return not stream.closed  # type: ignore[attr-defined]
    except (AttributeError, ValueError):  # no stream, or detached from its buffer
        return False


def _put_back(fd: int) -> None:
    os.dup2(_spares[fd], fd)


class _LastResort(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment."""

    def __init__(self, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self)  # not StreamHandler's: it would set the stream
        self.setFormatter(formatter)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr or _streams["stderr"]


def log_to_stderr(level: str, form: str = "text") -> None:
    """Have records of `level` and above written to standard error where the user sets up no logging.

    In the place where the standard library has its own handler for that: whatever handlers a task or an initializer
    sets up, `logging.basicConfig` among them, take over, and no line comes twice.

    Args:
        level: name of the level.
        form: "text", or "json" for a line of JSON each.
    """
    logging.lastResort = _LastResort(json_formatter() if form == "json" else logging.Formatter(LOG_FORMAT))
    logging.getLogger().setLevel(level)
    logging.setLogRecordFactory(_record_of_task)


def _record_of_task(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Make a record that knows the task it was logged in: `task_id`, `job_name`, `trace_id`; empty outside of one."""
    record = logging.LogRecord(*args, **kwargs)
    task = control.current_task()
    record.task_id, record.job_name, record.trace_id = (task.id, task.name, task.trace_id) if task else ("", "", "")
    return record


def json_formatter() -> logging.Formatter:
    """Return what makes a line of JSON of a record: what it says, when, where it comes from, and of which task.

    Raises:
        ValueError: the extra is not installed; the text says how.
    """
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError as error:
        raise ValueError("JSON logs need python-json-logger: pip install 'zmqtasks[logs]'") from error

    class Lines(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in log_data.items() if value not in ("", None)}

    return Lines(
        "%(levelname)s %(name)s %(message)s %(pathname)s %(lineno)s %(funcName)s %(process)s",
        rename_fields={"levelname": "level", "process": "pid", "funcName": "function", "lineno": "line"},
        static_fields={"host": socket.gethostname()},
        timestamp="@timestamp",
    )

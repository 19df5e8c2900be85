"""Log records on their way to Logstash, or to anything that takes lines of JSON over TCP.

Owns the handlers. Never raises, and never holds up a task for longer than a connection may take; what cannot be sent is
dropped, and one line on standard error tells so. Made by programs, for themselves or in an `initializer` of workers:

    def set_up_logs():
        logging.getLogger().addHandler(zmqtasks.logstash_handler("logs.example", 5959))

    with zmqtasks.Client(initializer=set_up_logs) as client: ...
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from logging.handlers import MemoryHandler, SocketHandler
from typing import TYPE_CHECKING

from zmqtasks.processes.streams import json_formatter

if TYPE_CHECKING:
    from typing_extensions import Buffer

LARGEST = 100
"""Records that a buffer holds before it is sent, as with Sergeant."""
OLDEST_S = 60.0
TIMEOUT_S = 2.0


def logstash_handler(
    host: str,
    port: int,
    *,
    buffered: bool = True,
    most_records: int = LARGEST,
    oldest: float = OLDEST_S,
    timeout: float = TIMEOUT_S,
) -> logging.Handler:
    """Return a handler that sends each record as a line of JSON, with the task it was logged in.

    Args:
        host: of Logstash.
        port: of its input `tcp` with the codec `json_lines`.
        buffered: send records together, in a thread of their own or when there are many; an error at once. What is in
            the buffer is sent when the process ends in order; with a worker that is killed, it is lost.
        most_records: that are kept back.
        oldest: seconds that a record is kept back at most.
        timeout: seconds that a connection, and a write to it, may take.

    Raises:
        ValueError: the extra `logs` is not installed.
    """
    plain = _JsonLines(host, port, timeout)
    return _Buffer(most_records, oldest, plain) if buffered else plain


class _JsonLines(SocketHandler):
    """Writes lines to a connection that it opens when it needs one, again after a while that doubles to 30 s."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        super().__init__(host, port)
        self.setFormatter(json_formatter())
        self._timeout_s = timeout_s
        self._told = False

    def makeSocket(self, timeout: float = 1) -> socket.socket:  # noqa: N802
        """Connect."""
        return super().makeSocket(self._timeout_s)

    def makePickle(self, record: logging.LogRecord) -> bytes:  # noqa: N802
        """Return the line; no pickle, whatever the standard library calls it."""
        return self.format(record).encode() + b"\n"

    def send(self, s: Buffer) -> None:
        """Send a line, or drop it, and tell the first time."""
        super().send(s)
        if self.sock is not None:
            self._told = False
        elif not self._told:
            self._told = True
            self._complain("they are dropped until it can be reached again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Tell of a record that no line can be made of, or that broke the connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self._complain(f"{sys.exc_info()[1]}")

    def _complain(self, what: str) -> None:
        stream = sys.stderr
        if stream is not None:
            print(f"zmqtasks: log records cannot be sent to {self.host}:{self.port}: {what}", file=stream)


class _Buffer(MemoryHandler):
    """Keeps records back until there are many, one is old, or one is an error."""

    def __init__(self, most_records: int, oldest_s: float, target: logging.Handler) -> None:
        super().__init__(most_records, logging.ERROR, target)
        self._oldest_s = oldest_s
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, and see to it that it is sent."""
        super().emit(record)
        if self.buffer and self._timer is None:
            self._timer = threading.Timer(self._oldest_s, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Send what was kept back."""
        with self.lock:  # type: ignore[union-attr]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            super().flush()

    def close(self) -> None:
        """Send what was kept back, and close the connection."""
        target = self.target
        super().close()
        if target is not None:
            target.close()

"""The way to one peer's inbox: two connections, bulk and control, so that a heartbeat never waits behind data.

Owns its lanes. Never blocks, never drops bulk on its own account; the session retransmits what a connection loses.
Knows nothing of sockets. Called by `network.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Protocol

from zmqtasks.messages import Bulk, Control, Output
from zmqtasks.wire import codec
from zmqtasks.wire.loans import Loan

logger = logging.getLogger(__name__)

CONTROL_WAITING = 16
"""Control messages kept while there is no connection; older ones are out of date by then, and repeated anyway."""
OUTPUT_WAITING = 8
"""Output messages that ZeroMQ takes before it refuses: a slow link shall refuse early, for then lines are counted."""


class Lane(Protocol):
    """One connection, and the frames that wait for it."""

    def send(self, frame: bytes | bytearray) -> None:
        """Send a frame now, or when it can be; once this is closed, never."""

    def offer(self, frame: bytes | bytearray) -> bool:
        """Send a frame, or return False where it is not taken now."""

    def forget_waiting(self) -> None:
        """Drop what waits for a connection."""

    def close(self, linger_s: float) -> None:
        """Close it; what is on its way gets so many seconds. Idempotent."""


def _by_name(loan: Loan) -> tuple[int, int, int]:
    return os.getpid(), loan.fd, loan.token


class Outlet:
    """Send messages to one inbox.

    Args:
        endpoint: where the inbox is bound.
        new_lane: makes a connection there, given how many frames may wait for it and how many may be on their way;
            None for any number.
    """

    def __init__(self, endpoint: str, new_lane: Callable[[int | None, int | None], Lane]) -> None:
        self.endpoint = endpoint
        self.lends = False
        self._new_lane = new_lane
        self._control = new_lane(CONTROL_WAITING, None)
        self._bulk: Lane | None = None
        self._output: Lane | None = None
        self._debug = logger.isEnabledFor(logging.DEBUG)

    def send_control(self, message: Control) -> None:
        """Send a small message that may be lost and is repeated."""
        if self._debug:
            logger.debug("> %s", type(message).__name__)
        self._control.send(codec.encode(message))

    def send_bulk(self, message: Bulk) -> None:
        """Send a numbered message; it waits here while there is no connection."""
        if self._debug:
            logger.debug("> %s %d", type(message).__name__, message.seq)
        if self._bulk is None:
            self._bulk = self._new_lane(None, None)
        self._bulk.send(codec.encode(message, lend=_by_name if self.lends else None))

    def send_output(self, message: Output) -> bool:
        """Send on a third connection, made at the first time; False where nothing can be taken now."""
        if self._output is None:
            self._output = self._new_lane(0, OUTPUT_WAITING)
        return self._output.offer(codec.encode(message))

    def forget_waiting(self) -> None:
        """Drop the bulk that still waits for a connection: the session is about to send it all again."""
        if self._bulk is not None:
            self._bulk.forget_waiting()

    def close(self, linger_s: float = 0.0) -> None:
        """Close all connections; what is on its way gets `linger_s` seconds. Idempotent."""
        for lane in (self._control, self._bulk, self._output):
            if lane is not None:
                lane.close(linger_s)

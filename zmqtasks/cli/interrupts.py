"""Ctrl-C and SIGTERM for `run` and `ventilator`: once ends in order, twice at once.

Owns the signal handlers while it is entered, and a pipe that wakes whoever waits for input. `worker` and `sink` have
their loops for this.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Count interrupts. The first calls `on_first`, a further one raises KeyboardInterrupt in the main thread.

    Args:
        on_first: called from a signal handler: it may not take a lock.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.count = 0
        self._on_first = on_first
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.stop_fd, self._wake_fd = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self.stop_fd)
        os.close(self._wake_fd)

    def stop_reading(self) -> None:
        """Make the input end where it is."""
        os.write(self._wake_fd, b"\0")

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        self.stop_reading()
        self._on_first()

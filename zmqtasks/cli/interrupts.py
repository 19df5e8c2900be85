"""Ctrl-C and SIGTERM: once ends in order, twice at once.

Owns the signal handlers, and a pipe that wakes whoever waits for input. `Interrupts` is for `run` and `ventilator`,
whose main thread reads; `LoopInterrupts` for `worker` and `sink`, whose main thread is a loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        for number in SIGNALS:
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


class LoopInterrupts:
    """Count interrupts of a program that is an asyncio loop, for as long as the loop runs.

    Args:
        loop: of the main thread.
        on_first: called at the first one.
        on_second: called at each further one.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_first: Callable[[], None], on_second: Callable[[], None]
    ) -> None:
        self.count = 0
        self._on_first, self._on_second = on_first, on_second
        for number in SIGNALS:
            loop.add_signal_handler(number, self._interrupted)

    def _interrupted(self) -> None:
        self.count += 1
        (self._on_first if self.count == 1 else self._on_second)()

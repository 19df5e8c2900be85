"""Functions that never end, each in its own way: the same for bench and tests, importable in workers by name."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any


def note_start(path: str) -> None:
    """Write who runs it, and the time; the clock is the same in all processes of a host."""
    Path(f"{path}.new").write_text(f"{os.getpid()} {time.monotonic()}")
    os.rename(f"{path}.new", path)


def sleep_on(path: str) -> None:
    """Wait in a system call."""
    note_start(path)
    time.sleep(300)


def loop_on(path: str) -> None:
    """Run Python code without end."""
    note_start(path)
    while True:
        pass


def hold_the_interpreter(path: str) -> int:
    """Run C code that neither ends nor lets another thread run."""
    note_start(path)
    return sum(range(10**12))


def match_a_bomb(path: str) -> Any:
    """Match a pattern that takes exponential time."""
    note_start(path)
    return re.match(r"(a+)+$", "a" * 60 + "b")


def ignore_sigterm(path: str) -> None:
    """Ignore the polite request."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_start(path)
    while True:
        time.sleep(1)


def stop_itself(path: str) -> None:
    """Be stopped, as by SIGSTOP from outside."""
    note_start(path)
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


STUCK = (sleep_on, loop_on, hold_the_interpreter, match_a_bomb, ignore_sigterm, stop_itself)

"""A job that is run again and again: `run --every`.

Owns the moments, counted from the first run, and what Ctrl-C means between two runs. Called by `start.py`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from zmqtasks.cli.exits import Exit, count, say
from zmqtasks.cli.interrupts import Interrupts


def repeat(period_s: float, run: Callable[[int], int]) -> int:
    """Run a job now and at each full period from now on, until it is interrupted; return the exit code.

    A moment within a run is left out, and that is said.

    Args:
        period_s: seconds from one moment to the next.
        run: given the number of the run, from 0 on; returns its exit code.
    """
    began, moments, number = time.monotonic(), 0, 0
    while True:
        code = run(number)
        if code not in (Exit.OK, Exit.FAILED):
            return code
        by_now = int((time.monotonic() - began) / period_s)
        if by_now > moments:
            say(f"the run took longer than its period of {period_s:g} s: {count(by_now - moments, 'moment')} left out")
        moments, number = max(moments, by_now) + 1, number + 1
        if _interrupted_until(began + moments * period_s):
            return Exit.INTERRUPTED


def _interrupted_until(moment: float) -> bool:
    """Wait for a moment; return whether an interrupt came first."""
    with Interrupts(lambda: None) as interrupts:
        readable, _, _ = select.select([interrupts.stop_fd], [], [], max(0.0, moment - time.monotonic()))
        return bool(readable)

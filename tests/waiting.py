"""Waiting for a condition, bounded, and with evidence: the only place in the tests where time passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005


def wait_until(condition: Callable[[], T], evidence: Callable[[], object] | None = None, timeout_s: float = 10.0) -> T:
    """Return the first true value of `condition`; fail with what `evidence` shows when it stays false.

    Raises:
        AssertionError: `condition` was still false after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(condition, evidence, timeout_s))
        time.sleep(POLL_S)
    return value


async def wait_until_async(
    condition: Callable[[], T], evidence: Callable[[], object] | None = None, timeout_s: float = 10.0
) -> T:
    """Do as `wait_until`, and let the loop run between two looks."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(condition, evidence, timeout_s))
        await asyncio.sleep(POLL_S)
    return value


def _complaint(condition: Callable[[], object], evidence: Callable[[], object] | None, timeout_s: float) -> str:
    name = getattr(condition, "__qualname__", repr(condition))
    shown = f"; seen: {evidence()!r}" if evidence is not None else ""
    return f"{name} was still false after {timeout_s} s{shown}"

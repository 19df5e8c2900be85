"""The functions that do as they are told, the same for every peer; those that misbehave are in `bodies.py`.

Owns no state; imports nothing that takes time in a worker.
"""

from __future__ import annotations

import time
from typing import Any


def nothing(value: int) -> int:
    """Do nothing."""
    return value


def same(value: Any) -> Any:
    """Send back what came."""
    return value


def burn(seconds: float) -> float:
    """Use so much processor time, however busy the machine is."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds


def first_byte(big: Any, value: int) -> int:
    """Look at a large argument."""
    return value + int(big[0])

"""What workers do while a mesh is measured. Imported by workers: nothing here but the standard library.

Owns nothing. The functions travel by name; called through `yardstick.py`, and by the bench through each of its peers.
"""

from __future__ import annotations

import time
from typing import Any


def nothing(value: int) -> int:
    """Send back a number."""
    return value


def same(value: Any) -> Any:
    """Send back what came."""
    return value


def burn(seconds: float) -> float:
    """Use so much processor time, however busy the host is."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds

"""A module that takes its time where a worker imports it."""

from __future__ import annotations

import os
import time

if "ZMQTASKS_MARK" in os.environ:
    time.sleep(0.8)


def double(value: int) -> int:
    return value * 2

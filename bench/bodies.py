"""The functions that misbehave, the same for every peer; imports nothing that takes time in a worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

MILLISECOND_S = 0.001


def kill_each_50th(value: int) -> int:
    """Take a millisecond; each 50th kills its process instead."""
    if value % 50 == 49:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(MILLISECOND_S)
    return value


def endless_each_40th(value: int) -> int:
    """Take 10 ms; each 40th never ends."""
    while value % 40 == 39:
        time.sleep(MILLISECOND_S)
    time.sleep(10 * MILLISECOND_S)
    return value


def pid_of(value: int) -> int:
    """Return the process this runs in."""
    return os.getpid()


# Deaths of all kinds. What only a few tasks need is imported by those.


def segfault() -> None:
    """Read from address 0."""
    import ctypes

    ctypes.string_at(0)


def kill() -> None:
    """Die as by the out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def abort() -> None:
    """Die as by a failed assertion in C."""
    os.abort()


def exit_hard() -> None:
    """Leave without a word."""
    os._exit(3)


def overflow_the_stack() -> None:
    """Recurse in C until the stack is used up, where nothing counts how deep."""
    nested: tuple[Any, ...] = ()
    for _ in range(160_000):
        nested = (nested,)
    hash(nested)


def exit_softly() -> None:
    """Call `sys.exit`, which ends a task and not a process."""
    raise SystemExit(4)


class DiesWhenSent:
    """A result whose pickling kills the process."""

    def __reduce__(self) -> Any:
        kill()
        return int, ()


DEATHS = (segfault, kill, abort, exit_hard, overflow_the_stack, exit_softly, DiesWhenSent)


def death_of(value: int, each: int) -> Any:
    """Return how the task of this value dies where each so many-th does; None for those that live."""
    return DEATHS[value // each % len(DEATHS)] if value % each == each - 1 else None


def die_each_20th(value: int) -> Any:
    """Return the value at once; each 20th dies, of all kinds in turn."""
    death = death_of(value, 20)
    return value if death is None else death()


# All mishaps mixed.

MISHAPS = {13: "raise", 27: "die", 41: "print", 55: "lock", 68: "leave"}
HANG_EACH = 500


def mishap_of(value: int) -> str:
    """Return what happens to the task of this value, or nothing."""
    return "hang" if value % HANG_EACH == HANG_EACH - 1 else MISHAPS.get(value % 100, "")


def misbehave(value: int) -> Any:
    """Return the value at once, but for the mishap of the task."""
    mishap = mishap_of(value)
    if mishap == "raise":
        raise ValueError(value)
    if mishap == "die":
        return DEATHS[value // 100 % len(DEATHS)]()
    if mishap == "hang":
        while True:
            time.sleep(MILLISECOND_S)
    if mishap == "print":
        import sys

        for _ in range(1000):
            print("x" * 99, file=sys.stderr)
    if mishap == "lock":
        import threading

        return threading.Lock()
    if mishap == "leave":
        import subprocess

        subprocess.Popen(["sleep", "300"], start_new_session=True)
    return value

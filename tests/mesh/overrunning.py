"""Functions that pass their limits, each in its own way; importable in workers by name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zmqtasks
from bench.stuck import STUCK, sleep_on
from zmqtasks.errors import TaskInterrupted

__all__ = ["STUCK", "sleep_on"]  # those that never end, which the bench has as well


class HangsWhenLoaded:
    """An argument that pickles here, and cannot be loaded in finite time."""

    def __reduce__(self) -> Any:
        return time.sleep, (300,)


class DiesWhenLoaded:
    """An argument that ends the worker that loads it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


class HangsWhenPacked:
    def __reduce__(self) -> Any:
        time.sleep(300)


class HangsWhenRaised(Exception):
    def __reduce__(self) -> Any:
        time.sleep(300)


def same(value: Any) -> Any:
    return value


def hang_packing_at(value: int, bad: int) -> Any:
    return HangsWhenPacked() if value == bad else value


def raise_hanging_at(value: int, bad: int) -> int:
    if value == bad:
        raise HangsWhenRaised("poison")
    return value


def clean_up(value: int) -> str:
    print("about to wait")
    try:
        while True:
            time.sleep(0.01)
    except Exception:
        return "caught by except Exception"
    except TaskInterrupted as told:
        return f"cleaned up {value}: {told}"


def go_when_told(path: str) -> None:
    try:
        time.sleep(300)
    finally:
        Path(path).touch()


def will_not_go(path: str) -> None:
    print("here I stay")
    while True:
        try:
            time.sleep(300)
        except TaskInterrupted:
            Path(path).touch()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def advance(steps: int, pause_s: float) -> int:
    """Show progress at each step, then none for ever."""
    for step in range(steps):
        zmqtasks.progress(step + 1, steps * 2)
        time.sleep(pause_s)
    time.sleep(300)
    return steps


def advance_in_a_thread(steps: int, pause_s: float) -> int:
    """Let another thread show progress while this one waits."""

    def work() -> None:
        for step in range(steps):
            zmqtasks.progress(step + 1)
            time.sleep(pause_s)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return steps


def advance_and_wait(done: int, total: int, release: str) -> int:
    zmqtasks.progress(done, total)
    while not os.path.exists(release):
        time.sleep(0.005)
    return done


def child_allocates(nbytes: int) -> int:
    """Let a child hold the memory, and another its session."""
    print("a child does it")
    code = f"import time; block = b'x' * {nbytes}; time.sleep(300)"
    return subprocess.run([sys.executable, "-c", code], start_new_session=True, check=False).returncode


def share_with_children(nbytes: int, children: int, seconds: float) -> int:
    """Hold memory that forked children have as well, each page once."""
    block = b"x" * nbytes
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            time.sleep(seconds)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return len(block)

"""Functions that tests send to workers; importable there by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zmqtasks


def double(value: Any) -> Any:
    return value * 2


def add(a: int, b: int, *, c: int = 0) -> int:
    return a + b + c


def pid(_: object = None) -> int:
    return os.getpid()


def raise_at(value: int, bad: int) -> int:
    if value == bad:
        raise ValueError(f"bad value {value}")
    return value


def exit_at(value: int, bad: int) -> int:
    if value == bad:
        sys.exit(7)
    return value


def kill_at(value: int, bad: int) -> int:
    if value == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def exit_hard_at(value: int, bad: int) -> int:
    if value == bad:
        os._exit(3)
    return value


def unpicklable_at(value: int, bad: int) -> Any:
    return threading.Lock() if value == bad else value


def kill_once(value: int, bad: int, folder: str) -> int:
    """Die the first time the bad value comes."""
    marker = Path(folder, str(value))
    if value == bad and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def fail_times(value: int, times: int, folder: str) -> int:
    """Fail the first `times` times, counted in a folder."""
    tries = len(list(Path(folder).iterdir()))
    Path(folder, str(tries)).touch()
    if tries < times:
        raise ValueError(f"try {tries}")
    return value


def note(value: int, ledger: str, pause_s: float = 0.0) -> int:
    """Append to a ledger that it ran, then take a while."""
    with open(ledger, "a") as file:
        file.write(f"{value}\n")
    time.sleep(pause_s)
    return value


def interval(pause_s: float) -> tuple[float, float]:
    """Take a while, and tell when."""
    begun = time.monotonic()
    time.sleep(pause_s)
    return begun, time.monotonic()


def wait_for(path: str) -> str:
    """Wait until a file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


def kill_the_node() -> None:
    """End the process that watches over us; what it says of that is nothing."""
    os.kill(os.getppid(), signal.SIGKILL)


def note_pid_and_wait(folder: str, release: str) -> int:
    Path(folder, str(os.getpid())).touch()
    wait_for(release)
    return os.getpid()


def note_or_wait(value: int, ledger: str, folder: str) -> int:
    """Append to a ledger; with a folder, tell it our pid and wait for ever."""
    if ledger:
        note(value, ledger)
    if folder:
        note_pid_and_wait(folder, "/never")
    return value


def spin_forever() -> None:
    while True:
        pass


def leave_a_child(path: str) -> int:
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    Path(path).write_text(str(child.pid))
    time.sleep(300)
    return child.pid


def allocate(size: int) -> int:
    block = bytearray(size)
    time.sleep(30)
    return len(block)


class ExplodesWhenLoaded:
    """An argument that pickles here and cannot be loaded in a worker."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("cannot be loaded")


class AwkwardError(Exception):
    """Pickles, but cannot be made again from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def raise_awkward(value: int) -> None:
    raise AwkwardError(value, value)


@zmqtasks.task(retries=2)
def marked_fail_times(value: int, times: int, folder: str) -> int:
    return fail_times(value, times, folder)


STATE: list[Any] = []


def set_state(value: Any) -> None:
    STATE.append(value)


def get_state() -> list[Any]:
    return STATE


def fail_to_initialize() -> None:
    raise RuntimeError("no database here")


def crash_with_a_stack(value: int) -> int:
    print("about to crash")
    import faulthandler

    faulthandler._sigsegv()  # type: ignore[attr-defined]
    return value

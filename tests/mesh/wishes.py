"""Functions of tests whose tasks want something of their worker or node; importable there by name."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zmqtasks

LEAKED: list[bytearray] = []

WISHES = {
    "retry": lambda: zmqtasks.retry(),
    "retry later": lambda: zmqtasks.retry(0.02),
    "requeue": lambda: zmqtasks.requeue(),
    "requeue later": lambda: zmqtasks.requeue(0.02),
    "respawn": lambda: zmqtasks.respawn(),
}


def note(ledger: str, value: object) -> int:
    """Write a line, and return how many there were of the same."""
    before = Path(ledger).read_text().split().count(str(value)) if os.path.exists(ledger) else 0
    with open(ledger, "a") as file:
        file.write(f"{value}\n")
    return before


def wish_once(value: int, ledger: str, wish: str, where: tuple[int, ...]) -> int:
    """Note the run; some tasks wish for something in their first one, in a way that must not be swallowed."""
    if value not in where:
        with open(ledger, "a") as file:
            file.write(f"{value}\n")
        return value
    if note(ledger, value) == 0:
        try:
            WISHES[wish]()
        except Exception:
            return -1
    return value


def keyword_wish_once(value: int, *, ledger: str, wish: str, where: tuple[int, ...]) -> int:
    return wish_once(value, ledger, wish, where)


def run_again_after(ledger: str, wish: str, delay_s: float) -> list[float]:
    """Ask for another run twice; return when each began."""
    note(ledger, time.monotonic())
    begun = [float(line) for line in Path(ledger).read_text().split()]
    if len(begun) < 3:
        {"retry": zmqtasks.retry, "requeue": zmqtasks.requeue}[wish](delay_s)
    return begun


def retry_for_ever(ledger: str) -> None:
    note(ledger, "run")
    zmqtasks.retry()


def stop(hand_back: bool) -> None:
    zmqtasks.stop_node(hand_back=hand_back)


def stop_once(ledger: str, hand_back: bool) -> str:
    if note(ledger, "run") == 0:
        zmqtasks.stop_node(hand_back=hand_back)
    return "elsewhere"


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leak(size: int) -> tuple[int, int]:
    """Leak memory that is really there; return the process and what it holds."""
    LEAKED.append(bytearray(os.urandom(1)) * size)
    return os.getpid(), resident_bytes()


# Set-up and tear-down


def write(path: str, text: str = "") -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {text}\n")


def finalize() -> None:
    write(os.environ["FINALIZER_LEDGER"], "finalizer")


def finalize_badly() -> None:
    finalize()
    raise RuntimeError("the finalizer is broken")


def leave_by_exit() -> None:
    finalize()
    sys.exit(3)


def hang() -> None:
    finalize()
    signal.pause()


def end_with(path: str, how: str) -> int:
    """Register an exit handler, leave a thread and a forked child behind, and have the worker replaced."""
    before = note(path + ".runs", "run")
    if before == 0:
        atexit.register(write, path, "exit handler")
        threading.Thread(target=signal.sigwait, args=({signal.SIGUSR1},)).start()
        if how == "fork" and os.fork() == 0:
            return -1  # as the worker would; nobody may hear of it
        zmqtasks.respawn()
    return os.getpid()


def register_exit(path: str) -> int:
    atexit.register(write, path, "exit handler")
    threading.Thread(target=signal.sigwait, args=({signal.SIGUSR1},)).start()
    return os.getpid()


def never_ready() -> None:
    signal.pause()


def echo(value: Any) -> Any:
    return value

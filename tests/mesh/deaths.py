"""Functions that die in a worker, in every way there is; importable there by name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bench.bodies import DiesWhenSent, abort, exit_hard, exit_softly, kill, overflow_the_stack, segfault


def print_lines(number: int) -> None:
    for line in range(number):
        print(f"line {line}")


def die_when_sent() -> Any:
    return DiesWhenSent()


ALL = (segfault, kill, abort, exit_hard, overflow_the_stack, exit_softly, die_when_sent)


def print_and_die(death: str, lines: int) -> Any:
    print_lines(lines)
    return globals()[death]()


def die_each(value: int, each: int) -> Any:
    """Return the value; each so many-th task dies, of all kinds in turn."""
    return ALL[value // each % len(ALL)]() if value % each == each - 1 else value


def note_and_die_at(value: int, bad: int, folder: str, pause_s: float = 0.0) -> int:
    """Note which process ran the task, then die if it is the bad one."""
    with open(Path(folder, str(value)), "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(pause_s)
    if value == bad:
        kill()
    return value


def own_pid(_: int) -> int:
    return os.getpid()


def wait_to_be_killed(path: str) -> None:
    print("here I am")
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1)

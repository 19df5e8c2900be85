"""Functions that the commands are given; copied into the folder they are started in."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import zmqtasks

POLL_S = 0.005


def double(number: int) -> int:
    return 2 * number


def halt_at_100(number: int) -> int:
    """Wait, at number 100, until there is a file "go" in the current folder."""
    while number == 100 and not Path("go").exists():
        time.sleep(POLL_S)
    return number


def greet(*names: str, sign: str = "!") -> str:
    return "hello " + " and ".join(names) + sign


def describe(**fields: Any) -> dict[str, Any]:
    return fields


def same(value: Any) -> Any:
    return value


def fail_on_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def fail_once(path: str) -> str:
    """Fail at the first call with this path."""
    if not os.path.exists(path):
        Path(path).touch()
        raise RuntimeError("not yet")
    return "second try"


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def speak(number: int) -> int:
    print("a word from a task")
    return number


def speak_slowly(number: int) -> int:
    print("a slow word")
    time.sleep(0.03)
    return number


def speak_and_log(number: int) -> int:
    logging.getLogger(__name__).info("number %d", number)
    return speak(number)


def wait_for(folder: str, number: int) -> int:
    """Tell that it has begun, and return once the file "go" is there."""
    Path(folder, f"begun-{number}").touch()
    while not Path(folder, "go").exists():
        time.sleep(POLL_S)
    return number


def wait_a_moment(number: int) -> int:
    """Take some 50 ms: long enough for a test to kill somebody meanwhile."""
    time.sleep(0.05)
    return number


@zmqtasks.task(timeout=0.2)
def hang(number: int) -> None:
    while True:
        time.sleep(POLL_S)


def square(number: int) -> int:
    return number * number


def sum_of_squares(number: int) -> int:
    """Have other tasks square, and wait for them."""
    return sum(zmqtasks.current_client().map(square, range(number)))


def fib(number: int) -> int:
    if number < 2:
        return number
    client = zmqtasks.current_client()
    first, second = client.submit(fib, number - 1), client.submit(fib, number - 2)
    return int(first.result() + second.result())


def leave_a_mark(name: str) -> str:
    time.sleep(0.1)
    Path(name).touch()
    return name


def push_marks(number: int) -> int:
    """Have marks left, which in turn have more of them left; wait for nothing."""
    zmqtasks.current_client().push_many(push_marks, range(number))
    return zmqtasks.current_client().push_many(leave_a_mark, [f"mark-{number}-{os.getpid()}"])


def push_failures(number: int) -> int:
    return zmqtasks.current_client().push_many(fail_on_odd, range(number))


def push_and_wait(folder: str, number: int) -> int:
    """Wait for a call that waits for a file, and leave others behind that do as well."""
    client = zmqtasks.current_client()
    waited = client.submit(wait_for, folder, number)
    client.push_many(leave_a_mark, [f"late-{n}" for n in range(20)])
    return int(waited.result())


def ask_and_leave(folder: str, number: int) -> int:
    """Wait for a call that waits for the file "go"; leave calls behind that take their time, and tell of each run."""
    client = zmqtasks.current_client()
    with open(Path(folder, "runs"), "a") as runs:
        runs.write(f"{number}\n")
    client.push_many(leave_a_mark, [f"late-{number}-{n}" for n in range(10)])
    return int(client.submit(wait_for, folder, number).result())


def submit_late(folder: str, number: int) -> int:
    """Submit when the file "go" is there, and wait for nothing."""
    wait_for(folder, number)
    zmqtasks.current_client().submit(leave_a_mark, f"late-{number}")
    return number


def leave_late_marks(number: int) -> int:
    zmqtasks.current_client().push_many(leave_a_mark, [f"mark-{number}-{n}" for n in range(4)])
    return number


def share(number: int) -> int:
    """Count what all tasks of a job share, one at a time; return how many had counted before."""
    client = zmqtasks.current_client()
    assert client.rate_limit("turns", 100).acquire(10)
    with client.semaphore("places", 2), client.lock("count"):
        before = int(client.get_key("count", 0))
        client.set_key("count", before + 1)
    return before

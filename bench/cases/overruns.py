"""How late a task is stopped that passed its limit, and whether it is told where it was.

    python -m bench.cases.overruns [--rounds 50] [--limit 0.5] [--out bench/results/overruns.jsonl]

One JSON line for each way to be stuck: seconds from the limit to the death of the worker, counted from the moment in
which the task itself noted that it began. The last line is of memory: seconds from the moment in which the worker held
more than its `max_memory` to its death. One worker, one task after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import select
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmqtasks

MEMORY_LIMIT = 200 * 2**20
PIECE = 2 * 2**20


def note_start(path: str) -> None:
    """Write who runs it, and the time; the clock is the same in all processes of a host."""
    Path(f"{path}.new").write_text(f"{os.getpid()} {time.monotonic()}")
    os.rename(f"{path}.new", path)


def sleep_on(path: str) -> None:
    """Wait in a system call."""
    note_start(path)
    time.sleep(300)


def loop_on(path: str) -> None:
    """Run Python code without end."""
    note_start(path)
    while True:
        pass


def hold_the_interpreter(path: str) -> int:
    """Run C code that neither ends nor lets another thread run."""
    note_start(path)
    return sum(range(10**12))


def match_a_bomb(path: str) -> Any:
    """Match a pattern that takes exponential time."""
    note_start(path)
    return re.match(r"(a+)+$", "a" * 60 + "b")


def ignore_sigterm(path: str) -> None:
    """Ignore the polite request."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_start(path)
    while True:
        time.sleep(1)


def stop_itself(path: str) -> None:
    """Be stopped, as by SIGSTOP from outside."""
    note_start(path)
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def allocate_on(path: str) -> None:
    """Allocate without end; the start that is noted is the moment in which the limit was passed."""
    pieces: list[bytes] = []
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        pieces.append(b"x" * PIECE)
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * page
        if resident > MEMORY_LIMIT and not os.path.exists(path):
            note_start(path)
        time.sleep(0.005)  # 400 MB/s: faster, and this machine is full before the kill


STUCK = (sleep_on, loop_on, hold_the_interpreter, match_a_bomb, ignore_sigterm, stop_itself)


def once(client: Any, function: Callable[[str], Any], folder: Path) -> tuple[float, BaseException]:
    """Run one task that never ends; return how long it lived from the start it noted, and how it ended."""
    path = folder / f"{function.__name__}-{time.monotonic_ns()}"
    future = client.submit(function, str(path))
    while not path.exists():
        time.sleep(0.001)
    pid, begun = path.read_text().split()
    pidfd = os.pidfd_open(int(pid))
    try:
        select.select([pidfd], [], [])
        seconds = time.monotonic() - float(begun)
    finally:
        os.close(pidfd)
    error = future.exception(30)
    assert error is not None
    return seconds, error


def record(name: str, over_s: list[float], named: float | None, **more: Any) -> dict[str, Any]:
    """Return one record."""
    over_s = sorted(over_s)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "case": "overruns",
        "stuck_in": name,
        **more,
        "over_s": {
            "p50": round(statistics.median(over_s), 4),
            "p99": round(over_s[min(len(over_s) - 1, int(len(over_s) * 0.99))], 4),
            "most": round(over_s[-1], 4),
        },
        "stack_names_the_function": named,
        "rounds": len(over_s),
        "load_1min": round(os.getloadavg()[0], 1),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "zmqtasks": zmqtasks.__version__,
    }


def measure(rounds: int, limit_s: float) -> list[dict[str, Any]]:
    """Return the records of all cases; the cases take turns."""
    over: dict[str, list[float]] = {}
    named: dict[str, int] = {}
    with zmqtasks.Client(workers=1) as client, tempfile.TemporaryDirectory() as folder:
        hasty = client.options(timeout=limit_s)
        small = client.options(max_memory=MEMORY_LIMIT)
        for _ in range(rounds):
            for function in STUCK:
                seconds, error = once(hasty, function, Path(folder))
                assert isinstance(error, zmqtasks.TaskTimeout), error
                over.setdefault(function.__name__, []).append(seconds - limit_s)
                named[function.__name__] = named.get(function.__name__, 0) + (f"in {function.__name__}" in error.stack)
            seconds, error = once(small, allocate_on, Path(folder))
            assert isinstance(error, zmqtasks.MemoryLimitExceeded), error
            over.setdefault("memory", []).append(seconds)
    memory = over.pop("memory")
    records = [record(name, late, named[name] / rounds, limit_s=limit_s) for name, late in over.items()]
    every = [late for some in over.values() for late in some]
    records.append(record("all of these", every, sum(named.values()) / len(every), limit_s=limit_s))
    return [*records, record("memory", memory, None, limit_bytes=MEMORY_LIMIT)]


def main() -> None:
    """Measure, print, and append the records to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--limit", type=float, default=0.5, help="seconds")
    parser.add_argument("--out", default=None, help="append the records to this file")
    arguments = parser.parse_args()
    lines = [json.dumps(entry) for entry in measure(arguments.rounds, arguments.limit)]
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.writelines(f"{line}\n" for line in lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()

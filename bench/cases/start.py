"""A program from its import to its first result; then what it costs while it does nothing, and how it ends.

Each peer's own words for it are in its file (`first`, `last`). Memory is what the processes have for themselves (uss),
and that with what they share among each other, each page once (pss).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.asking import descendants
from bench.cases.case import FUTURES, LOCAL, MESH, Case, Figures, Reach, times
from bench.peers.peer import Cannot, Peer

SETTLE_S, IDLE_S = 0.5, 2.0
MB = 1e6
PROGRAM = """
import time; _t = time.perf_counter()
{first}
print(time.perf_counter() - _t, flush=True); input(); _t = time.perf_counter()
{last}
print(time.perf_counter() - _t, flush=True)
"""
FIRST = "seconds"


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Run the program, and look at it from outside while it is idle."""
    if not peer.first:
        raise Cannot("program that starts it all")
    started = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM.format(first=peer.first, last=peer.last)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inside_s = float(process.stdout.readline())
        outside_s = time.perf_counter() - started
        time.sleep(SETTLE_S)
        used_s = sum(_cpu_s(process.pid).values())
        figures = {FIRST: inside_s, "with_interpreter_s": outside_s, "cpu_s": used_s, **_idle(process.pid)}
        process.stdin.write("\n")
        process.stdin.flush()
        figures["close_s"] = float(process.stdout.readline())
    return figures


def _idle(pid: int) -> Figures:
    """Return what a program and all it started take while nothing is asked of them."""
    before, begun = _cpu_s(pid), time.perf_counter()
    time.sleep(IDLE_S)
    after, seconds = _cpu_s(pid), time.perf_counter() - begun
    used = sum(after[thread] - before.get(thread, 0.0) for thread in after)
    processes = [pid, *descendants(pid)]
    return {
        "idle_percent": 100 * used / seconds,
        "uss_mb": sum(_memory(each, "Private_") for each in processes) / MB,
        "pss_mb": sum(_memory(each, "Pss:") for each in processes) / MB,
        "processes": len(processes),
    }


def _cpu_s(pid: int) -> dict[str, float]:
    """Return the processor seconds of each thread."""
    used = {}
    for each in [pid, *descendants(pid)]:
        for path in Path(f"/proc/{each}/task").glob("*/schedstat"):
            try:
                used[path.parent.name] = int(path.read_text().split()[0]) / 1e9
            except OSError:  # it has ended
                continue
    return used


def _memory(pid: int, prefix: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(prefix) and "Hugetlb" not in line)


CASE = Case(
    "W10",
    "start",
    "seconds from the import to the first result; processor time while idle; memory of all processes; two workers",
    measure,
    FIRST,
    less_is_better=True,
    peers=LOCAL,
    demand=None,
    reaches=(
        Reach("import to first result: 0.25 s", lambda at: at(MESH, FIRST), most=0.25, unit="s"),
        Reach("idle: 0.5 % of a core", lambda at: at(MESH, "idle_percent"), most=0.5, unit="%"),
        Reach("memory, shared pages once: 100 MB", lambda at: at(MESH, "pss_mb"), most=100, unit="MB"),
        Reach("for comparison: concurrent.futures", lambda at: times(at(MESH, FIRST), at(FUTURES, FIRST))),
    ),
)

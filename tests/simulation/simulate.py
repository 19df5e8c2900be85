"""Play random schedules and storms for a while, in several processes, and say what came of it.

    python -m tests.simulation.simulate --seconds 60
    python -m tests.simulation.simulate --seconds 1800 --out bench/results/chaos-DATE.jsonl

A fault counts only where it hit something. Exit code 1 where a schedule failed, or tasks were executed too often.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.simulation.schedules import Schedule, ScheduleFailed, draw
from tests.simulation.storms import Storm, draw_storm
from tests.simulation.tally import Tally

MOST_EXECUTIONS = {"long": 1.10, "short": 1.25}
SCHEDULES = 5
"""To each storm come so many schedules."""
TELL_S = 2.0
GRACE_S = 120.0
"""A process that tells nothing for so long after the end hangs."""


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], prog="python -m tests.simulation.simulate"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play, in real seconds (60)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="how many (one a core)")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with (0)")
    parser.add_argument("--out", help="file to append the record to, a line of JSON")
    wanted = parser.parse_args()
    began = time.monotonic()
    total = play(wanted.seconds, wanted.processes, wanted.first, _show if sys.stderr.isatty() else lambda *_: None)
    took_s = time.monotonic() - began
    broken = [
        f"{total.ratio(kind):.3f} executions a {kind} task, more than {most}"
        for kind, most in MOST_EXECUTIONS.items()
        if total.ratio(kind) > most
    ]
    for line in [*total.failures, *broken]:
        print(line)
    print(_line(total, took_s))
    record = {
        "scenario": "simulate",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(took_s, 1),
        "processes": wanted.processes,
        "first_seed": wanted.first,
        **total.record(),
        "broken": broken,
    }
    print(json.dumps(record))
    if wanted.out:
        with open(wanted.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    return 1 if total.failures or broken else 0


def play(seconds: float, processes: int, first: int, show: Callable[[Tally, float], None]) -> Tally:
    """Play until the time is over; return what all processes counted together."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[Tally | None] = context.Queue()
    end_s = time.time() + seconds
    crew = [context.Process(target=_work, args=(first + n, processes, end_s, told)) for n in range(processes)]
    for process in crew:
        process.start()
    total, working, began = Tally(), processes, time.monotonic()
    while working:
        try:
            tally = told.get(timeout=seconds + GRACE_S)
        except queue.Empty:
            total.failures.append(f"{working} process(es) told nothing for {seconds + GRACE_S:g} s")
            break
        if tally is None:
            working -= 1
        else:
            total.merge(tally)
            show(total, time.monotonic() - began)
    for process in crew:
        if process.is_alive() and not working:
            process.join()
        process.kill()
    return total


def _work(seed: int, step: int, end_s: float, told: Any) -> None:
    """Play every `step`-th seed from `seed` on until the time is over."""
    logging.disable()
    while time.time() < end_s:
        tally, due_s = Tally(), time.time() + TELL_S
        while time.time() < min(due_s, end_s):
            _play_one(tally, draw_storm(seed))
            for number in range(seed * SCHEDULES, (seed + 1) * SCHEDULES):
                _play_one(tally, draw(number))
            seed += step
        told.put(tally)
    told.put(None)


def _play_one(tally: Tally, drawn: Storm | Schedule) -> None:
    tally.storms += isinstance(drawn, Storm)
    tally.schedules += isinstance(drawn, Schedule)
    try:
        tally.add(drawn.run())
    except ScheduleFailed as failed:
        tally.failures.append(f"{failed.command}: {failed.summary.splitlines()[0][:300]}")


def _line(total: Tally, took_s: float) -> str:
    return (
        f"{total.storms} storms and {total.schedules} schedules in {took_s:.0f} s: {total.faults.total():,} faults "
        f"({total.faults.total() / max(took_s, 0.001):,.0f}/s), {total.tasks:,} tasks, executions a task "
        f"{total.ratio('long'):.3f} long, {total.ratio('short'):.3f} short, {len(total.failures)} failed"
    )


def _show(total: Tally, took_s: float) -> None:
    print(f"\r{_line(total, took_s)}", end="\n" if total.failures else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

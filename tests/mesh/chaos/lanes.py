"""Two jobs that go on through a storm, side by side on the same nodes.

The *steady* lane is one endless job through a pipe, into a sink of its own; its ventilator and its sink are stopped but
never killed, so that growth over a long life shows. The *stormy* lane is one job after the other from a file, each with
a journal, into a sink of its own; these ventilators and this sink are killed as well. Owns what was submitted. Used by
`storm.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.oracle import recorded_in
from tests.mesh.chaos.roles import Role
from tests.mesh.chaos.tasks import number_of
from zmqtasks.cli.ventilator import ventilator

FUNCTION = "note"
STEADY_JOB = 0
AHEAD = 30_000
STEADY_PER_S = 4000.0
STORMY_TASKS = 100_000
HAS_JOURNAL = any(option.name == "journal" for option in ventilator.params)
"""Without a journal a ventilator that is killed takes its job with it, and is only stopped."""


class Steady:
    """One job for the whole storm."""

    def __init__(self, frame: Frame, nodes: list[Role]) -> None:
        self.sink, self.store = frame.sink("steady-sink", local=True)
        self.ventilator = frame.ventilator("steady-ventilator", FUNCTION, nodes, sink=self.sink)
        self._feeder = frame.feed(
            self.ventilator, STEADY_JOB, ahead=AHEAD, per_s=STEADY_PER_S, done=lambda: recorded_in(self.store)
        )
        self._frame = frame

    def end(self, timeout_s: float) -> dict[int, int]:
        """Submit no more, wait for what is submitted, and return how many tasks there were."""
        jobs = {STEADY_JOB: self._feeder.end(timeout_s)}
        code = self.ventilator.wait(timeout_s)
        self._frame.demand(code == 0, f"{self.ventilator.name} ended with exit code {code}")
        return jobs


class Stormy:
    """One job after the other."""

    def __init__(self, frame: Frame, nodes: list[Role]) -> None:
        self.sink, self.store = frame.sink("stormy-sink")
        self.jobs: dict[int, int] = {}
        self._frame, self._nodes = frame, nodes
        self.ventilator = self._next()

    def look(self) -> None:
        """Begin the next job where the last one has come to its end."""
        if not self.ventilator.is_alive and not self.ventilator.is_killed:
            self._check(self.ventilator.wait(0))
            self.ventilator = self._next()

    def end(self, timeout_s: float) -> dict[int, int]:
        """Wait for the job at hand, and return how many tasks there were in each."""
        self._check(self.ventilator.wait(timeout_s))
        return self.jobs

    def _check(self, code: int) -> None:
        self._frame.demand(code == 0, f"{self.ventilator.name} ended with exit code {code}")

    def _next(self) -> Role:
        job = STEADY_JOB + 1 + len(self.jobs)
        path = self._input(job)
        journal = ["--journal", str(path.with_suffix(".journal"))] if HAS_JOURNAL else []
        self.jobs[job] = STORMY_TASKS
        return self._frame.ventilator(
            f"stormy-ventilator-{job}", FUNCTION, self._nodes, str(path), *journal, sink=self.sink, takes_input=False
        )

    def _input(self, job: int) -> Path:
        path = self._frame.folder / f"job-{job}.txt"
        path.write_text("".join(f"{number_of(job, index)}\n" for index in range(STORMY_TASKS)))
        return path

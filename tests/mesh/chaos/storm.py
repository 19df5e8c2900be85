"""A fault each second: kill -9 and SIGSTOP of workers, nodes, sinks and ventilators, while two jobs go on.

Promised: nothing is lost; memory of each role grows by 1 MB a million tasks at most; descriptors and threads do not
grow. One node, one sink and one ventilator are stopped but never killed, so that they can show growth; the others show
it from life to life.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.growth import Growth, Sample
from tests.mesh.chaos.lanes import HAS_JOURNAL, Steady, Stormy
from tests.mesh.chaos.roles import Role
from zmqtasks.records import as_dict

EACH_S = 1.0
SHORTEST_STOP_S, LONGEST_STOP_S = 0.2, 4.0
STANDSTILL_S = 90.0
"""Without any execution for so long, the mesh has lost its way."""
END_S = 900.0
MOST_MIB = 1.0
JUDGED_TASKS = 3_000_000
"""Growth is judged where so many tasks passed after the warming up: results that wait come and go by some MiB."""
MORE = 10
"""Descriptors or threads by which late and early parts of a run may differ: a dead node keeps up to 9 of a sink's
descriptors for its lease of 60 s, and how many died in the last minute is chance."""
KILL_WORKER, KILL, STOP = "kill -9 of a worker of", "kill -9 of", "SIGSTOP of"


class Storm:
    """The mesh, and what is done to it."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._spared = frame.node("spared-node", local=True)
        self._nodes = [self._spared, frame.node("node-1"), frame.node("node-2", local=True)]
        self.steady, self.stormy = Steady(frame, self._nodes), Stormy(frame, self._nodes)
        self._go_on: dict[Role, float] = {}
        self._growth: dict[str, Growth] = {}
        self.faults: Counter[str] = Counter()
        self._progress = (0, time.monotonic())

    def blow(self, seconds: float) -> None:
        """Make a fault each second, for so long."""
        end = time.monotonic() + seconds
        due = time.monotonic() + EACH_S
        while time.monotonic() < end and self._gets_on():
            time.sleep(max(0.0, min(due - time.monotonic(), EACH_S)))
            due += EACH_S
            self._fault()
            self._tend()
            self._look()
        self._calm()

    def end(self) -> dict[int, int]:
        """Wait for both jobs; return how many tasks each had."""
        return self.steady.end(END_S) | self.stormy.end(END_S)

    def growth(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the growth of each role, and demand that it is small."""
        evidence = "".join(growth.lines(name) for name, growth in self._growth.items())
        (self._frame.folder / "samples.txt").write_text(evidence)
        trends = {name: growth.trend() for name, growth in self._growth.items()}
        for name, trend in trends.items():
            if trend.tasks_seen >= JUDGED_TASKS:
                slope = trend.mib_per_million_tasks
                self._frame.demand(slope is None or slope <= MOST_MIB, f"{name} grew by {slope} MiB a million tasks")
                self._frame.demand(trend.descriptors <= MORE, f"{name} has {trend.descriptors} descriptors more")
                self._frame.demand(trend.threads <= MORE, f"{name} has {trend.threads} threads more")
        return {name: as_dict(trend) for name, trend in trends.items()}

    # One second

    def _fault(self) -> None:
        what, role = self._frame.chance.choice(self._possible())
        self.faults[what] += 1
        if what is STOP:
            seconds = self._frame.chance.uniform(SHORTEST_STOP_S, LONGEST_STOP_S)
            whole = role in self._nodes and self._frame.chance.random() < 0.5
            self._frame.fault(f"{what} {role.name}{' and its workers' if whole else ''} for {seconds:.1f} s")
            role.stop(whole)
            self._go_on[role] = time.monotonic() + seconds
        elif what is KILL:
            self._frame.fault(f"{what} {role.name}")
            self._go_on.pop(role, None)
            role.kill()
            role.restart()
        else:
            pid = self._frame.chance.choice(role.children())
            self._frame.fault(f"{what} {role.name}: {pid}")
            role.kill_process(pid)

    def _possible(self) -> list[tuple[str, Role]]:
        """Return what may be done now, as often as it is likely."""
        alive = [role for role in self._roles() if role.is_alive]
        mortal = [*self._nodes[1:], self.stormy.sink, *([self.stormy.ventilator] if HAS_JOURNAL else [])]
        killable = [role for role in mortal if role in alive]
        running = [role for role in alive if not role.is_stopped]
        workers = [node for node in self._nodes if node in running and node.children()]
        return [
            *((KILL_WORKER, node) for node in workers),
            *((KILL, role) for role in killable),
            *((STOP, role) for role in running),
        ]

    def _tend(self) -> None:
        """Let those go on whose time is over; begin again what has ended."""
        for role, due in list(self._go_on.items()):
            if time.monotonic() >= due:
                del self._go_on[role]
                role.go_on()
        self.stormy.look()
        for role in self._roles():
            if not role.is_alive and role is not self.stormy.ventilator:
                self._frame.complain(f"{role.name} ended by itself with exit code {role.wait(0)}")
                role.restart()

    def _calm(self) -> None:
        self._frame.tell("the storm is over")
        for role in self._go_on:
            role.go_on()
        self._go_on.clear()

    # Looking

    def _roles(self) -> list[Role]:
        return [*self._nodes, self.steady.sink, self.stormy.sink, self.steady.ventilator, self.stormy.ventilator]

    def _look(self) -> None:
        for role in self._roles():
            if usage := role.usage():
                name = "stormy-ventilator" if role is self.stormy.ventilator else role.name
                life = role.lives if name == role.name else role.pid
                sample = Sample(self._frame.elapsed_s, life, self._frame.ledger.executions, usage)
                self._growth.setdefault(name, Growth()).add(sample)

    def _gets_on(self) -> bool:
        executions, now = self._frame.ledger.executions, time.monotonic()
        if executions > self._progress[0]:
            self._progress = (executions, now)
        if now - self._progress[1] < STANDSTILL_S:
            return True
        self._frame.complain(f"nothing was executed for {STANDSTILL_S:.0f} s")
        return False


def run(frame: Frame) -> dict[str, Any]:
    """Let it storm for `frame.seconds`."""
    storm = Storm(frame)
    storm.blow(frame.seconds)
    jobs = storm.end()
    verdict = frame.judge(jobs, storm.steady.store, storm.stormy.store)
    return verdict.figures() | {"kinds": dict(storm.faults), "roles": storm.growth()}

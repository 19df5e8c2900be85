"""What a job loses while something else goes on beside it: its rate, and what the roles spend.

Owns turns without and with the other thing, one after the other, so that what else the machine does meanwhile meets
both. Judges nothing. Used by `frames.py`.
"""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import psutil

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role

QUIET_S = 4.0
BEGIN_S, SETTLE_S = 0.5, 2.0
"""Until the other thing is under way; until what it has left in buffers is worked off."""


class Look(NamedTuple):
    """What came of some seconds."""

    tasks_per_s: float
    cores: float
    """Processors that all roles and their workers took."""

    @property
    def cpu_us_per_task(self) -> float:
        """Return what one task cost."""
        return self.cores / self.tasks_per_s * 1e6


class Beside:
    """Turns of a job, by itself and beside an attack.

    Args:
        frame: of the scenario.
        roles: whose job it is.
        attack: programs, stopped; they go on for a part of each turn.
        attack_s: how long.
    """

    def __init__(self, frame: Frame, roles: list[Role], attack: list[Role], attack_s: float) -> None:
        self._frame, self._roles, self._attack, self._attack_s = frame, roles, attack, attack_s
        self._quiet: list[Look] = []
        self._attacked: list[Look] = []
        self._sent_before, self._attacked_s = self.sent_in_all(), 0.0
        self._busy_before = self._look_at_all()

    def turn(self) -> None:
        """Look at the job by itself, then under attack."""
        self._quiet.append(self._look(QUIET_S))
        began = time.monotonic()
        for role in self._attack:
            role.go_on()
        time.sleep(BEGIN_S)
        self._attacked.append(self._look(self._attack_s))
        for role in self._attack:
            role.stop()
        self._attacked_s += time.monotonic() - began
        time.sleep(SETTLE_S)
        quiet, attacked = self._quiet[-1], self._attacked[-1]
        self._frame.tell(
            f"turn {len(self._quiet)}: {quiet.tasks_per_s:.0f} tasks a second, attacked "
            f"{attacked.tasks_per_s / quiet.tasks_per_s:.2f} of that; {self.sent:,} sent so far"
        )

    @property
    def ratio(self) -> float:
        """Return the part of its rate that the job keeps."""
        return median(one.tasks_per_s for one in self._attacked) / median(one.tasks_per_s for one in self._quiet)

    @property
    def extra_cores(self) -> float:
        """Return what all roles together took beyond what so many tasks cost them without the attack."""
        cost = median(one.cpu_us_per_task for one in self._quiet)
        return median(one.cores - one.tasks_per_s * cost / 1e6 for one in self._attacked)

    @property
    def sent(self) -> int:
        """Return how many frames or connections there were."""
        return self.sent_in_all() - self._sent_before

    def sent_in_all(self) -> int:
        """Return the same, with those before the first turn."""
        return sum(int((role.output.split() or ["0"])[-1]) for role in self._attack)

    def figures(self) -> dict[str, float]:
        """Return what is told in the record."""
        a_second = self.sent / max(self._attacked_s, 1e-9)
        return {
            "sent": self.sent, "sent_per_s": round(a_second), "turns": len(self._quiet), "rate": round(self.ratio, 3),
            "tasks_per_s": round(median(one.tasks_per_s for one in self._quiet)),
            "cpu_us_per_task": round(median(one.cpu_us_per_task for one in self._quiet)),
            "cpu_us_per_task_attacked": round(median(one.cpu_us_per_task for one in self._attacked)),
            "costs_cores": round(self.extra_cores, 3),
            "cpu_us_each": round(self.extra_cores / max(a_second, 1e-9) * 1e6, 1),
            "others_cpu_share": round(self.others_share(), 2),
        }  # fmt: skip

    def others_share(self) -> float:
        """Return the part of all processors that programs took that are none of ours, since this was made."""
        busy, idle, own = (now - then for now, then in zip(self._look_at_all(), self._busy_before, strict=True))
        return max(0.0, busy - own) / max(busy + idle, 1e-9)

    def _look(self, seconds: float) -> Look:
        executed, spent, began = self._frame.ledger.executions, _spent_s(self._roles), time.monotonic()
        time.sleep(seconds)
        tasks, elapsed_s = max(self._frame.ledger.executions - executed, 1), time.monotonic() - began
        return Look(tasks / elapsed_s, (_spent_s(self._roles) - spent) / elapsed_s)

    def _look_at_all(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        return sum(times[:8]) - idle, idle, _spent_s([*self._roles, *self._attack])


def _spent_s(roles: list[Role]) -> float:
    total = 0.0
    for role in roles:
        if role.is_alive:
            for pid in (role.pid, *role.children()):
                try:
                    times = psutil.Process(pid).cpu_times()
                except psutil.Error:
                    continue
                total += times.user + times.system
    return total

"""What workers leave behind: processes of tasks that lost their parent and were handed to the supervisor (Linux).

Owns the knowledge of which worker a process came from. Kills those whose worker is gone, reaps those that ended, and
leaves alone what it cannot place: other children of the program we are part of. `workforce.py` calls it.
"""

from __future__ import annotations

import os
import signal
import time

from zmqtasks.processes import brand, linux
from zmqtasks.processes.exits import reap
from zmqtasks.processes.worker import WORKER_VARIABLE, process_name
from zmqtasks.processes.zygote import MARK_VARIABLE

BURY_S = 2.0
BURY_POLL_S = 0.002
STRANGER_S = 10.0
"""How long a zombie that nobody can place is left to whoever may be about to wait for it."""


class Orphans:
    """Adopted children of this process.

    Args:
        mark: what the processes of this workforce carry in their environment.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._owners: dict[int, int] = {}  # worker of each adopted child seen alive; what ended shows it no more
        self._strangers: dict[int, float] = {}  # zombies nobody can place, and when they were first seen

    def sweep(self, workers: set[int], spared: set[int], now: float) -> bool:
        """Kill and reap what belongs to none of the living `workers`; return whether anything is about to end.

        What ends hands its own children to us, and has to be reaped: call again soon.

        Args:
            workers: pids of workers that live.
            spared: other children of this process, never touched.
            now: monotonic seconds.
        """
        children = set(linux.children_of(os.getpid())) - workers - spared
        self._owners = {pid: owner for pid, owner in self._owners.items() if pid in children}
        self._strangers = {pid: since for pid, since in self._strangers.items() if pid in children}
        ending = [pid for pid in children if self._settle(pid, workers, now)]
        return bool(ending)

    def of(self, worker: int) -> list[int]:
        """Return the adopted children that came from a worker."""
        return [pid for pid, owner in self._owners.items() if owner == worker]

    def bury(self, spared: set[int]) -> None:
        """Kill and reap the orphans of all workers; wait until none is left, two seconds at most."""
        deadline = time.monotonic() + BURY_S
        while self.sweep(set(), spared, time.monotonic()) and time.monotonic() < deadline:
            time.sleep(BURY_POLL_S)

    def _settle(self, pid: int, workers: set[int], now: float) -> bool:
        """Do what one child calls for; return whether it is about to end."""
        stat = linux.stat_of(pid)
        if stat is None:
            return False
        owner = self._owners.get(pid) or self._find_owner(pid, stat)
        if stat.state == "Z" or stat.exiting:
            adopted = owner is not None or self._is_no_child_of_ours(pid, stat, now)
            if adopted and stat.state == "Z":
                reap(pid)
                return False
            return adopted
        if owner is None:
            return False
        self._owners[pid] = owner
        if owner in workers:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def _is_no_child_of_ours(self, pid: int, stat: linux.Stat, now: float) -> bool:
        """Tell whether no code of this program waits for a zombie: then it was adopted.

        Our own children are in our session, or lead their own; one of those is left to its owner for a while.
        """
        if stat.session == os.getsid(0):
            return False
        return stat.session != pid or now - self._strangers.setdefault(pid, now) > STRANGER_S

    def _find_owner(self, pid: int, stat: linux.Stat) -> int | None:
        """Return the pid of the worker a process descends from, or None where nothing tells.

        The brand tells. Where there is none, forks carry the worker's name, and what was executed its variable; both
        survive setsid() and a double fork.
        """
        if branded := brand.worker_of(pid, self._mark):  # a lost zygote's warden is nobody's, and has to go as well
            return branded if branded != pid else None
        number = stat.name.rpartition("-")[2]
        forked = number.isdigit() and stat.name == process_name(int(number))
        if stat.state != "Z" and not stat.exiting:
            if linux.environment_of(pid, MARK_VARIABLE) != self._mark:
                return None
            variable = linux.environment_of(pid, WORKER_VARIABLE) or ""
            number, forked = (variable, True) if variable.isdigit() else (number, forked)
        return int(number) if forked and int(number) != pid else None  # a worker itself is nobody's orphan

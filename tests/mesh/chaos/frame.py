"""What each scenario stands on: an amount, chance from a seed, a folder, roles that can be started, a word for each
fault, and a record at the end.

Owns the folder and all processes: after `with`, none is left, and the folder stays only where a promise was broken.
Decides no fault. Made by `__main__.py`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.mesh.chaos import tasks
from tests.mesh.chaos.feeding import Feeder
from tests.mesh.chaos.ledger import Ledger
from tests.mesh.chaos.oracle import Verdict, judge
from tests.mesh.chaos.registry import Amount
from tests.mesh.chaos.roles import ROOT, Role, command, described, marked, program, wait_for
from tests.mesh.nodes import free_port

MARK = "ZMQTASKS_CHAOS"
TASKS = "tests.mesh.chaos.tasks"
LEFT_S = 20.0
"""How long after the end of all roles what they started may take to be gone."""
PATIENT = ("--connect-timeout", "120 s")
"""A sink or a node may be down, and start slowly on a busy machine, when a ventilator begins."""
WITNESS_S = 0.05
STARVED_S = 1.0
"""Where a thread that does nothing else than sleep is so late, bounds of time say nothing."""


class Frame:
    """One run of one scenario.

    Args:
        scenario: its name.
        amount: how much of it.
        seed: of all chance.
    """

    def __init__(self, scenario: str, amount: Amount, seed: int) -> None:
        self.scenario, self.amount, self.seed = scenario, amount, seed
        self.chance = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix=f"chaos-{scenario}-"))
        self.ledger = Ledger(self.folder / "ledger")
        self.faults = 0
        self.broken: list[str] = []
        """Promises that did not hold."""
        self.unjudged: list[str] = []
        """Bounds that could not be judged here, and why."""
        self.roles: list[Role] = []
        self.addresses: dict[str, str] = {}
        """Where nodes and sinks are reached, by name."""
        self.began = time.monotonic()
        self._witness = Witness()

    # How much

    @property
    def times(self) -> int:
        """Return how many faults are wanted."""
        assert self.amount.times is not None
        return self.amount.times

    @property
    def seconds(self) -> float:
        """Return how long faults are wanted."""
        assert self.amount.seconds is not None
        return self.amount.seconds

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since it began."""
        return time.monotonic() - self.began

    @property
    def late_s(self) -> float:
        """Return how late a thread that only sleeps was woken, at most: what the machine took from all of us."""
        return self._witness.late_s

    # What is told

    def tell(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{self.elapsed_s:8.2f} s  {self.scenario}: {text}", flush=True)

    def fault(self, text: str) -> None:
        """Count a fault, and tell it."""
        self.faults += 1
        self.tell(f"fault {self.faults}: {text}")

    def complain(self, text: str) -> None:
        """Note a broken promise."""
        self.broken.append(text)
        self.tell(f"BROKEN: {text}")

    def demand(self, holds: bool, text: str) -> None:
        """Note a broken promise where it does not hold."""
        if not holds:
            self.complain(text)

    def demand_in_time(self, holds: bool, text: str) -> None:
        """Note a broken promise about time; where this machine was starved, note that it could not be judged."""
        if not holds and self.late_s > STARVED_S:
            self.unjudged.append(f"{text}; a thread here was woken {self.late_s:.1f} s late")
            self.tell(f"not judged: {self.unjudged[-1]}")
        else:
            self.demand(holds, text)

    # Roles

    def node(self, name: str, *more: str, workers: int = 1, local: bool = False) -> Role:
        """Start a node on a port that stays its own, `local`: to be reached through its Unix socket."""
        address = f"tcp://127.0.0.1:{free_port()}"
        return self._serve(name, address, ["worker", "--workers", str(workers), *more], local)

    def sink(self, name: str, *more: str, local: bool = False, file: str = "") -> tuple[Role, Path]:
        """Start a sink on a port that stays its own, and return it with its file: a database, or `file`."""
        store = self.folder / (file or f"{name}.db")
        address = f"tcp://127.0.0.1:{free_port()}"
        return self._serve(name, address, ["sink", "-o", str(store), *more], local), store

    def ventilator(
        self, name: str, function: str, nodes: list[Role], *more: str, sink: Role, takes_input: bool = True
    ) -> Role:
        """Start a ventilator of a function of `tasks.py`; `takes_input`: from a pipe, for a `Feeder`."""
        where = [word for node in nodes for word in ("--node", self.addresses[node.name])]
        args = ["ventilator", f"{TASKS}:{function}", *where, "--sink", self.addresses[sink.name], *PATIENT, *more]
        return self.role(name, command(*args, *(["-"] if takes_input else [])), takes_input=takes_input).start()

    def program(self, name: str, module: str, *args: str) -> Role:
        """Start a module of this package that is a program of its own, such as one with a Client."""
        return self.role(name, program(f"{__package__}.{module}", *args)).start()

    def role(self, name: str, line: list[str], takes_input: bool = False) -> Role:
        """Return a role that is ended with the others; it is not started yet."""
        own = {
            MARK: str(self.folder), tasks.LEDGER: str(self.ledger.path), tasks.FOLDER: str(self.folder),
            "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(self._temporary()),
        }  # fmt: skip
        role = Role(name, line, self.folder, os.environ | own, takes_input)
        self.roles.append(role)
        return role

    def feed(self, ventilator: Role, job: int = 0, **how: Any) -> Feeder:
        """Give a ventilator tasks until the feeder is told to end."""
        return Feeder(ventilator.input, job, self.ledger, **how)

    def _serve(self, name: str, address: str, args: list[str], local: bool) -> Role:
        advertise = [] if local else ["--advertise", address]
        role = self.role(name, command(args[0], "--bind", address, *advertise, *args[1:])).start()
        role.await_ready()
        self.addresses[name] = address
        return role

    def _temporary(self) -> Path:
        path = self.folder / "tmp"
        path.mkdir(exist_ok=True)
        return path

    # Judging

    def await_progress(self, tasks: int, timeout_s: float = 60.0) -> bool:
        """Wait until so many more tasks have been executed, and tell whether they were."""
        goal = self.ledger.executions + tasks
        return wait_for(lambda: self.ledger.executions >= goal, timeout_s)

    def judge(self, jobs: dict[int, int], *stores: Path, failures: bool = False) -> Verdict:
        """Ask the oracle, and note what it complains of.

        Args:
            jobs: number of tasks by number of job.
            stores: databases of the sinks.
            failures: tasks may be recorded as failed.
        """
        verdict = judge(self.ledger, jobs, stores)
        for complaint in verdict.complaints:
            if not failures or verdict.lost or verdict.doubled:
                self.complain(complaint)
        return verdict

    # Beginning and end

    def __enter__(self) -> Frame:
        self.tell(f"{self.amount}, seed {self.seed}, in {self.folder}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and kind is not KeyboardInterrupt:
            self.complain(f"{kind.__name__}: {error}")
        for role in reversed(self.roles):
            with contextlib.suppress(ProcessLookupError):
                role.end()
        self._clear()
        self._witness.end()
        if self.broken:
            self.tell(f"logs of each role are in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _clear(self) -> None:
        """End what roles left behind, and complain of it."""
        mark = f"{MARK}={self.folder}"
        if not wait_for(lambda: not list(marked(mark)), LEFT_S):
            left = list(marked(mark))
            self.complain(f"processes were left behind: {', '.join(map(described, left))}")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Witness:
    """A thread that only sleeps, and knows how late it was woken at most."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._over.wait(WITNESS_S):
            now = time.monotonic()
            self.late_s = max(self.late_s, now - before - WITNESS_S)
            before = now

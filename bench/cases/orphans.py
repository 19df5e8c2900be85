"""What is left when supervisors are killed: tasks with children of all kinds, processes killed with SIGKILL.

Each round starts a client with two workers, whose tasks start plain children, new sessions, such without an
environment, double-forked daemons, processes that ignore signals or change their name, a hundred at once, and one that
forks on and on. Then the supervisor is killed, by turns alone, with its zygote, and with its client; half of the rounds
without cgroups.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from bench.cases.case import MESH, Case, Figures, Reach, median
from bench.peers.peer import Peer

LEFT_AFTER_S = 2.0
GIVE_UP_S = 10.0
VICTIMS = ("node", "node and zygote", "zygote and node", "client and node", "client")
CGROUPS = {"without cgroups": "0", "with cgroups": "1"}
LEFT, GONE = "processes_left", "gone_after_s"


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen of one round: how many processes there were and were left, files, and seconds to the last end."""

    processes: int
    left: int
    gone_after_s: float
    files_left: int


def play(victims: str, cgroups: str) -> Round:
    """Play one round and return what was seen."""
    from tests.mesh import runaways

    with tempfile.TemporaryDirectory(prefix="own-") as folder:
        temporary = os.path.join(folder, "tmp")
        told = os.path.join(folder, "told")
        os.mkdir(temporary)
        os.mkdir(told)
        env = {**os.environ, "ZMQTASKS_CGROUPS": cgroups, "TMPDIR": temporary}
        command = [sys.executable, "-m", "tests.mesh.runaways", told]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as client:
            assert client.stdout is not None
            try:
                node = int(client.stdout.readline().split()[1])
                pids = {"client": client.pid, "node": node, "zygote": runaways.zygote_of(node)}
                number = runaways.brand(pids["zygote"])
                assert number is not None
                before = len(runaways.living(number))
                for name in victims.split(" and "):
                    os.kill(pids[name], signal.SIGKILL)
            finally:
                client.kill()
            killed_s = time.monotonic()
        last_s, left = _watch(number, killed_s)
        files = os.listdir(temporary)
    return Round(before, len(left), last_s - killed_s, len(files))


def _watch(number: int, killed_s: float) -> tuple[float, list[str]]:
    """Return when the last process had gone, and what was left after two seconds.

    One that forks on and on may hide from a look: so it looks on until the two seconds are over.
    """
    from tests.mesh import runaways

    last_s, left = killed_s, None
    while (now := time.monotonic()) - killed_s < GIVE_UP_S:
        living = runaways.living(number)
        if living:
            last_s = time.monotonic()
        if now - killed_s > LEFT_AFTER_S:
            left = living if left is None else left
            if not living:
                break
        time.sleep(0.01)
    return last_s, left or []


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Play a round for each choice of victims."""
    started = time.perf_counter()
    rounds = [play(victims, CGROUPS[variant]) for victims in VICTIMS]
    return {
        "seconds": time.perf_counter() - started,
        LEFT: sum(each.left for each in rounds),
        "files_left": sum(each.files_left for each in rounds),
        GONE: median([each.gone_after_s for each in rounds]),
        "gone_after_most_s": max(each.gone_after_s for each in rounds),
        "processes": sum(each.processes for each in rounds),
    }


def _none_left(variant: str) -> Reach:
    return Reach(f"{variant}: left after 2 s", lambda at: at(MESH, LEFT, variant), most=0, unit="processes")


CASE = Case(
    "W6",
    "orphans",
    "seconds until all is gone that tasks had started, of a node that was killed",
    measure,
    GONE,
    less_is_better=True,
    variants=tuple(CGROUPS),
    sizes=(len(VICTIMS), len(VICTIMS)),
    demand=None,
    reaches=tuple(_none_left(variant) for variant in CGROUPS),
    quick=(),
)

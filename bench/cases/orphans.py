"""What is left when supervisors are killed: tasks with children of all kinds, processes killed with SIGKILL.

    python -m bench.cases.orphans [--rounds 100] [--out bench/results/orphans.jsonl]

Each round starts a client with two workers, whose tasks start plain children, new sessions, such without an
environment, double-forked daemons, processes that ignore signals or change their name, a hundred at once, and one that
forks on and on. Then the supervisor is killed, by turns alone, with its zygote, and with its client; half of the rounds
without cgroups. A line a round tells how many processes there were, how many were left after 2 s, and when the last one
had gone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time

import zmqtasks
from tests.mesh import runaways

LEFT_AFTER_S = 2.0
GIVE_UP_S = 10.0
VICTIMS = ("node", "node and zygote", "zygote and node", "client and node", "client")


def play(victims: str, cgroups: str) -> dict[str, object]:
    """Play one round and return its record."""
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
    return {
        "victims": victims,
        "cgroups": cgroups == "1",
        "processes": before,
        "left_after_2_s": len(left),
        "gone_after_s": round(last_s - killed_s, 3),
        "files_left": len(files),
    }


def _watch(number: int, killed_s: float) -> tuple[float, list[str]]:
    """Return when the last process had gone, and what was left after two seconds.

    One that forks on and on may hide from a look: so it looks on until the two seconds are over.
    """
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


def main() -> None:
    """Play all rounds, print a line each and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", default=None, help="append the summary to this file")
    arguments = parser.parse_args()
    rounds = []
    for n in range(arguments.rounds):
        rounds.append(play(VICTIMS[n % len(VICTIMS)], str(n // len(VICTIMS) % 2)))
        print(json.dumps(rounds[-1]), flush=True)
    gone = sorted(float(str(r["gone_after_s"])) for r in rounds)
    summary = {
        "date": time.strftime("%Y-%m-%d"),
        "case": "orphans",
        "rounds": len(rounds),
        "rounds_with_processes_left_after_2_s": sum(bool(r["left_after_2_s"]) for r in rounds),
        "rounds_with_files_left": sum(bool(r["files_left"]) for r in rounds),
        "gone_after_s": {"median": gone[len(gone) // 2], "most": gone[-1]},
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "zmqtasks": zmqtasks.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    print(json.dumps(summary))
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()

"""Several scenarios at a time, each a process of its own: most of them wait more than they compute.

Owns these processes and ends them with this one. What they print goes where this one prints, whole lines with the name
of the scenario. Called by `__main__.py`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.mesh.chaos.roles import die_with_parent

POLL_S = 0.1
END_S = 60.0


def run_together(names: Sequence[str], options: Sequence[str], most: int) -> int:
    """Run scenarios, `most` of them at a time, and return the worst exit code.

    Args:
        names: of the scenarios.
        options: words of the command line for each.
        most: processes at a time.
    """
    waiting, running, worst = list(names), list[subprocess.Popen[bytes]](), 0
    try:
        while waiting or running:
            while waiting and len(running) < most:
                line = [sys.executable, "-m", "tests.mesh.chaos", waiting.pop(0), *options]
                running.append(subprocess.Popen(line, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent))
            time.sleep(POLL_S)
            worst = max([worst, *(abs(one.returncode) for one in running if one.poll() is not None)])
            running = [one for one in running if one.returncode is None]
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait(END_S)
    return worst

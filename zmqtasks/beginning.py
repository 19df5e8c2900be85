"""The first moments of a node that a program starts for itself: its zygote is forked before it imports what is its own.

Owns their order. Node and zygote share what both need, and the one goes on while the other waits for its settings.
Never used by the commands, whose process has imported much by then; `embedded/launching.py` launches it.
"""

from __future__ import annotations

import gc

# What is imported here stays until the end: to look for garbage in it would take a tenth of the time.
gc.disable()

from zmqtasks.processes.first_zygote import fork_zygote  # noqa: E402


def main(report_fd: int) -> None:
    """Be the node of the program that launched this one, until it is gone."""
    zygote = fork_zygote(report_fd)

    from zmqtasks import serving

    gc.freeze()
    gc.enable()
    serving.main(report_fd, zygote)

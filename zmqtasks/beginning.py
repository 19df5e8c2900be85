"""The first moments of a node that a program starts for itself, and its last one.

Owns their order: the zygote is forked before the node imports what is its own. Node and zygote share what both need,
and the one goes on while the other waits for its settings. Never used by the commands, whose process has imported much
by then; `embedded/launching.py` launches it.
"""

from __future__ import annotations

import gc

# What is imported here stays until the end: to look for garbage in it would take a tenth of the time.
gc.disable()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from zmqtasks.processes.first_zygote import fork_zygote  # noqa: E402


def main(report_fd: int) -> None:
    """Be the node of the program that launched this one, until it is gone."""
    gc.freeze()  # before the fork: a collection in one of the two must not touch, and so copy, what they share
    zygote = fork_zygote(report_fd)

    # asyncio does without where it is missing; nothing here speaks TLS, and to load it takes 5 ms.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    from zmqtasks import serving

    del sys.modules["ssl"]
    gc.freeze()
    gc.enable()
    try:
        serving.main(report_fd, zygote)
    except SystemExit as end:
        _leave(int(end.code or 0))
    _leave(0)


def _leave(code: int) -> None:
    """End without taking the interpreter apart: that takes 20 ms, and whoever closes us waits for it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)

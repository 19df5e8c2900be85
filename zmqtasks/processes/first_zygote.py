"""A zygote that is forked from its node's first moments, where another would have to be executed (Linux).

Owns the fork. The node must have one thread then, and must have imported nothing that workers shall not have. What it
loses by a fork is its environment's mark in /proc, so there is none where the brand cannot stand for it. Called by
`beginning.py`; `zygote_spawner.py` takes what it returns, and executes any later zygote.
"""

from __future__ import annotations

import os
import socket
import traceback
from typing import NamedTuple

from zmqtasks.processes import brand, linux, zygote
from zmqtasks.processes.exits import reap


class FirstZygote(NamedTuple):
    """A zygote that waits for its settings."""

    pid: int
    control: socket.socket

    def dismiss(self) -> None:
        """End it: it is not needed."""
        self.control.close()
        reap(self.pid)


def fork_zygote(*private_fds: int) -> FirstZygote | None:
    """Fork a zygote, or return None where it has to be executed.

    Args:
        private_fds: descriptors that it and its workers shall not hold.
    """
    if not linux.AVAILABLE or not brand.can_be_put() or linux.count_threads() > 1:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return FirstZygote(pid, ours)
    try:
        ours.close()
        _settle(private_fds)
        zygote.main(theirs.detach())
    except BaseException:  # nothing may run on in the code of the node
        traceback.print_exc()
    finally:
        os._exit(1)


def _settle(private_fds: tuple[int, ...]) -> None:
    """Have what a zygote has that was executed: a session of its own, and no lifeline."""
    os.setsid()
    for fd in private_fds:
        os.close(fd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

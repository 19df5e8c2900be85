"""`worker --systemd`: a unit that runs the node which the command line describes.

Owns the text of the unit and how systemd reads a command line. Installs nothing. Called by `worker`.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path

MARGIN_S = 30
"""So much longer than a drain may take waits systemd, before it kills."""

UNIT = """\
# Made by: zmqtasks {command}
# Put it into /etc/systemd/system/zmqtasks.service, then: systemctl enable --now zmqtasks

[Unit]
Description=zmqtasks node
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart={start}
WorkingDirectory={folder}
User={user}
# SIGTERM drains the node, which ends its workers itself; what is left of them when time is up is killed.
KillMode=mixed
TimeoutStopSec={stop}
# A node that was drained or stopped has ended in order, and stays so.
Restart=on-failure
RestartSec=2
LimitNOFILE=1048576
# The kernel may kill a worker that takes all the memory: the node goes on, and tells what became of its task.
OOMPolicy=continue
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""


def unit(args: Sequence[str], drain_timeout_s: float | None) -> str:
    """Return a unit.

    Args:
        args: of this command, with --systemd among them.
        drain_timeout_s: how long a drain may take, or None for no bound.
    """
    kept = [arg for arg in args if arg != "--systemd"]
    return UNIT.format(
        command=" ".join(kept),
        start=" ".join(map(quoted, (sys.executable, "-m", "zmqtasks", *kept))),
        folder=str(Path.cwd()).replace("%", "%%"),
        user=pwd.getpwuid(os.getuid()).pw_name,
        stop="infinity" if drain_timeout_s is None else f"{drain_timeout_s + MARGIN_S:.0f}s",
    )


def quoted(word: str) -> str:
    """Return a word as systemd reads it: in quotes where need be, and nothing in it stands for something else."""
    for sign, doubled in (("\\", "\\\\"), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, doubled)
    if word and not set(word) & set(" \t\"';"):
        return word
    escaped = word.replace('"', '\\"')
    return f'"{escaped}"'

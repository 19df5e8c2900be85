"""How the far program of a host is reached.

A launcher is one small class: it returns the command line of a program here whose standard input and output are those
of `far.py` there. `srun` and `kubectl exec -i` are such programs as well. Starts nothing itself; `host_run.py` does.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from zmqtasks.cluster.hosts import Host
from zmqtasks.records import Value

FAR = "zmqtasks.cluster.far"


class Forward(Value):
    """A way for Unix sockets: whoever connects to `entry` reaches `exit`; `back` where the entry is on the far side."""

    entry: str
    exit: str
    back: bool = False


class Launcher(Protocol):
    """How the far program of a host is reached."""

    def command(self, host: Host) -> list[str]:
        """Return the command line that connects with the far program."""

    def forward(self, host: Host, forwards: Sequence[Forward], *, cancel: bool = False) -> list[str]:
        """Return the command line that opens ways beside a connection that stands, or closes them."""

    def why_lost(self, code: int) -> str | None:
        """Return why a connection ended with this exit code, or None where the code is that of the far program."""


class SshLauncher:
    """Through the system's own ssh: so that ~/.ssh/config, agents, keys and jump hosts hold.

    Args:
        options: of the command ssh.
        folder: for control sockets; without, no connection can be asked for ways, and those of the user hold.
    """

    FAILED = 255

    def __init__(self, options: Sequence[str] = (), folder: Path | None = None) -> None:
        self._options = list(options)
        self._folder = folder
        self._numbers: dict[str, int] = {}

    def command(self, host: Host) -> list[str]:
        """Return the command line that connects with the far program."""
        ways = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", *self._control(host)] if self._folder else []
        # A connection that nobody answers is given up after 15 s; what one types at a prompt nobody would see.
        alive = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
        settings = [word for setting in (*alive, "StreamLocalBindMask=0177") for word in ("-o", setting)]
        return ["ssh", "-T", *settings, *ways, *self._options, host.ssh, shlex.join([interpreter(host), "-m", FAR])]

    def forward(self, host: Host, forwards: Sequence[Forward], *, cancel: bool = False) -> list[str]:
        """Return the command line that opens ways beside a connection that stands, or closes them."""
        words = [w for way in forwards for w in ("-R" if way.back else "-L", f"{way.entry}:{way.exit}")]
        return [
            "ssh", *self._control(host), "-O", "cancel" if cancel else "forward",
            "-o", "StreamLocalBindMask=0177", *words, *self._options, host.ssh,
        ]  # fmt: skip

    def why_lost(self, code: int) -> str | None:
        """Return why a connection ended with this exit code, or None where the code is that of the far program."""
        return f"ssh ended with exit code {code}" if code == self.FAILED or code < 0 else None

    def _control(self, host: Host) -> list[str]:
        number = self._numbers.setdefault(host.name, len(self._numbers))
        return ["-o", f"ControlPath={self._folder}/ssh-{number}"]


def interpreter(host: Host) -> str:
    """Return the Python of a host; a path is from the home folder, where ssh begins: a shell may not expand "~"."""
    path = f"{host.venv.rstrip('/')}/bin/python" if host.venv else host.python or "python3"
    return path.removeprefix("~/")

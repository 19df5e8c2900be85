"""Real sshd servers, each with keys and a configuration of its own, and the ssh configuration by which one gets in.

Nothing of the user's or the machine's ssh is read or written, but for the folder /run/sshd, which a server that is
started by root wants. Each can run in a namespace of its own: see `netns.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.waiting import wait_until

SERVER = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
"""
CLIENT = """
Host *
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""
HOST = """
Host {name}
  HostName {address}
  Port {port}
"""


def missing() -> str:
    """Return why there can be no servers here, or nothing."""
    if absent := [tool for tool in ("ssh", "ssh-keygen", "/usr/sbin/sshd") if shutil.which(tool) is None]:
        return f"{', '.join(absent)} not installed; on Debian: apt install openssh-server"
    if os.geteuid() != 0:
        return "sshd lets only root log in as somebody"
    return ""


class Servers:
    """Some servers and the way to them; a context manager.

    Args:
        folder: for keys, configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.config = folder / "ssh_config"

    def __enter__(self) -> Servers:
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("key", "host_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)]
            subprocess.run(command, check=True)
        (self._folder / "authorized_keys").write_bytes((self._folder / "key.pub").read_bytes())
        self.config.write_text(CLIENT.format(folder=self._folder, user="root"))
        return self

    def start(
        self,
        name: str,
        address: str,
        port: int,
        within: Callable[..., list[str]] = lambda *command: list(command),
        environment: Sequence[str] = (),
    ) -> None:
        """Start a server that ssh finds by `name`; `within` puts its command line on another host.

        What it starts gets this environment beside the least that sshd gives: "NAME=VALUE" each.
        """
        if f"Host {name}\n" not in (text := self.config.read_text()):
            self.config.write_text(HOST.format(name=name, address=address, port=port) + text)
        config = self._folder / f"{name}.conf"
        settings = f"SetEnv {' '.join(environment)}\n" if environment else ""
        config.write_text(SERVER.format(port=port, address=address, folder=self._folder) + settings)
        log = self._folder / f"{name}.log"
        command = within("/usr/sbin/sshd", "-D", "-f", str(config), "-E", str(log))
        self._processes[name] = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
        wait_until(lambda: log.exists() and "listening" in log.read_text(), log.read_text if log.exists() else None)

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10.0)
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port of the loopback address that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs_with(variable: str) -> list[tuple[int, str]]:
    """Return the processes that have this setting, "NAME=VALUE", in their environment, with their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(folder.name), line[:200]))
    return found

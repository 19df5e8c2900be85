"""The far side of a cluster: a program that keeps one node for as long as somebody holds its standard input.

    python -m zmqtasks.cluster.far

It is started through ssh, or whatever else connects its standard input and output with a keeper (`host_run.py`). The
first line of input are its settings; a key and a copy of the source come with them, and never on a command line. Later
lines are "beat", "drain", "stop" and "forget NAME". Each line of output is an event in JSON. When the input ends, or
nothing comes for a minute, nobody is left: the node is drained, then stopped, and nothing of it stays on this host.

Owns the node's process and its folders. Decides nothing about the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import platform
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import zmqtasks
from zmqtasks.options import MIB
from zmqtasks.processes.command import python_command
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.processes.program import Program, start_program

VERSION = 1
"""Of what is said between the two sides."""
SILENCE_S = 60.0
"""The other side says "beat" every five seconds; a connection that broke without a word may look open for hours."""
STOP_S = 10.0
"""How long a node may take that was told to stop at once."""
MOST_WAITING = 4 * MIB
"""Of output that the connection does not take; more is dropped, for the node must not stand still over it."""
TOKEN = re.compile(r"[0-9a-f]{16}")
"""Name of a socket that leads to a client."""
_READY = re.compile(r"zmqtasks: node [0-9a-f]+ ready at (?P<endpoints>.*), \d[\d,]* workers?$")


class _Events:
    """Standard output, as events; what it does not take waits, and never holds us up."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._dropped = 0

    def tell(self, event: str, **values: Any) -> None:
        """Tell the other side of something that cannot be left out."""
        if not self._transport.is_closing():
            self._transport.write(json.dumps({"event": event, **values}).encode() + b"\n")

    def log(self, line: str) -> None:
        """Pass on a line of the node."""
        if self._transport.get_write_buffer_size() > MOST_WAITING:
            self._dropped += 1
            return
        if self._dropped:
            self.tell("log", text=f"({self._dropped} lines were dropped here: the connection did not take them)")
            self._dropped = 0
        self.tell("log", text=line)


class _Far:
    """One node, from the settings to its end."""

    def __init__(self, reader: asyncio.StreamReader, events: _Events) -> None:
        self._reader = reader
        self._events = events
        self._draining = False
        self._settings: dict[str, Any] = {}

    async def run(self) -> int:
        """Be the far side; return the exit code."""
        line = await self._reader.readline()
        if not line:
            return 0
        self._settings = settings = json.loads(line)
        if settings.get("version") != VERSION:
            self._events.tell("failed", reason=f"this zmqtasks is {zmqtasks.__version__}; install the same on both")
            return 1
        with contextlib.ExitStack() as left:
            folder = PrivateFolder()
            left.callback(folder.close)
            try:
                node = await self._start(folder.path)
            except (OSError, tarfile.TarError) as error:
                self._events.tell("failed", reason=str(error))
                return 1
            return await self._keep(node, folder.path)

    async def _start(self, folder: Path) -> Program:
        settings = self._settings
        cwd, command = Path.home(), [*python_command("zmqtasks.cli"), "worker", *self._place(folder)]
        if settings["source_bytes"]:
            cwd = folder / "source"
            packed = await self._reader.readexactly(settings["source_bytes"])
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(cwd, filter="data")
            command += ["--python-path", str(cwd)]
        if settings["folder"]:
            cwd = Path.home() / settings["folder"]
        if settings["key"]:
            key = folder / "mesh.key"
            key.touch(mode=0o600)
            key.write_text(settings["key"])
            command += ["--key", str(key)]
        command += settings["worker"]
        return await start_program(
            command, env={**os.environ, **settings["env"]}, cwd=str(cwd), merged=True, bound=True
        )

    def _place(self, folder: Path) -> list[str]:
        """Return where the node shall listen: nowhere but for this user, or where our connection has come to."""
        settings = self._settings
        if settings["tunnel"]:
            return ["--local", "--tunnels", str(folder)]
        bind = settings["bind"] or f"{_own_address()}:0"
        place = ["--bind", bind, *(["--advertise", settings["advertise"]] if settings["advertise"] else [])]
        return place + (["--insecure", "--key", ""] if settings["insecure"] else [])

    async def _keep(self, node: Program, folder: Path) -> int:
        listening = asyncio.create_task(self._listen(node, folder))
        try:
            async for line in node.output():
                if ready := _READY.match(line):
                    self._tell_ready(ready["endpoints"].split(", "), folder)
                self._events.log(line)
            code = await node.wait()
        finally:
            listening.cancel()
        self._events.tell("ended", code=code)
        return 0 if code in (0, 130) else 1

    def _tell_ready(self, endpoints: list[str], folder: Path) -> None:
        versions = {"python": platform.python_version(), "zmqtasks": zmqtasks.__version__}
        self._events.tell("ready", standing={"endpoints": endpoints, "tunnels": str(folder), "versions": versions})

    async def _listen(self, node: Program, folder: Path) -> None:
        """Do what the other side says; when it says nothing more, end the node."""
        while True:
            try:
                line = (await asyncio.wait_for(self._reader.readline(), SILENCE_S)).decode()
            except (TimeoutError, OSError):
                break
            word, _, name = line.strip().partition(" ")
            if not line:
                break
            if word == "forget" and TOKEN.fullmatch(name):
                (folder / name).unlink(missing_ok=True)
            elif word in ("drain", "stop"):
                self._stop(node, at_once=word == "stop")
        self._events.log("zmqtasks: nobody holds this node any more: it ends")
        self._stop(node, at_once=False)
        await asyncio.sleep(self._settings["grace_s"])
        self._stop(node, at_once=True)
        await asyncio.sleep(STOP_S)
        node.kill()

    def _stop(self, node: Program, *, at_once: bool) -> None:
        """Send the node the signals it knows: one drains it, a second one ends it."""
        if not self._draining:
            self._draining = True
            node.terminate()
        if at_once:
            node.interrupt()


def _own_address() -> str:
    """Return the address of this host at which the other side has arrived, as sshd tells it; else that of loopback."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    address = words[2] if len(words) == 4 else "127.0.0.1"
    return f"[{address}]" if ":" in address else address


async def _main() -> int:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 * MIB)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    code = await _Far(reader, _Events(transport)).run()
    transport.close()
    for _ in range(100):  # what was told last is on its way; nobody may be left to take it
        if transport.get_write_buffer_size() == 0:
            break
        await asyncio.sleep(0.05)
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))

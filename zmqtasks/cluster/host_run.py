"""One host of a cluster, from the start of its far program to its end.

Owns the program that connects with it, and hands it all it needs: settings, key, source. Tells what became of it as an
event of `machines/fleet.py`, and tries nothing again. Called by `keeper.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from zmqtasks.cluster import far
from zmqtasks.cluster.hosts import ClusterPlan, Host
from zmqtasks.cluster.launcher import Forward, Launcher, interpreter
from zmqtasks.errors import ClusterError
from zmqtasks.machines import fleet
from zmqtasks.options import MIB
from zmqtasks.processes.program import Program, start_program
from zmqtasks.records import Entity

BEAT_S = 5.0
START_S = 90.0
"""How long a host may take from the first connection to its ready node."""
FORWARD_S = 15.0
END_MARGIN_S = 2 * far.STOP_S
MOST_SOURCE = 32 * MIB
LEFT_OUT = ("__pycache__", "node_modules")


class Standing(Entity):
    """What the far side has told of its node."""

    endpoints: list[str]
    tunnels: str
    """Folder there for the sockets that lead to programs here."""
    versions: dict[str, str]


class HostRun:
    """One life of a host.

    Args:
        host: which.
        plan: of the cluster.
        launcher: by which the far program is reached.
        log: gets each line that comes from there.
        on_ready: told once, when its node takes work.
    """

    def __init__(
        self,
        host: Host,
        plan: ClusterPlan,
        launcher: Launcher,
        log: TextIO,
        on_ready: Callable[[HostRun, Standing], object],
    ) -> None:
        self._host, self._plan, self._launcher = host, plan, launcher
        self._log, self._on_ready = log, on_ready
        self.members: set[str] = set()
        """Programs here that its node can reach through tunnels."""
        self._program: Program | None = None
        self._ended: int | None = None
        self._failed = ""
        self._heard = False
        self._last_words = ""
        self._was_ready = asyncio.Event()
        self._stopping = ""

    @property
    def name(self) -> str:
        """Return the name of its host."""
        return self._host.name

    async def run(self) -> fleet.Event:
        """Live, and return how it ended."""
        name = self._host.name
        try:
            settings = await asyncio.to_thread(self._settings)
            program = self._program = await start_program(self._launcher.command(self._host), bound=True)
        except (OSError, ClusterError) as error:
            return fleet.HostBroken(name, str(error))
        watching: list[asyncio.Task[None]] = []
        try:
            program.write(settings)
            watching = [asyncio.create_task(job) for job in (self._beat(program), self._give_up(program))]
            await asyncio.gather(self._read_events(program.output()), self._read_errors(program.errors()))
            code = await program.wait()
        finally:
            for task in watching:
                task.cancel()
            program.kill()
        return self._verdict(code)

    def stop(self, *, now: bool) -> None:
        """Have the node end: in order, or at once."""
        self._stopping = "stop" if now else self._stopping or "drain"
        if self._program is not None:
            self._program.write(f"{self._stopping}\n".encode())
            patience_s = END_MARGIN_S + (0.0 if now else self._plan.grace_s)
            asyncio.get_running_loop().call_later(patience_s, self._program.kill)

    def give_up(self, reason: str) -> None:
        """End this life: it is of no use."""
        self._failed = reason
        if self._program is not None:
            self._program.kill()

    def forget(self, name: str) -> None:
        """Have a socket removed that nobody listens at any more."""
        if self._program is not None:
            self._program.write(f"forget {name}\n".encode())

    async def forward(self, forwards: Sequence[Forward], *, cancel: bool = False) -> None:
        """Open ways beside the connection, or close them.

        Raises:
            ClusterError: they cannot be opened; the text says why.
        """
        command = self._launcher.forward(self._host, forwards, cancel=cancel)
        program = await start_program(command, merged=True, bound=True)
        program.close_input()
        said: list[str] = []
        try:
            async with asyncio.timeout(FORWARD_S):
                said = [line async for line in program.output()]
                code = await program.wait()
        except TimeoutError:
            code = -1
        finally:
            program.kill()
        if code:
            reason = "; ".join(filter(None, map(str.strip, said))) or "no answer"
            raise ClusterError(f"{self._host.name}: no tunnel through ssh: {reason}")

    def _settings(self) -> bytes:
        """Return the first line, and the source that follows it.

        Raises:
            ClusterError: the key or the source cannot be read.
        """
        host, plan = self._host, self._plan
        workers = [] if host.workers is None else ["--workers", str(host.workers)]
        source = packed(Path(host.source)) if host.source else b""
        try:
            key = Path(plan.key).read_text() if plan.key and not plan.tunnel else None
        except OSError as error:
            raise ClusterError(f"cannot read the key {plan.key}: {error.strerror}") from error
        settings = {
            "version": far.VERSION,
            "tunnel": plan.tunnel,
            "bind": host.bind,
            "advertise": host.advertise,
            "insecure": plan.insecure,
            "key": key,
            "folder": host.folder,
            "env": host.env,
            "worker": [*workers, *(host.options or ())],
            "source_bytes": len(source),
            "grace_s": plan.grace_s,
        }
        return json.dumps(settings).encode() + b"\n" + source

    async def _beat(self, program: Program) -> None:
        while True:
            if self._stopping:
                program.write(f"{self._stopping}\n".encode())
            program.write(b"beat\n")
            await asyncio.sleep(BEAT_S)

    async def _give_up(self, program: Program) -> None:
        try:
            await asyncio.wait_for(self._was_ready.wait(), START_S)
        except TimeoutError:
            self._last_words = self._last_words or f"its node was not ready after {START_S:g} s"
            program.kill()

    async def _read_events(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            event = _event(line)
            self._heard |= event is not None
            match event:
                case {"event": "log", "text": str(text)}:
                    self._note(text)
                case {"event": "ready", "standing": dict(told)}:
                    self._was_ready.set()
                    self._on_ready(self, Standing(**told))
                case {"event": "failed", "reason": str(reason)}:
                    self._failed = reason
                case {"event": "ended", "code": int(code)}:
                    self._ended = code
                case _:
                    self._note(line)  # what a login shell greets with

    async def _read_errors(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            self._note(line)

    def _note(self, line: str) -> None:
        if line.strip():
            self._last_words = line.strip()
        with contextlib.suppress(OSError, ValueError):  # a full disk here is no reason to lose a host
            self._log.write(line + "\n")
            self._log.flush()

    def _verdict(self, code: int) -> fleet.Event:
        name = self._host.name
        if self._stopping or self._ended in (0, 130):
            return fleet.HostEnded(name)
        if self._failed:
            return fleet.HostBroken(name, self._failed)
        if self._ended is not None and not self._was_ready.is_set():
            return fleet.HostBroken(name, self._last_words)
        if (why := self._launcher.why_lost(code)) or self._heard:
            return fleet.HostLost(name, self._last_words or why or "its node has died", random.random())
        python = interpreter(self._host)
        remedy = f"is zmqtasks installed for {python} there? Say where with python = or venv = in {self._plan.path}"
        return fleet.HostBroken(name, f"{self._last_words or f'exit code {code}'}; {remedy}")


def _event(line: str) -> dict[str, Any] | None:
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            return event if isinstance(event, dict) and "event" in event else None
    return None


def packed(folder: Path) -> bytes:
    """Return a folder as a compressed archive, without what begins with a dot, and caches.

    Raises:
        ClusterError: it cannot be read, or is larger than a source should be.
    """

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name).name
        return None if name.startswith(".") or name in LEFT_OUT else entry

    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
            for entry in sorted(folder.iterdir()):
                archive.add(entry, entry.name, filter=wanted)
    except OSError as error:
        raise ClusterError(f"cannot copy {folder}: {error}") from error
    if len(packed := buffer.getvalue()) > MOST_SOURCE:
        size = f"{len(packed) / MIB:.0f} MiB packed"
        raise ClusterError(f"{folder} has {size}; a source may have {MOST_SOURCE // MIB}: leave data elsewhere")
    return packed

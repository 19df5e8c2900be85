"""A node that this program starts for itself: launched, watched, started again where it dies.

Owns the process. Called by `thread.py`, in its loop.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from zmqtasks.embedded.launching import launch_node
from zmqtasks.errors import NoNodes
from zmqtasks.messages import Address
from zmqtasks.options import NodeOptions
from zmqtasks.processes.exits import ExitWatch
from zmqtasks.processes.launch import STOPPED, Launched
from zmqtasks.records import Value, as_dict

logger = logging.getLogger(__name__)

READY_S = 30.0
"""How long a node may take to start on a busy machine."""
CLOSE_S = 2.0
END_MARGIN_S = 2.0
"""So much longer than its workers may a node take that was asked to end."""
DEATHS = 10
"""So many deaths within `DEATHS_S` seconds, and the node is given up. One task that kills it is found before."""
DEATHS_S = 60.0
DIED = "the node of this program died, and cannot be started again"


class NodeSettings(Value):
    """What a node of our own is told: its options, and our surroundings.

    `folder` is ours; the node removes it where we die before we can.
    """

    options: NodeOptions
    initializer: bytes
    folder: str
    output: str
    finalizer: bytes = b""

    def as_config(self) -> dict[str, Any]:
        """Return the settings as JSON can carry them."""
        return {
            "options": as_dict(self.options),
            "initializer": base64.b64encode(self.initializer).decode(),
            "finalizer": base64.b64encode(self.finalizer).decode(),
            "folder": self.folder,
            "output": self.output,
            "sys_path": [entry or os.getcwd() for entry in sys.path],
        }


class OwnNode:
    """Keep one node process alive.

    Args:
        loop: watches the process.
        settings: of the node.
        on_up: given its address, returns what `on_gone` gets.
        on_gone: told that the process has died.
        on_failed: told that it is given up.
        ahead: its process, which waits for its settings already; owned from now on.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: NodeSettings,
        on_up: Callable[[Address], Any],
        on_gone: Callable[[Any], None],
        on_failed: Callable[[str], None],
        ahead: Launched | None = None,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_up, self._on_gone, self._on_failed = on_up, on_gone, on_failed
        self._ahead = ahead
        self._launched: Launched | None = None
        self._watch: ExitWatch | None = None
        self._restart: asyncio.Task[None] | None = None
        self._deaths: list[float] = []
        self._ended = asyncio.Event()
        self._closing = False
        self._handle: Any = None

    @property
    def pid(self) -> int | None:
        """Return the process id of the node, if it runs."""
        return self._launched.pid if self._launched else None

    async def start(self) -> None:
        """Launch the process and wait until it has bound its inbox.

        Raises:
            NoNodes: it could not; the text says why.
        """
        try:
            self._launched, self._ahead = self._ahead or launch_node(), None
            self._launched.configure(self._settings.as_config())
            report = await self._report(self._launched)
        except (OSError, TimeoutError) as error:
            raise NoNodes(f"the node of this program cannot be started: {error}") from error
        if not report["ok"]:
            raise NoNodes(f"the node of this program cannot be started: {report['error']}")
        self._ended.clear()
        self._watch = ExitWatch(self._loop, self._launched.pid, self._died)
        self._handle = self._on_up(Address(report["peer"], report["host"], tuple(report["endpoints"])))

    async def _report(self, launched: Launched) -> dict[str, Any]:
        """Wait for the report without a thread: an interpreter that ends can start none."""
        told = asyncio.Event()
        self._loop.add_reader(launched.fileno(), told.set)
        try:
            await asyncio.wait_for(told.wait(), READY_S)
        finally:
            self._loop.remove_reader(launched.fileno())
        return launched.report(READY_S)

    def _died(self) -> None:
        assert self._watch is not None
        assert self._launched is not None
        self._watch.close()
        self._ended.set()
        if self._closing:
            return
        code = self._launched.close(0.0)
        self._launched = None
        if code == STOPPED:
            logger.warning("a task stopped the node of this program")
            self._on_gone(self._handle)
            self._on_failed("a task stopped the node of this program, by zmqtasks.stop_node()")
            return
        logger.error("the node of this program died (exit code %d); starting it again", code)
        self._on_gone(self._handle)
        now = self._loop.time()
        self._deaths = [at for at in self._deaths if now - at < DEATHS_S] + [now]
        if len(self._deaths) >= DEATHS:
            text = f"it died {DEATHS} times within {DEATHS_S:g} s, the last time with exit code {code}"
            self._on_failed(f"{DIED}: {text}")
        else:
            self._restart = self._loop.create_task(self._start_again())

    async def _start_again(self) -> None:
        try:
            await self.start()
        except NoNodes as error:
            self._on_failed(f"{DIED}: {error}")

    async def close(self, *, in_order: bool = False) -> None:
        """End the process; idempotent.

        Args:
            in_order: workers that have nothing to do may run finalizer and exit handlers first, within `end_timeout`.
        """
        if self._restart:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        self._closing = True
        if self._launched and self._watch:
            if in_order:
                self._launched.ask_to_end()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), self._settings.options.end_timeout + END_MARGIN_S)
            self._launched.hang_up()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), CLOSE_S)
            self._watch.close()
        if self._launched:
            self._launched.close(0.0)
            self._launched = None

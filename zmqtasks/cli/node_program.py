"""A node as a program: ready line, and what signals mean to it. One drains the node, a second ends it at once.

Owns nothing of the node itself. Called by `worker`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

from zmqtasks.beacon import Announcer
from zmqtasks.cli.exits import Exit, Refusal, count, say
from zmqtasks.cli.functions import search_here
from zmqtasks.cli.interrupts import LoopInterrupts
from zmqtasks.cli.summary import Account, tell
from zmqtasks.node.shell import Node
from zmqtasks.options import NodeOptions
from zmqtasks.place import Place
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.records import Value, replace
from zmqtasks.seeds import Seeds
from zmqtasks.serving import WorkerSettings, open_node
from zmqtasks.transport.turning import run
from zmqtasks.wire import payload

WATCH_S = 1.0
"""How often is looked for a file that calls for a drain."""


class Surroundings(Value):
    """What a node watches beside its sessions.

    Args:
        join: where other nodes are; see `seeds.py`.
        beacon: name under which it announces itself on the local network; None for not at all.
        drain_file: the node drains as soon as it exists.
        summary: file for the account of its run.
    """

    join: tuple[str, ...] = ()
    beacon: str | None = None
    drain_file: str | None = None
    summary: str | None = None


def be_node(place: Place, folders: Sequence[str], own: dict[str, Any], around: Surroundings) -> int:
    """Be `zmqtasks worker`; return the exit code.

    Args:
        place: where its inbox is, and the key of the mesh.
        folders: where to look for modules first.
        own: fields of `NodeOptions`, where None means that nothing was said; and `initializer` and `finalizer`,
            "module:function" each.
        around: what it watches.

    Raises:
        BindError: the address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    search_here(*folders)
    # By name: this process watches over tasks, and shall not run what they import.
    functions = [payload.pack_name(name) if name else b"" for name in (own.pop("initializer"), own.pop("finalizer"))]
    settings = WorkerSettings(initializer=functions[0], finalizer=functions[1])
    node_options = NodeOptions(**{name: value for name, value in own.items() if value not in (None, ())})
    return run(_serve(place, node_options, settings, around))


async def _serve(place: Place, node_options: NodeOptions, settings: WorkerSettings, around: Surroundings) -> int:
    """Be the node.

    Raises:
        BindError: the address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    loop = asyncio.get_running_loop()
    drained = asyncio.Event()
    folder = PrivateFolder()
    try:
        place = replace(place, folder=folder.path)
        settings = replace(settings, cleanup_dir=str(folder.path))
        try:
            node = open_node(loop, place, node_options, settings, drained.set)
        except (OSError, ValueError) as error:
            raise Refusal(Exit.FAILED, f"the node cannot start: {error}") from error
        account = Account(node.address.peer, node_options.worker_count())
        interrupts = LoopInterrupts(loop, on_first=lambda: _drain(node), on_second=drained.set)
        if around.drain_file is not None:
            _watch(loop, around.drain_file, node)
        workers = count(node_options.worker_count(), "worker")
        say(f"node {node.address.peer} ready at {', '.join(node.address.endpoints)}, {workers}")
        seeds = Seeds(around.join, node.join, random.random)
        seeds.open()
        announcer = Announcer(around.beacon, node.address.endpoints) if around.beacon else None
        await drained.wait()
        await seeds.close()
        if announcer:
            announcer.close()
        node.close()
    finally:
        folder.close()
    code = Exit.INTERRUPTED if interrupts.count > 1 else Exit.OK
    why = "stopped" if interrupts.count > 1 else "a task asked for it" if node.stop_requested else "drained"
    tell(account.closed(node.metrics(), code, why), around.summary)
    return code


def _watch(loop: asyncio.AbstractEventLoop, path: str, node: Node) -> None:
    """Drain as soon as a file exists; look each second."""
    if os.path.exists(path):
        say(f"{path} is there")
        _drain(node)
    else:
        loop.call_later(WATCH_S, _watch, loop, path, node)


def _drain(node: Node) -> None:
    say("draining: what runs is finished, nothing new is taken; once more to stop at once")
    node.drain()

"""Roles as programs: a node or a sink on an asyncio loop, until it is told to end.

Owns the main loop of such a program. Called by the commands `worker` and `sink`, and as the process that
`embedded/own_node.py` launches.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zmqtasks.errors import ZmqtasksError
from zmqtasks.messages import PeerId
from zmqtasks.neighbours import Company
from zmqtasks.node.shell import Node
from zmqtasks.node.workers import Workers, staffing_of
from zmqtasks.options import Limits, NodeOptions
from zmqtasks.place import Place, open_peer
from zmqtasks.processes.first_zygote import FirstZygote
from zmqtasks.processes.flight_recorder import identity_of, open_recorder
from zmqtasks.processes.folder import PrivateFolder, remove_if_abandoned
from zmqtasks.processes.lanes import LanedWorkers
from zmqtasks.processes.launch import STOPPED, Lifeline
from zmqtasks.processes.setup import Setup
from zmqtasks.processes.voice import OutputStyle
from zmqtasks.processes.worker import Settings
from zmqtasks.processes.workforce import Workforce
from zmqtasks.records import Value
from zmqtasks.transport.turning import run

logger = logging.getLogger(__name__)

DEFECT = 70
"""Exit code after a defect of this program; EX_SOFTWARE of sysexits.h."""


class WorkerSettings(Value):
    """What a node's workers need beside `NodeOptions`."""

    initializer: bytes = b""
    sys_path: Sequence[str] | None = None
    cleanup_dir: str | None = None
    owner_dir: str | None = None
    output: str = "inherit"
    finalizer: bytes = b""
    clients_alone: bool = False
    """Whether output that a client asks for is kept from ours: it appears there."""


def open_node(
    loop: asyncio.AbstractEventLoop,
    place: Place,
    options: NodeOptions,
    settings: WorkerSettings,
    on_drained: Callable[[], None],
    zygote: FirstZygote | None = None,
) -> Node:
    """Return a node that takes work; `zygote` is one that waits for its settings already, or None.

    Raises:
        BindError: an endpoint cannot be bound.
    """
    peer = open_peer(loop, place)
    slots = len(staffing_of(options).numbers())
    # The node of a program is known to the next one by that program's folder.
    identity = identity_of(place.bind) or settings.owner_dir or ""
    recorder = open_recorder(identity, peer.id, slots) if options.lanes == 1 else None

    setup = Setup(
        slots,
        options.method,  # type: ignore[arg-type]
        options.preload,
        output=settings.output,  # type: ignore[arg-type]
        style=OutputStyle(options.label_output, settings.clients_alone),
        cleanup_dir=settings.cleanup_dir,
        owner_dir=settings.owner_dir,
    )
    told = _settings_of_a_worker(options, settings, peer.id, peer.address.host)

    def make_workforce(on_event: Callable[..., None]) -> Workforce:
        return Workforce(loop, setup, told, on_event, zygote=zygote, recorder=recorder)

    def make_workers(on_event: Callable[..., None]) -> Workers:
        if options.lanes == 1:
            return make_workforce(on_event)
        return LanedWorkers(loop, options.lanes, make_workforce, on_event)

    flight = recorder.predecessor if recorder else None
    return Node(peer, options, make_workers, on_drained=on_drained, flight=flight, company=Company(peer))


def _settings_of_a_worker(options: NodeOptions, settings: WorkerSettings, node: PeerId, host: str) -> Settings:
    """Return what each worker is told when it starts."""
    return Settings(
        supervisor=os.getpid(),
        slot=0,
        node=node,
        host=host,
        limits=Limits(),
        sys_path=list(sys.path if settings.sys_path is None else settings.sys_path),
        initializer=settings.initializer,
        finalizer=settings.finalizer,
        end_timeout_s=options.end_timeout,
        recycle_memory=options.recycle_memory,
        log_level=options.log_level,
        one_chunk=options.max_tasks_per_worker == 1,
        log_format=options.log_format,
        only=options.only,
        pickle=not options.no_pickle,
        lanes=options.lanes,
        awaits=options.concurrency > 1,
    )


def crash_on_defect(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> list[BaseException]:
    """End the program where something is raised that may not be: others notice, and run its tasks elsewhere.

    Returns:
        What was raised; empty while all is well.
    """
    defects: list[BaseException] = []

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        logger.critical("%s", context["message"], exc_info=error)
        if error is not None:
            defects.append(error)
            ended.set()

    loop.set_exception_handler(handle)
    return defects


def main(report_fd: int, zygote: FirstZygote | None = None) -> None:
    """Be the node of the program that launched this one, until it is gone."""
    lifeline = Lifeline(report_fd)
    config = lifeline.read_config()
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve_owner(lifeline, config, zygote))


async def _serve_owner(lifeline: Lifeline, config: dict[str, Any], zygote: FirstZygote | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    options = {**config["options"], "preload": tuple(config["options"]["preload"])}
    folder = PrivateFolder()
    place = Place(tuple(config.get("bind", ())), tuple(config.get("advertise", ())), folder.path)
    initializer, finalizer = (base64.b64decode(config[name]) for name in ("initializer", "finalizer"))
    settings = WorkerSettings(
        initializer,
        config["sys_path"],
        str(folder.path),
        config["folder"],
        config["output"],
        finalizer,
        clients_alone=True,
    )
    try:
        node = open_node(loop, place, NodeOptions(**options), settings, ended.set, zygote)
    except (ZmqtasksError, OSError, ValueError) as error:
        folder.close()
        lifeline.report_error(str(error))
        return
    defects = crash_on_defect(loop, ended)
    lifeline.watch(loop, ended.set, node.end)
    address = node.address
    lifeline.report(peer=address.peer, host=address.host, endpoints=list(address.endpoints))
    await ended.wait()
    node.close()
    folder.close()
    remove_if_abandoned(Path(config["folder"]))
    if defects:
        raise SystemExit(DEFECT)
    if node.stop_requested:
        raise SystemExit(STOPPED)

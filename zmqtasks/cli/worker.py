"""`zmqtasks worker`: a node, until it is told to end.

Owns the command line and what signals mean to a node: one drains it, a second ends it at once. Imports the mesh only
when it runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, Refusal, say
from zmqtasks.cli.functions import search_here
from zmqtasks.cli.interrupts import LoopInterrupts
from zmqtasks.options import NodeOptions

if TYPE_CHECKING:
    from zmqtasks.node import Node


@click.command()
@click.option(
    "--bind",
    type=options.ADDRESS,
    default=f"tcp://127.0.0.1:{options.NODE_PORT}",
    show_default=True,
    help="Listen here; port 0 for any that is free.",
)
@click.option("--advertise", type=options.ADDRESS, help="Address that others shall connect to instead.")
@click.option("--insecure", is_flag=True, help="Allow --bind to an address other machines can reach.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes; one a core by default.")
@click.option("--standby", type=click.IntRange(0), default=1, show_default=True, help="Idle processes to step in.")
@click.option("--max-tasks-per-worker", type=click.IntRange(0), default=0, help="Replace a worker after so many tasks.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it once, for all workers; repeatable.")
@click.option(
    "--python-path",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Look for modules here first, then in the current folder; repeatable.",
)
def worker(bind: str, advertise: str | None, insecure: bool, folders: tuple[str, ...], **own: Any) -> int:
    """Be a node: run the tasks that clients and ventilators send, in worker processes.

    Workers look for functions in the current folder, then among what is installed. Ctrl-C or SIGTERM once: the node
    takes nothing new, hands back what has not begun, finishes the rest and ends with exit code 0; twice: at once.

    \b
    Examples:
      zmqtasks worker
      zmqtasks worker --bind 127.0.0.1:0 --workers 4 --preload numpy
      zmqtasks worker --bind 10.0.0.7:7700 --insecure
    """
    options.check_bind(bind, advertise, insecure=insecure)
    search_here(*folders)
    return asyncio.run(_serve(bind, advertise, NodeOptions(**own)))


async def _serve(bind: str, advertise: str | None, node_options: NodeOptions) -> int:
    """Be the node.

    Raises:
        BindError: the address cannot be bound.
    """
    from zmqtasks.processes.folder import PrivateFolder
    from zmqtasks.serving import Place, WorkerSettings, open_node

    loop = asyncio.get_running_loop()
    drained = asyncio.Event()
    folder = PrivateFolder()
    try:
        place = Place((bind,), () if advertise is None else (advertise,), folder.path)
        settings = WorkerSettings(cleanup_dir=str(folder.path))
        try:
            node = open_node(loop, place, node_options, settings, drained.set)
        except (OSError, ValueError) as error:
            raise Refusal(Exit.FAILED, f"the node cannot start: {error}") from error
        interrupts = LoopInterrupts(loop, on_first=lambda: _drain(node), on_second=drained.set)
        say(f"node {node.address.peer} ready at {', '.join(node.address.endpoints)}, {_count(node_options)}")
        await drained.wait()
        node.close()
    finally:
        folder.close()
    return Exit.INTERRUPTED if interrupts.count > 1 else Exit.OK


def _drain(node: Node) -> None:
    say("draining: what runs is finished, nothing new is taken; once more to stop at once")
    node.drain()


def _count(node_options: NodeOptions) -> str:
    workers = node_options.worker_count()
    return "1 worker" if workers == 1 else f"{workers} workers"

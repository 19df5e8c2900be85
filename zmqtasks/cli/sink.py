"""`zmqtasks sink`: record results until told to end; started again with the same file, go on where it was.

Owns the command line and the count of what is recorded. Imports the mesh only when it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, Refusal, say
from zmqtasks.cli.interrupts import LoopInterrupts
from zmqtasks.cli.tally import Tally

if TYPE_CHECKING:
    from zmqtasks.machines.collection import Record
    from zmqtasks.store import Store

CLOSE_S = 10.0
"""How long the last results may take to be written; what is not is not acknowledged, and sent again."""


@click.command()
@click.option(
    "--bind",
    type=options.ADDRESS,
    default=f"tcp://127.0.0.1:{options.SINK_PORT}",
    show_default=True,
    help="Listen here; port 0 for any that is free.",
)
@click.option("--advertise", type=options.ADDRESS, help="Address that others shall connect to instead.")
@click.option("--insecure", is_flag=True, help="Allow --bind to an address other machines can reach.")
@click.option("-o", "--output", required=True, metavar="OUT", help="A file; .db, .sqlite: SQLite; else JSON lines.")
def sink(bind: str, advertise: str | None, insecure: bool, output: str) -> int:
    """Record results in OUT, and acknowledge them once they are stored.

    A file that is there is taken up: what it has is not recorded again. Ctrl-C or SIGTERM writes what has come and ends
    with exit code 0; nodes keep what was not acknowledged, and send it when a sink is back at the same address.

    \b
    Examples:
      zmqtasks sink -o results.db
      zmqtasks sink --bind 10.0.0.5:7710 --insecure -o results.jsonl
    """
    options.check_bind(bind, advertise, insecure=insecure)
    return asyncio.run(_serve(bind, advertise, output))


async def _serve(bind: str, advertise: str | None, output: str) -> int:
    """Be the sink.

    Raises:
        BindError: the address cannot be bound.
    """
    from zmqtasks.cli.progress import Display
    from zmqtasks.processes.folder import PrivateFolder
    from zmqtasks.serving import Place, open_peer
    from zmqtasks.sink import Sink

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
            failures.append(error)
            ended.set()

    store = _open(output, loop, failed)
    folder = PrivateFolder()
    try:
        peer = open_peer(loop, Place((bind,), () if advertise is None else (advertise,), folder.path))
        recorder = _Counting(store)
        role = Sink(peer, recorder)
        for job in store.jobs():
            found = store.recorded(job.id)
            role.resume(job.id, found.ok, {task: attempt for task, (attempt, _) in found.failed.items()})
        LoopInterrupts(loop, on_first=ended.set, on_second=ended.set)
        say(f"sink {peer.id} ready at {', '.join(peer.address.endpoints)}, writing {output}")
        with Display(recorder.tally, None):
            await ended.wait()
        role.close()
        peer.close()
    finally:
        folder.close()
        store.close(CLOSE_S)
    return Exit.OK


def _open(output: str, loop: asyncio.AbstractEventLoop, on_failure: Callable[[Exception], None]) -> Store:
    from zmqtasks.store import open_store

    try:
        return open_store(output, deliver=loop.call_soon_threadsafe, on_failure=on_failure)
    except (OSError, ValueError) as error:
        raise Refusal(Exit.USAGE, f"cannot write results: {error}") from error


class _Counting:
    """A recorder that counts what the store has stored.

    Args:
        store: the recorder proper.
    """

    def __init__(self, store: Store) -> None:
        self.tally = Tally()
        self._store = store

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store these; see `Recorder`."""

        def stored() -> None:
            for record in records:
                self._count(record)
            on_stored()

        self._store.record(records, stored)

    def _count(self, record: Record) -> None:
        if record.outcome.kind.name == "OK":
            self.tally.done += record.stop - record.start
        else:
            self.tally.failed += record.stop - record.start

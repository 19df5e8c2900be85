"""A sink as a program: it takes up its file, says when it is ready, and ends in order at a signal.

Owns nothing of the sink itself. Called by `sink`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zmqtasks.cli.exits import Exit, Refusal, say
from zmqtasks.cli.interrupts import LoopInterrupts
from zmqtasks.cli.progress import Display
from zmqtasks.cli.tally import Tally
from zmqtasks.place import Place, open_peer
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.records import replace
from zmqtasks.sink import JOBS_AT_HAND, Sink
from zmqtasks.store import Store, open_store
from zmqtasks.transport.turning import run

CLOSE_S = 10.0
"""How long the last results may take to be written; what is not is not acknowledged, and sent again."""


def be_sink(place: Place, output: str) -> int:
    """Be `zmqtasks sink`; return the exit code.

    Args:
        place: where its inbox is, and the key of the mesh.
        output: the file of results.

    Raises:
        BindError: the address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    return run(_serve(place, output))


async def _serve(place: Place, output: str) -> int:
    """Be the sink.

    Raises:
        BindError: the address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    failures: list[Exception] = []

    role: Sink | None = None

    def failed(error: Exception) -> None:
        if role:
            role.trouble = f"results cannot be stored: {error}"
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
            failures.append(error)
            ended.set()

    store = _open(output, loop, failed)
    folder = PrivateFolder()
    try:
        peer = open_peer(loop, replace(place, folder=folder.path))
        role = Sink(peer, store, read=store.recorded)
        for job in store.jobs()[-JOBS_AT_HAND:]:
            role.recall(job.id)
        LoopInterrupts(loop, on_first=ended.set, on_second=ended.set)
        say(f"sink {peer.id} ready at {', '.join(peer.address.endpoints)}, writing {output}")
        with Display(lambda: Tally(done=role.done, failed=role.failed)):
            await ended.wait()
        role.close()
        peer.close()
    finally:
        folder.close()
        store.close(CLOSE_S)
    return Exit.READER_GONE if failures else Exit.OK


def _open(output: str, loop: asyncio.AbstractEventLoop, on_failure: Callable[[Exception], None]) -> Store:
    try:
        return open_store(output, deliver=loop.call_soon_threadsafe, on_failure=on_failure)
    except (OSError, ValueError) as error:
        raise Refusal(Exit.USAGE, f"cannot write results: {error}") from error

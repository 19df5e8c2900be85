"""What a keeper is asked, and by whom: lines of JSON through a Unix socket in its private folder.

    {"ask": "status"}                        one answer
    {"ask": "up", "again": true}             an answer at each change until all is settled; again: read the file first
    {"ask": "stop", "names": [...], "now": false}   an answer at each change until they have ended; null: the cluster
    {"ask": "join", "inbox": PATH}           first {"advertise": ...}, then the nodes at each change, until it is closed

Owns the words and both ends of the socket; what they mean is done in `keeper.py`. Any answer may be {"error": text}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from zmqtasks.errors import ClusterError
from zmqtasks.options import MIB

if TYPE_CHECKING:
    from zmqtasks.cluster.keeper import Keeper

LONGEST_LINE = 4 * MIB


async def serve(path: str, keeper: Keeper) -> asyncio.AbstractServer:
    """Listen at a path, on behalf of a keeper."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):  # who asked has left, or speaks another language
            asked = json.loads(await reader.readline())
            try:
                async for said in _answers(keeper, asked, reader):
                    writer.write(json.dumps(said).encode() + b"\n")
                    await writer.drain()
            except ClusterError as error:
                writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
                await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(answer, path, limit=LONGEST_LINE)


async def _answers(
    keeper: Keeper, asked: dict[str, Any], reader: asyncio.StreamReader
) -> AsyncIterator[dict[str, Any]]:
    match asked:
        case {"ask": "status"}:
            yield keeper.status()
        case {"ask": "up", "again": again}:
            if again:
                keeper.read_again()
            async for status in _changes(keeper, lambda status: status["settled"]):
                yield status
        case {"ask": "stop", "names": names, "now": now}:
            keeper.stop(names, now=now)
            async for status in _changes(keeper, lambda status: _have_ended(status, names)):
                yield status
        case {"ask": "join", "inbox": inbox}:
            advertised = await keeper.join(inbox)
            try:
                yield {"advertise": advertised}
                gone = asyncio.ensure_future(reader.read())
                async for status in _changes(keeper, lambda status: False, gone):
                    yield {"nodes": status["nodes"]}
            finally:
                await keeper.leave(advertised)
        case _:
            raise ClusterError(f"a keeper is not asked {asked.get('ask')!r}; end it with the zmqtasks that started it")


def _have_ended(status: dict[str, Any], names: list[str] | None) -> bool:
    asked = [host for host in status["hosts"] if names is None or host["host"] in names]
    return all(host["state"] in ("ended", "broken") for host in asked)


async def _changes(
    keeper: Keeper, is_last: Callable[[dict[str, Any]], bool], gone: asyncio.Future[bytes] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the status now and after each change, until one is the last, or who asked has gone."""
    changed = asyncio.Event()
    if gone is not None:
        gone.add_done_callback(lambda _: changed.set())
    unwatch = keeper.watch(changed.set)
    try:
        while gone is None or not gone.done():
            changed.clear()
            status = keeper.status()
            yield status
            if is_last(status) or keeper.over.is_set():
                return
            await changed.wait()
    finally:
        unwatch()


def ask(control: str, question: dict[str, Any], timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
    """Ask a keeper, and yield its answers.

    Args:
        control: path of its socket.
        question: see the module.
        timeout_s: how long to wait for each answer.

    Raises:
        ClusterError: it cannot do it, or is gone; the text says why.
        TimeoutError: it did not answer.
    """
    with socket.socket(socket.AF_UNIX) as way:
        way.settimeout(timeout_s)
        try:
            way.connect(control)
            way.sendall(json.dumps(question).encode() + b"\n")
        except OSError as error:
            raise ClusterError(f"the keeper of the cluster does not answer: {error}") from error
        with way.makefile("rb") as answers:
            for line in answers:
                said = json.loads(line)
                if "error" in said:
                    raise ClusterError(said["error"])
                yield said

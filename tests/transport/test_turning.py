"""A loop whose readers are called by its selector: what asyncio promises of readers holds all the same."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from zmqtasks.transport.turning import TurningLoop, new_loop, run

pytestmark = pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="asyncio's own loop is used where there is no epoll"
)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = new_loop()
    assert isinstance(made, TurningLoop)
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(2)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop look once, and do what it found."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_reader_is_called_as_long_as_there_is_something(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (near, far), heard = pairs[0], list[bytes]()
    loop.add_reader(near, lambda: heard.append(near.recv(1)))
    turn(loop)
    assert heard == []
    far.send(b"ab")
    for _ in range(4):
        turn(loop)
    assert heard == [b"a", b"b"]
    assert loop.remove_reader(near)
    assert not loop.remove_reader(near)
    far.send(b"c")
    turn(loop)
    assert heard == [b"a", b"b"]


def test_a_later_reader_takes_the_place_of_an_earlier_one(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (near, far), heard = pairs[0], list[Any]()
    far.send(b"a")
    loop.add_reader(near.fileno(), lambda: heard.append(1))
    loop.add_reader(near.fileno(), heard.append, 2)  # with an argument it goes asyncio's way
    turn(loop)
    loop.add_reader(near.fileno(), lambda: heard.append(3))
    turn(loop)
    assert heard == [2, 3]


def test_a_reader_removed_by_another_one_is_not_called(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    called = []

    def read(own: socket.socket, other: socket.socket) -> None:
        called.append(own)
        loop.remove_reader(other)
        other.close()

    (a, a_far), (b, b_far) = pairs
    a_far.send(b"x")
    b_far.send(b"x")
    loop.add_reader(a, lambda: read(a, b))
    loop.add_reader(b, lambda: read(b, a))
    turn(loop)
    assert len(called) == 1


def test_one_descriptor_is_read_and_written(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (near, far), called = pairs[0], set[str]()
    far.send(b"x")
    loop.add_writer(near, called.add, "written")
    loop.add_reader(near, lambda: called.add("read"))
    turn(loop)
    assert called == {"written", "read"}
    called.clear()
    loop.remove_writer(near)
    turn(loop)
    assert called == {"read"}


def test_the_end_of_a_stream_is_told_to_its_reader(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (near, far), heard = pairs[0], list[bytes]()
    loop.add_reader(near, lambda: heard.append(near.recv(1)))
    far.close()
    turn(loop)
    assert heard == [b""]


def test_what_a_reader_raises_goes_to_the_exception_handler(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (a, a_far), (b, b_far) = pairs
    defects: list[Any] = []
    heard: list[bytes] = []

    def broken() -> None:
        a.recv(1)
        raise ValueError("a defect")

    loop.set_exception_handler(lambda _, context: defects.append(context["exception"]))
    loop.add_reader(a, broken)
    loop.add_reader(b, lambda: heard.append(b.recv(1)))
    a_far.send(b"x")
    b_far.send(b"y")
    turn(loop)
    assert [str(defect) for defect in defects] == ["a defect"]
    assert heard == [b"y"]


def test_an_end_of_the_program_is_not_swallowed(loop: asyncio.AbstractEventLoop, pairs: list[Pair]) -> None:
    (near, far) = pairs[0]

    def leave() -> None:
        near.recv(1)
        raise SystemExit(3)

    loop.add_reader(near, leave)
    far.send(b"x")
    with pytest.raises(SystemExit):
        turn(loop)


def test_timers_and_other_threads_wake_it() -> None:
    async def main() -> str:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        await asyncio.sleep(0.0002)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(told.set,))
        thread.start()
        await asyncio.wait_for(told.wait(), 10)
        thread.join()
        return "done"

    assert run(main()) == "done"


def test_streams_of_asyncio_work_on_it() -> None:
    async def main() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"an echo\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return line

    assert run(main()) == b"an echo\n"

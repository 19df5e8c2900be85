"""Who comes to a node that has a key of its own, and says what he may not: frames as anybody could make them."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from zmqtasks.messages import Address, Chunk, Hello, Job, Message, Role, SessionId, Tasks
from zmqtasks.options import TaskOptions
from zmqtasks.transport.keys import AUTHORIZED, KeyPair, new_pair, read_pair, write_pair
from zmqtasks.transport.sockets import connect, push_socket
from zmqtasks.wire import codec, payload

NOWHERE = "tcp://127.0.0.1:9"
JOB = "00112233445566aa:1"
CANARY = """
import zmqtasks

@zmqtasks.task
def sing(path):
    with open(path, "w") as file:
        file.write("sung")
"""


def address(peer: str = "00112233445566aa", endpoint: str = NOWHERE) -> Address:
    return Address(peer, "elsewhere", (endpoint,))


def hello(session: SessionId, role: Role, peer: str = "00112233445566aa") -> Hello:
    return Hello(session, role, address(peer))


def canary_task(session: SessionId, path: Path) -> Tasks:
    """Return a message that has the canary sing: it writes a file."""
    (run,) = payload.pack([str(path)])
    job = Job(JOB, "canary.sing", address(), TaskOptions(), payload.pack_name("canary:sing"))
    return Tasks(session, 1, (job,), (Chunk(JOB, 1, 0, 1, 0, run.body),))


class Keys:
    """Peers with a key each, in folders of their own below one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *roles: str) -> KeyPair:
        (self.folder / name / AUTHORIZED).mkdir(parents=True)
        pair = new_pair()
        write_pair(self.file(name), pair, roles)
        return pair

    def file(self, name: str) -> str:
        return str(self.folder / name / f"{name}.key")

    def pair(self, name: str) -> KeyPair:
        return read_pair(self.file(name))[0]

    def let_in(self, at: str, *names: str) -> None:
        for name in names:
            shutil.copy(self.folder / name / f"{name}.pub", self.folder / at / AUTHORIZED)

    def shut_out(self, at: str, name: str) -> None:
        (self.folder / at / AUTHORIZED / f"{name}.pub").unlink()


def connected_push(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, pair: KeyPair | None = None, server: bytes | None = None
) -> zmq.Socket[bytes]:
    """Return a socket to an inbox."""
    push = push_socket(context, pair, server)
    connect(push, endpoint)
    return push


class Visitor:
    """A socket to an inbox, and what is said over it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, pair: KeyPair | None, server: bytes):
        self.socket = connected_push(context, endpoint, pair, server)

    def say(self, *messages: Message) -> bool:
        """Send, or return False where the other side does not take it now."""
        try:
            for message in messages:
                self.socket.send(codec.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


@contextmanager
def recorded(endpoint: str) -> Iterator[tuple[str, bytearray]]:
    """Pass one connection on to an endpoint; yield where it is taken, and what has come from its beginner."""
    heard = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    target = socket.create_connection((host, int(port)))
    accepted: list[socket.socket] = []

    def copy(source: socket.socket, sink: socket.socket, into: bytearray | None) -> None:
        while data := source.recv(65536):
            if into is not None:
                into.extend(data)
            sink.sendall(data)

    def run() -> None:
        beginner, _ = listener.accept()
        accepted.append(beginner)
        back = threading.Thread(target=copy, args=(target, beginner, None))
        back.start()
        copy(beginner, target, heard)
        target.shutdown(socket.SHUT_RDWR)
        back.join()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        thread.join()
        for each in (listener, target, *accepted):
            each.close()

"""Real nodes for tests, and a relay that can cut what passes between two peers."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from zmqtasks.embedded.launching import MODULE
from zmqtasks.embedded.own_node import NodeSettings
from zmqtasks.options import NodeOptions
from zmqtasks.processes.launch import Launched, launch


class NodeProcess:
    """A node in a process of its own."""

    def __init__(self, launched: Launched, endpoints: list[str]) -> None:
        self.launched = launched
        self.endpoints = endpoints

    @property
    def tcp(self) -> str:
        return next(endpoint for endpoint in self.endpoints if endpoint.startswith("tcp://"))

    def kill(self) -> None:
        os.kill(self.launched.pid, signal.SIGKILL)


@contextlib.contextmanager
def node_process(folder: Path, *, workers: int = 1, advertise: str = "", port: int = 0) -> Iterator[NodeProcess]:
    """Start a node on loopback; over tcp only where it advertises an address."""
    folder.mkdir(exist_ok=True)
    config = NodeSettings(NodeOptions(workers=workers), b"", str(folder), "inherit").as_config()
    config |= {"bind": [f"tcp://127.0.0.1:{port}"], "advertise": [advertise] if advertise else []}
    with launch(MODULE, config) as launched:
        report = launched.report(20)
        assert report["ok"], report
        yield NodeProcess(launched, report["endpoints"])


class Phoenix:
    """A node that is started again on its port whenever it dies; a context manager that ends it."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        self.port = free_port()
        self.deaths = 0
        self._folder = folder
        self._workers = workers
        self._ended = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phoenix")

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Phoenix:
        self._thread.start()
        assert self._up.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with node_process(self._folder, workers=self._workers, port=self.port) as node:
                self._up.set()
                while node.launched.poll() is None and not self._ended.wait(0.005):
                    pass
            self.deaths += not self._ended.is_set()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Relay:
    """A TCP relay on loopback whose connections can be reset.

    What it has read and not passed on is lost with a reset, as on a real link. All sockets belong to its thread.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._orders: queue.SimpleQueue[tuple[str, threading.Event]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self.passed_bytes = 0
        self.resets = 0
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections; return when they are."""
        self._order("cut")

    def close(self) -> None:
        self._order("close")
        self._thread.join()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _order(self, what: str) -> None:
        done = threading.Event()
        self._orders.put((what, done))
        os.write(self._wake_write, b"x")
        assert done.wait(10)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._wake_read, self._listener, *self._peers], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 1)
                what, done = self._orders.get()
                self._reset_all()
                done.set()
                if what == "close":
                    return
                continue
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                elif sock in self._peers:
                    self._pass_on(sock)

    def _reset_all(self) -> None:
        for sock in self._peers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.resets += len(self._peers) // 2
        self._peers.clear()

    def _accept(self) -> None:
        incoming, _ = self._listener.accept()
        try:
            outgoing = socket.create_connection(self._target, 5)
        except OSError:
            incoming.close()
            return
        self._peers |= {incoming: outgoing, outgoing: incoming}

    def _pass_on(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(65536)
            if data:
                target.sendall(data)
                self.passed_bytes += len(data)
                return
        except OSError:
            pass
        for sock in (source, target):
            del self._peers[sock]
            sock.close()

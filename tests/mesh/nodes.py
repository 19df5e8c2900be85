"""Real nodes for tests, and a relay that can cut what passes between two peers."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from zmqtasks.options import NodeOptions
from zmqtasks.embedded.own_node import NodeSettings
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
    with launch("zmqtasks.serving", config) as launched:
        report = launched.report(20)
        assert report["ok"], report
        yield NodeProcess(launched, report["endpoints"])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Relay:
    """A TCP relay on loopback whose connections can be reset, and which can be deaf for a while.

    What it has read and not passed on is lost with a reset, as on a real link.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._open = True
        self._accepting = True
        self.passed_bytes = 0
        self.resets = 0
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections, and refuse new ones until `heal`."""
        with self._lock:
            self._accepting = False
            for pair in self._pairs:
                for sock in pair:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    sock.close()
            self.resets += len(self._pairs)
            self._pairs.clear()

    def heal(self) -> None:
        with self._lock:
            self._accepting = True

    def close(self) -> None:
        self.cut()
        self._open = False
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        while self._open:
            with self._lock:
                sources = {sock: pair[1 - i] for pair in self._pairs for i, sock in enumerate(pair)}
            ready, _, _ = select.select([self._listener, self._wake_read, *sources], [], [], 0.02)
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                elif sock is not self._wake_read:
                    self._pass_on(sock, sources[sock])

    def _accept(self) -> None:
        incoming, _ = self._listener.accept()
        with self._lock, contextlib.suppress(OSError):
            if self._accepting:
                self._pairs.append((incoming, socket.create_connection(self._target, 5)))
                return
        incoming.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data:
                self.passed_bytes += len(data)
                target.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            for pair in [pair for pair in self._pairs if source in pair]:
                self._pairs.remove(pair)
                for sock in pair:
                    sock.close()

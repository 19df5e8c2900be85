"""A Redis of our own for those who need one: on a free port of loopback, in memory, ended with the block."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

START_S = 10.0


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """Start a server and yield its port.

    Raises:
        RuntimeError: it does not answer.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""]
        with subprocess.Popen([*command, "--appendonly", "no"], stdout=subprocess.DEVNULL) as server:
            try:
                _wait(port)
                yield port
            finally:
                server.terminate()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(100).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise RuntimeError(f"redis-server does not answer on port {port}")

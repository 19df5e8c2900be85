"""The end of a process is seen at once, and its being stopped is not taken for it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zmqtasks.transport import endings
from zmqtasks.transport.network import ZmqNetwork

pytestmark = pytest.mark.skipif(not endings.AVAILABLE, reason="needs pidfds")
LISTEN = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
time.sleep(60)
"""


def test_the_end_of_who_listens_is_told_once_and_not_that_it_was_stopped(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    network = ZmqNetwork(loop, "a" * 16, "here")
    ends: list[str] = []
    path = tmp_path / "peer"
    with subprocess.Popen([sys.executable, "-c", LISTEN, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pidfd = endings.pidfd_of_listener(str(path))
        assert pidfd is not None
        watch = network.watch_end(f"unix://{path}", lambda: ends.append("seen"))
        ignored = network.watch_end(f"unix://{path}", lambda: ends.append("cancelled"))
        assert watch is not None
        assert ignored is not None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert select.select([pidfd], [], [], 0) == ([], [], [])
        ignored.cancel()
        ignored.cancel()
        process.kill()
        process.wait()
        loop.call_later(10, loop.stop)
        loop.call_soon(_stop_when, loop, ends)
        loop.run_forever()
        watch.cancel()
        os.close(pidfd)
    assert ends == ["seen"]
    assert network.watch_end(f"unix://{path}", ends.clear) is None, "nobody listens there"
    network.close()
    loop.close()


def _stop_when(loop: asyncio.AbstractEventLoop, ends: list[str]) -> None:
    if ends:
        loop.stop()
    else:
        loop.call_later(0.001, _stop_when, loop, ends)


def test_nothing_is_watched_that_cannot_be_seen_or_is_ourselves(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    network = ZmqNetwork(loop, "a" * 16, "here")
    assert network.watch_end("tcp://127.0.0.1:9", list) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "own"))
        listener.listen()
        assert network.watch_end(f"unix://{tmp_path}/own", list) is None
    network.close()
    loop.close()

"""The memory of a whole node: what takes it all ends, what stands beside it does not."""

from __future__ import annotations

import os
import time

import zmqtasks
from zmqtasks.errors import MemoryLimitExceeded

MIB = 2**20


def devour(_: object = None) -> None:
    """Allocate without end; bounded lest a test take the machine with it."""
    held = []
    while len(held) < 400:
        held.append(bytearray(b"x") * (4 * MIB))
        time.sleep(0.002)
    raise AssertionError("nobody stopped it")


def square(value: int) -> int:
    time.sleep(0.005)
    return value * value


def test_what_takes_all_memory_ends_and_its_neighbours_do_not() -> None:
    with zmqtasks.Client(workers=2, memory="400 MiB") as client:
        node = client.submit(os.getppid).result(20)
        for _ in range(2):
            bad = [client.submit(devour) for _ in range(2)]
            good = list(client.map(square, range(200)))
            assert good == [n * n for n in range(200)]
            for future in bad:
                error = future.exception(30)
                assert isinstance(error, MemoryLimitExceeded), error
                print(error)
                assert 200 * MIB < error.peak_bytes < 520 * MIB
                assert "400 MiB" in str(error)
        assert client.submit(os.getppid).result(20) == node

"""The memory of a whole node: what takes it all ends, what stands beside it does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import zmqtasks
from tests.waiting import wait_until
from zmqtasks.errors import MemoryLimitExceeded
from zmqtasks.processes import linux

MIB = 2**20
MOST_MIB = 1600
"""What nobody stops ends itself: the machine shall survive the test."""


def devour(_: object = None) -> None:
    """Allocate without end."""
    held = []
    while len(held) * 4 < MOST_MIB:
        held.append(bytearray(b"x") * (4 * MIB))
        time.sleep(0.002)
    raise AssertionError("nobody stopped it")


def square(value: int) -> int:
    time.sleep(0.005)
    return value * value


def hold(size: int, duration_s: float, ledger: str) -> int:
    """Hold so much for so long, and tell in a ledger that it was begun."""
    with open(ledger, "a") as file:
        file.write("x")
    held = bytearray(b"x") * size
    time.sleep(duration_s)
    return len(held)


def test_what_takes_all_memory_ends_and_its_neighbours_do_not() -> None:
    with zmqtasks.Client(workers=2, memory="300 MiB") as client:
        node = client.submit(os.getppid).result(20)
        for a_task in (None, 160 * MIB):
            bad = [client.options(max_memory=a_task).submit(devour) for _ in range(2)]
            assert list(client.map(square, range(100))) == [n * n for n in range(100)]
            for future in bad:
                error = future.exception(50)
                assert isinstance(error, MemoryLimitExceeded), error
                assert error.peak_bytes > 100 * MIB
                assert a_task is not None or "300 MiB" in str(error)
        assert client.submit(os.getppid).result(20) == node


def test_what_is_too_much_together_is_run_one_after_the_other(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with zmqtasks.Client(workers=2, memory="320 MiB") as client:
        futures = [client.submit(hold, 180 * MIB, 0.3, str(ledger)) for _ in range(3)]
        assert [future.result(50) for future in futures] == [180 * MIB] * 3
        # Nobody is blamed, and what must not be run twice is not stopped while something else can be.
        again = client.submit(hold, 180 * MIB, 0.3, str(ledger))
        once = client.options(retry=False).submit(hold, 180 * MIB, 0.3, str(tmp_path / "once"))
        assert again.result(50) == once.result(50) == 180 * MIB
    assert (tmp_path / "once").read_text() == "x"


def breed(folder: str) -> None:
    """Fork on and on, each child in a session of its own and with memory of its own; bounded."""
    for _ in range(300):
        if os.fork() == 0:
            os.setsid()
            held = bytearray(b"x") * (4 * MIB)
            Path(folder, str(os.getpid())).touch()
            time.sleep(60)
            os._exit(len(held) % 2)
    time.sleep(60)


@pytest.mark.parametrize("cgroups", ["0", "1"])
def test_one_that_breeds_is_stopped_with_its_brood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroups: str
) -> None:
    monkeypatch.setenv("ZMQTASKS_CGROUPS", cgroups)
    with zmqtasks.Client(workers=1, memory="200 MiB") as client:
        error = client.submit(breed, str(tmp_path)).exception(50)
        assert isinstance(error, MemoryLimitExceeded), error
        born = [int(name) for name in os.listdir(tmp_path)]
        assert born
        wait_until(lambda: not living(born), lambda: living(born))
        assert client.submit(square, 3).result(20) == 9


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if (stat := linux.stat_of(pid)) is not None and stat.state != "Z"]


def test_memory_is_for_a_node_of_ones_own() -> None:
    with pytest.raises(ValueError, match="memory: for a node that is started here only"):
        zmqtasks.Client("tcp://127.0.0.1:1", memory=1000 * MIB)
    with pytest.raises(ValueError, match="is not a size"):
        zmqtasks.Client(memory="much")

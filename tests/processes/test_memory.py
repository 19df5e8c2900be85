"""The gauge of a node's memory: what workers hold, what the host has, what cgroups allow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until
from zmqtasks.options import MIB
from zmqtasks.processes import memory, usage
from zmqtasks.processes.memory import CONFIRMED_S, MemoryGauge, Room


def test_what_workers_share_counts_once_where_it_matters() -> None:
    program = "import os, signal; held = bytearray(100_000_000); os.fork(); os.fork(); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as parent:
        wait_until(lambda: len(usage.tree(parent.pid)) == 4, lambda: usage.tree(parent.pid))
        gauge, workers = MemoryGauge(), {7: [parent.pid]}
        loose = gauge.read(workers, 600 * MIB, 0.9, 0.0)
        assert loose.limit_bytes == 600 * MIB
        assert loose.used_bytes == loose.workers[7] > 400_000_000
        close = gauge.read(workers, 600 * MIB, 0.1, 0.0)
        assert 100_000_000 < close.used_bytes < 200_000_000
        # It is not looked at as closely again at once, and then it is.
        assert gauge.read(workers, 600 * MIB, 0.1, CONFIRMED_S / 2).used_bytes == pytest.approx(
            close.used_bytes, rel=0.1
        )
        assert gauge._shared[parent.pid][1] == 0.0
        gauge.read(workers, 600 * MIB, 0.1, CONFIRMED_S + 1)
        assert gauge._shared[parent.pid][1] == CONFIRMED_S + 1
        os.killpg(parent.pid, signal.SIGKILL)
    assert gauge.read({}, 600 * MIB, 0.1, 9.0) == (0, 600 * MIB, {})
    assert not gauge._shared


def test_of_very_many_processes_a_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(usage, "tree", lambda pid: list(range(1000)))
    monkeypatch.setattr(usage, "unique_bytes", lambda pid: seen.append(pid) or 7)
    assert memory._unique_bytes([1]) == 7000
    assert len(seen) == memory.SAMPLE
    monkeypatch.setattr(usage, "tree", lambda pid: [])
    assert memory._unique_bytes([1]) == 0


def test_without_a_limit_it_is_that_of_the_host() -> None:
    room = memory.room_here()
    assert 0 < room.used_bytes < room.limit_bytes <= psutil.virtual_memory().total
    read = MemoryGauge().read({0: [os.getpid()]}, None, 0.0, 0.0)
    assert read.limit_bytes == room.limit_bytes
    assert 0 < read.workers[0] < read.used_bytes


def group(folder: Path, limit: str, used: int, cache: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nactive_file {cache // 2}\ninactive_file {cache // 2}\n")
    return folder


def test_the_fullest_group_above_counts_and_cached_files_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = group(tmp_path, "max", 0, 0)
    outer = group(root / "outer", "1000", 500, 100)
    inner = group(outer / "inner", "900", 850, 20)
    monkeypatch.setattr(memory, "_groups", lambda controller, mount: [inner, outer, root, tmp_path / "nowhere"])
    monkeypatch.setattr(memory, "_CGROUP", root)
    assert list(memory._cgroup2()) == [Room(830, 900), Room(400, 1000)]
    assert memory.room_here() == Room(830, 900)
    (inner / "memory.max").write_text(str(2**63 - 4096))
    assert list(memory._cgroup2()) == [Room(400, 1000)]


def test_the_way_up_from_our_group() -> None:
    for controller, mount in (("", Path("/sys/fs/cgroup")), ("memory", Path("/sys/fs/cgroup/memory"))):
        groups = memory._groups(controller, mount)
        assert all(folder == mount or mount in folder.parents for folder in groups)
    assert memory._groups("no such controller", Path("/sys/fs/cgroup")) == []

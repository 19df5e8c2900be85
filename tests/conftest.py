"""What holds around every test: nothing is left behind."""

from __future__ import annotations

import compileall
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

import zmqtasks

# The same examples each time: a run that fails can be run again.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

GRACE_S = 3.0
"""How long threads, processes and descriptors may take to go after a test ended."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once, as an installation does.

    Where the environment forbids Python to write bytecode, each process that the tests start would do it again.
    """
    if not hasattr(config, "workerinput"):  # not in the processes of pytest-xdist: whoever started them has done it
        compileall.compile_dir(zmqtasks.__path__[0], quiet=2)


class Belongings(NamedTuple):
    """What this process has: each entry reads well in a failure."""

    threads: frozenset[str]
    children: frozenset[str]
    descriptors: frozenset[str]

    def beyond(self, before: Belongings) -> list[str]:
        """Return what is here and was not there before."""
        return sorted(entry for now, then in zip(self, before, strict=True) for entry in now - then)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves threads, child processes or open descriptors, and name them."""
    before = _belongings()
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := _belongings().beyond(before)) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not left, "left behind: " + ", ".join(left)


def _belongings() -> Belongings:
    return Belongings(_threads(), _children(), _descriptors())


def _threads() -> frozenset[str]:
    # pytest-timeout keeps its timer thread from before a test to after it.
    alive = (thread for thread in threading.enumerate() if not thread.name.startswith("pytest_timeout"))
    return frozenset(f"thread {thread.name} ({thread.ident})" for thread in alive)


def _children() -> frozenset[str]:
    pids: list[str] = []
    for table in Path("/proc/self/task").glob("*/children"):
        try:
            pids += table.read_text().split()
        except OSError:  # the thread ended in between
            continue
    return frozenset(f"process {pid} ({_command(pid)})" for pid in pids)


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _descriptors() -> frozenset[str]:
    found = []
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found.append(f"descriptor {number} -> {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:  # the descriptor of the listing itself
            continue
    return frozenset(found)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of our own, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="own-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)

"""A cgroup whose processes no signal ends: what uninterruptible sleep does, on demand (Linux, cgroup v1, root)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until


class Freezer:
    """One cgroup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def freeze(self, pid: int) -> None:
        """Take a process in, and stop it so that even SIGKILL waits."""
        (self._folder / "cgroup.procs").write_text(str(pid))
        self._set("FROZEN")

    def thaw(self) -> None:
        self._set("THAWED")

    def _set(self, state: str) -> None:
        file = self._folder / "freezer.state"
        file.write_text(state)
        wait_until(lambda: file.read_text().strip() == state, file.read_text)

    def close(self) -> None:
        self.thaw()
        wait_until(lambda: not (self._folder / "cgroup.procs").read_text())
        self._folder.rmdir()


@contextlib.contextmanager
def freezer() -> Iterator[Freezer]:
    """Make a freezer, or skip the test where the kernel or our rights do not allow it."""
    with contextlib.ExitStack() as stack:
        root = Path("/sys/fs/cgroup/freezer")
        if not root.is_dir():
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            mounted = subprocess.run(
                ["mount", "-t", "cgroup", "-o", "freezer", "none", str(root)], capture_output=True, check=False
            )
            if mounted.returncode:
                pytest.skip(f"NOT TESTED: no freezer of cgroup v1 here: {mounted.stderr.decode().strip()}")
            stack.callback(subprocess.run, ["umount", str(root)], check=True)
        folder = root / f"zmqtasks-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError as error:
            pytest.skip(f"NOT TESTED: the freezer of cgroup v1 is not ours to use: {error}")
        made = Freezer(folder)
        stack.callback(made.close)
        yield made

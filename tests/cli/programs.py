"""The commands as programs of their own: started, watched, ended, and nothing left of them."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
RUN_S = 30.0
READY = re.compile(r"ready at (tcp://[^,\s]+)")
STDOUT, STDERR = "stdout.txt", "stderr.txt"


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "zmqtasks", *args]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TERM": "xterm", "COLUMNS": "120"}


def run(folder: Path, *args: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`, where the functions of `chores.py` are."""
    shutil.copy(Path(__file__).with_name("chores.py"), folder)
    done = subprocess.run(
        command(*args),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        cwd=folder,
        env=environment(),
        timeout=RUN_S,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Program:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def stdout(self) -> str:
        return (self._folder / STDOUT).read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / STDERR).read_text()

    @property
    def address(self) -> str:
        """Wait until it is ready, and return where it listens."""
        found = wait_until(lambda: READY.search(self.stderr) or self.process.poll() is not None, lambda: self.stderr)
        assert isinstance(found, re.Match), self.stderr
        return found[1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(RUN_S)


@contextlib.contextmanager
def program(
    folder: Path, name: str, *args: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[Program]:
    """Start a command in `folder`; what it prints goes to files in the folder `name` beside it."""
    shutil.copy(Path(__file__).with_name("chores.py"), folder)
    output = folder / name
    output.mkdir()
    with open(output / STDOUT, "wb") as printed, open(output / STDERR, "wb") as stderr:
        process = subprocess.Popen(
            command(*args), stdin=stdin, stdout=stdout or printed, stderr=stderr, cwd=folder, env=environment()
        )
    try:
        yield Program(process, output)
    finally:
        if process.stdin:
            process.stdin.close()
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5.0)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self._fd = fd
        self._seen = b""

    @property
    def seen(self) -> str:
        """Return all that was shown so far."""
        with contextlib.suppress(BlockingIOError, OSError):  # nothing new, or its other end is closed
            while piece := os.read(self._fd, 65536):
                self._seen += piece
        return self._seen.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def press_ctrl_c(self) -> None:
        os.write(self._fd, b"\x03")

    def wait(self) -> int:
        def ended() -> bool:
            self.seen  # a full terminal would hold it up
            return self.process.poll() is not None

        wait_until(ended, lambda: self.seen, timeout_s=RUN_S)
        return self.process.returncode


@contextlib.contextmanager
def on_terminal(folder: Path, *args: str) -> Iterator[Terminal]:
    """Start a command in `folder` as a shell does: with a terminal, whose Ctrl-C reaches it."""
    shutil.copy(Path(__file__).with_name("chores.py"), folder)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    launcher = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", launcher, *command(*args)],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment(), start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        _end(process)
        os.close(ours)

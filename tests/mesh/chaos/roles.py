"""The commands and programs of a mesh as processes that can be killed, stopped and started again.

Owns their lives: each life of a role has its own log, the same command line, and so the same address and file. A role
dies with this process, however that dies. Judges nothing. Made by `frame.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tests.mesh.chaos.usage import Usage, usage_of
from zmqtasks.processes import linux

ROOT = Path(__file__).parents[3]
READY = re.compile(r"ready at ((?:tcp|unix)://[^,\s]+)")
READY_S = 120.0
"""Long: a machine may do other things meanwhile."""
POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone; for `preexec_fn`."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Role:
    """One role of the mesh: a command line, and the process that it is now.

    Args:
        name: of its logs.
        command: what is run.
        folder: where its logs go.
        environment: of the process.
        takes_input: whether it gets a pipe as standard input.
    """

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: dict[str, str], takes_input: bool = False
    ) -> None:
        self.name = name
        self.lives = 0
        self._command, self._folder, self._environment = command, folder, environment
        self._takes_input = takes_input
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: list[int] = []

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the process of this life, which may have ended."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def pid(self) -> int:
        """Return the process of this life."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Tell whether the process of this life has not ended; a stopped one has not."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_stopped(self) -> bool:
        """Tell whether it was stopped and not continued since."""
        return bool(self._stopped)

    @property
    def input(self) -> IO[bytes]:
        """Return the pipe to its standard input."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def log(self) -> Path:
        """Return what this life prints on standard error; standard output is beside it."""
        return self._folder / f"{self.name}-{self.lives}.err"

    @property
    def output(self) -> str:
        """Return what this life printed on standard output."""
        return self.log.with_suffix(".out").read_text(errors="replace")

    def start(self) -> Role:
        """Begin a life; the first or, after the last one ended, the next."""
        assert not self.is_alive, f"{self.name} is alive"
        self.lives += 1
        self._stopped = []
        with open(self.log, "wb") as errors, open(self.log.with_suffix(".out"), "wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE if self._takes_input else subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,  # the terminal's Ctrl-C is ours alone
                preexec_fn=die_with_parent,
            )
        return self

    def await_ready(self) -> str:
        """Wait for the line that tells where it listens, and return the first address.

        Raises:
            RuntimeError: it ended, or did not get ready.
        """
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if found := READY.search(self.log.read_text(errors="replace")):
                return found[1]
            if not self.is_alive:
                break
            time.sleep(POLL_S)
        raise RuntimeError(f"{self.name} did not get ready:\n{self.log.read_text(errors='replace')[-2000:]}")

    @property
    def is_killed(self) -> bool:
        """Tell whether this life was ended by `kill`."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    def kill(self) -> None:
        """Kill -9, and wait until it is gone; what it started and was stopped goes on, and has to notice by itself."""
        self.process.kill()
        self.process.wait()
        self.go_on()

    @staticmethod
    def kill_process(pid: int) -> None:
        """Kill -9 one of the processes it has started, if that is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def restart(self) -> None:
        """Begin the next life with the same command line, where the last one has ended."""
        self.start()

    def stop(self, whole: bool = False) -> None:
        """SIGSTOP it.

        Args:
            whole: with everything that it has started, as when a machine is suspended.
        """
        for pid in (self.pid, *(linux.children_of(self.pid) if whole else ())):
            self.stop_process(pid)

    def stop_process(self, pid: int) -> None:
        """SIGSTOP it or one of the processes it has started; `go_on` continues all of them."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopped.append(pid)

    def go_on(self) -> None:
        """SIGCONT all that was stopped; the children first, as the order is nobody's promise."""
        while self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._stopped.pop(), signal.SIGCONT)

    def children(self) -> list[int]:
        """Return what it has started: of a node the workers and the process they are made by."""
        return linux.children_of(self.pid) if self.is_alive else []

    def usage(self) -> Usage | None:
        """Return what its process holds now; None where there is none."""
        return usage_of(self.pid) if self.is_alive else None

    def wait(self, timeout_s: float) -> int:
        """Wait for its end, and return the exit code.

        Raises:
            TimeoutError: it has not ended.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} has not ended after {timeout_s:.0f} s") from None

    def end(self, timeout_s: float = 20.0) -> None:
        """End it in order, or else at once."""
        if not self.is_alive:
            return
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


def command(*args: str) -> list[str]:
    """Return the command line of a command of zmqtasks."""
    return [sys.executable, "-m", "zmqtasks", *args]


def program(module: str, *args: str) -> list[str]:
    """Return the command line of a module that is a program."""
    return [sys.executable, "-m", module, *args]


def marked(mark: str) -> Iterator[int]:
    """Yield the processes, other than this one, in whose environment `mark` stands."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield pid


def described(pid: int) -> str:
    """Return what can be seen of a process, for people."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{pid} ({linux.stat_of(pid)}, {words.strip()})"
    except OSError:
        return f"{pid} (gone)"


def wait_for(condition: Callable[[], object], timeout_s: float) -> bool:
    """Wait until `condition` is true, and tell whether it became so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True

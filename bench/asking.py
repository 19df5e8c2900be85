"""One peer as a child process that is asked for figures.

Owns the child, its pipes, the limit of time of an answer, and that nothing of it is left, whatever it started. Knows
nothing of cases. Called by `run.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36
TAIL_BYTES = 2000
ANSWER_S = 120.0
CLOSE_S = 15.0
_asked: set[int] = set()


class Silent(Exception):
    """A peer gave no answer, or an error; the text says why. It is ended."""


def adopt_orphans() -> None:
    """Become the parent of what children of ours leave behind, so that it can be ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that came from this one, the youngest generation first."""
    for table in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in table.read_text().split()]
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from descendants(child)
            yield child


class Asked:
    """A peer that answers.

    Args:
        python: the interpreter of its environment.
        peer: its name.
    """

    def __init__(self, python: str, peer: str) -> None:
        self.peer = peer
        self.takes_chunks = False
        self._buffer = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        self._process = subprocess.Popen(
            [python, "-m", "bench.serve", peer],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(python).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        _asked.add(self._process.pid)
        try:
            self.about = self._answer(ANSWER_S)
        except BaseException:
            self.close()
            raise

    def open(self, case: str) -> None:
        """Make its workers ready for a case."""
        self.takes_chunks = self.ask(case=case, open=True)["takes_chunks"]

    def ask(self, limit_s: float = ANSWER_S, **question: Any) -> dict[str, Any]:
        """Ask and wait for the answer.

        Raises:
            Silent: it gave none in time, has died, or tells of an error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Silent(f"{self.peer} has died: {self._tail()}") from None
        answer = self._answer(limit_s)
        if "error" in answer:
            raise Silent(f"{self.peer}: {answer['error'].strip()}")
        return answer

    def _answer(self, limit_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        fd, deadline = self._process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Silent(f"{self.peer} gave no answer within {limit_s:.0f} s: {self._tail()}")
            piece = os.read(fd, 65536)
            if not piece:
                raise Silent(f"{self.peer} has died: {self._tail()}")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()

    def close(self) -> None:
        """End it, and all that came from it; nothing where that was done."""
        if self._log.closed:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(CLOSE_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            end(self._process.pid)
        self._process.wait()
        _asked.discard(self._process.pid)
        self._process.stdout.close()
        self._log.close()
        end_orphans()


def end(pid: int) -> None:
    """Kill a process and all that came from it."""
    for each in [*descendants(pid), pid]:
        _kill(each)


def end_orphans() -> None:
    """Kill what was left to us, and take note of its end."""
    for pid in descendants(os.getpid()):
        if _parent(pid) == os.getpid() and pid not in _asked:
            end(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

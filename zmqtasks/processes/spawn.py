"""How a worker process comes to be: the interface of the two methods, and the portable one of them.

Owns nothing that lives on: descriptors are made by the request and closed here once the worker has them. Never watches
a worker. `workforce.py` calls it.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zmqtasks.messages import Job, JobId
from zmqtasks.processes.command import python_command
from zmqtasks.processes.worker import WORKER_VARIABLE
from zmqtasks.processes.zygote import MARK_VARIABLE
from zmqtasks.records import Value

if TYPE_CHECKING:
    import asyncio


class WorkerFds(NamedTuple):
    """The worker's ends of what ties it to the supervisor."""

    channel: int
    stdout: int
    stderr: int


class SpawnRequest(Value):
    """One worker wanted.

    Args:
        slot: its place.
        open_fds: makes fresh ends; called again when an attempt was lost, and then the former ones are worthless.
            They are closed by the spawner.
        on_started: called with the pid of the worker, a child of this process, and the jobs it knows from the start.
        on_failed: called with the reason when there will be no process.
    """

    slot: int
    open_fds: Callable[[], WorkerFds]
    on_started: Callable[[int, Mapping[JobId, Job]], None]
    on_failed: Callable[[str], None]


class Spawner(Protocol):
    """Starts workers; answers each request once, never before `spawn` has returned."""

    tells_peak: bool
    """Whether the peak of memory that the kernel keeps of a worker (ru_maxrss) is its own."""
    tells_settings: bool
    """Whether workers know their settings, but for functions, without a START frame."""

    def spawn(self, request: SpawnRequest) -> None:
        """Start one worker."""

    def learn(self, job: Job) -> None:
        """Take note that workers run tasks of this job, in case that can be made cheaper for those to come."""

    def pids(self) -> set[int]:
        """Return the processes it needs for itself."""

    def settle(self) -> None:
        """Drop the requests that wait; wait for the answer to one under way."""

    def close(self) -> None:
        """End them."""


def child_environment(mark: str) -> dict[str, str]:
    """Return our environment with the mark of a workforce, by which its processes can be found."""
    environment = {name: value for name, value in os.environ.items() if name != WORKER_VARIABLE}
    return environment | {MARK_VARIABLE: mark}


def close_fds(fds: WorkerFds) -> None:
    """Close the worker's ends in the supervisor."""
    for fd in fds:
        os.close(fd)


class DirectSpawner:
    """Starts each worker as a fresh interpreter: everywhere, at some 100 ms a worker.

    Args:
        loop: where the answers are called.
        mark: what the processes carry in their environment.
        progress_fd: the memory that shows their progress.
    """

    tells_peak = False  # it survives vfork and exec: that of a large supervisor would be told as the worker's
    tells_settings = False

    def __init__(self, loop: asyncio.AbstractEventLoop, mark: str, progress_fd: int) -> None:
        self._loop = loop
        self._progress_fd = progress_fd
        self._mark = mark
        self._answers: deque[Callable[[], None]] = deque()

    def spawn(self, request: SpawnRequest) -> None:
        """Start one worker."""
        try:
            fds = request.open_fds()
            try:
                pid = self._execute(fds)
            finally:
                close_fds(fds)
        except OSError as error:
            self._answers.append(partial(request.on_failed, f"cannot start a worker: {error}"))
        else:
            self._answers.append(partial(request.on_started, pid, {}))
        self._loop.call_soon(self.settle)

    def learn(self, job: Job) -> None:
        """Do nothing: workers have nothing in common."""

    def pids(self) -> set[int]:
        """Return nothing: it has no process of its own."""
        return set()

    def settle(self) -> None:
        """Give the answers that wait for the loop; a request is carried out at once."""
        while self._answers:
            self._answers.popleft()()

    def close(self) -> None:
        """Do nothing: it has no process of its own."""

    def _execute(self, fds: WorkerFds) -> int:
        process = subprocess.Popen(
            python_command("zmqtasks.processes.worker", fds.channel, self._progress_fd),
            stdin=subprocess.DEVNULL,
            stdout=fds.stdout,
            stderr=fds.stderr,
            pass_fds=(fds.channel, self._progress_fd),
            start_new_session=True,
            env=child_environment(self._mark),
        )
        process.returncode = 0  # its end is watched by `exits.py`: this object must not wait for it as well
        return process.pid

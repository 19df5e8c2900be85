"""The supervisor's side of the zygote: starts it, asks it for workers, replaces it when it is lost (Linux).

Owns the zygote process and the requests it has not answered. One request is under way at a time, so that at most one
is in doubt when the zygote dies: that one is sent again with fresh descriptors, and a worker that did come of the first
attempt finds its socket closed and ends. Workers that run already do not notice. `workforce.py` calls it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zmqtasks.messages import Job, JobId
from zmqtasks.processes.command import python_command
from zmqtasks.processes.exits import await_end, reap
from zmqtasks.processes.first_zygote import FirstZygote
from zmqtasks.processes.lessons import Lessons
from zmqtasks.processes.spawn import SpawnRequest, child_environment, close_fds
from zmqtasks.processes.worker import Settings
from zmqtasks.processes.zygote import FAREWELL, PACKET_BYTES
from zmqtasks.records import Entity

if TYPE_CHECKING:
    import asyncio

MOST_ATTEMPTS = 3
ANSWER_S = 10.0
"""A zygote that takes longer to fork is stopped or broken: it is replaced."""
FAREWELL_S = 3.0


class _Pending(Entity):
    request: SpawnRequest
    attempts: int = 0
    jobs: Mapping[JobId, Job] = {}
    """What the worker knows from the start, if this attempt succeeds."""


class ZygoteSpawner:
    """Starts workers by asking the zygote, which it starts at the first request.

    Args:
        loop: where the control socket is watched and answers are called.
        mark: what the processes carry in their environment.
        settings: of the workers, which the zygote sets up before it forks them.
        progress_fd: the memory that shows their progress; open until this is closed.
        preload: modules it imports before it forks.
        cleanup_dir: folder it removes when this process is gone, or None.
        owner_dir: folder it removes then if nobody has it locked, or None.
        cgroup: group of the node it kills and removes then, or None.
        first: a zygote that waits for its settings already, or None; owned from now on.
    """

    tells_peak = True
    tells_settings = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        mark: str,
        settings: Settings,
        progress_fd: int,
        *,
        preload: tuple[str, ...] = (),
        cleanup_dir: str | None = None,
        owner_dir: str | None = None,
        cgroup: str | None = None,
        first: FirstZygote | None = None,
    ) -> None:
        self._loop = loop
        self._mark = mark
        self._progress_fd = progress_fd
        self._settings = {
            "supervisor": os.getpid(),
            "mark": mark,
            "sys_path": settings.sys_path,
            "has_functions": settings.has_functions,
            "worker": settings._replace(initializer=b"", finalizer=b"").pack().decode(),
            "preload": list(preload),
            "cleanup_dir": cleanup_dir,
            "owner_dir": owner_dir,
            "cgroup": cgroup,
        }
        self._first = first
        self._pid: int | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self._lessons = Lessons(takes_jobs=settings.lanes == 1)
        self._waiting: deque[_Pending] = deque()
        self._current: _Pending | None = None
        self._timer: asyncio.TimerHandle | None = None

    def spawn(self, request: SpawnRequest) -> None:
        """Start one worker."""
        self._waiting.append(_Pending(request))
        if self._pid is None:
            self.start()
        self._loop.call_soon(self._ask)

    def learn(self, job: Job) -> None:
        """Have the zygote know a job, and remember the code of its module, before it forks the next worker."""
        self._lessons.learn(job)

    def start(self) -> None:
        """Start the zygote, so that the first worker need not wait for its imports."""
        if self._pid is not None:
            return
        self._pid, ours = self._first or self._execute()
        self._first = None
        ours.setblocking(False)
        with contextlib.suppress(OSError):  # it died: the end of the socket is about to tell
            socket.send_fds(ours, [json.dumps(self._settings).encode()], [self._progress_fd])
        self._control, self._ready = ours, False
        self._lessons.begin_again()
        self._loop.add_reader(ours, self._answered)

    def _execute(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                python_command("zmqtasks.processes.zygote", theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=child_environment(self._mark),
            )
        process.returncode = 0  # its end is awaited by its pid, as that of one that was forked
        return process.pid, ours

    def pids(self) -> set[int]:
        """Return the zygote."""
        return set() if self._pid is None else {self._pid}

    def settle(self) -> None:
        """Drop the requests that wait; wait for the answer to one under way."""
        self._waiting.clear()
        if self._current is not None and self._control is not None:
            self._control.settimeout(ANSWER_S)
            self._answered()

    def close(self) -> None:
        """End the zygote, which kills what it forked and all that came of it; wait for that."""
        if self._control is not None:
            with contextlib.suppress(OSError):  # it died already
                self._control.send(FAREWELL)
        self._disconnect()
        if self._pid is not None:
            _end(self._pid)
            self._pid = None

    def _ask(self) -> None:
        """Send the next request, if the zygote is free for it."""
        if not self._ready or self._current is not None or not self._waiting or self._control is None:
            return
        self._current = self._waiting.popleft()
        self._current.attempts += 1
        try:
            fds = self._current.request.open_fds()
        except OSError as error:
            self._finish({"error": f"cannot start a worker: {error}"})
            return
        try:
            lesson = self._lessons.tell()
            self._current.jobs = self._lessons.known
            socket.send_fds(self._control, [b"%d " % self._current.request.slot + lesson], fds)
        except OSError:  # it died: the end of the socket is about to tell
            pass
        finally:
            close_fds(fds)
        self._timer = self._loop.call_later(ANSWER_S, self._lost)

    def _answered(self) -> None:
        assert self._control is not None
        try:
            packet = self._control.recv(PACKET_BYTES)
        except OSError:
            packet = b""
        if not packet:
            self._lost()
        elif not self._ready:
            self._greeted(json.loads(packet))
        else:
            self._finish(json.loads(packet))
        self._ask()

    def _greeted(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self._give_up(answer["error"])
        else:
            self._ready = True

    def _finish(self, answer: dict[str, Any]) -> None:
        pending, self._current = self._current, None
        self._stop_timer()
        if pending is None:
            return
        if "pid" in answer:
            pending.request.on_started(answer["pid"], pending.jobs)
        else:
            pending.request.on_failed(answer["error"])

    def _lost(self) -> None:
        """Replace the zygote: it died, or does not answer."""
        was_ready = self._ready
        code = self._kill()
        pending, self._current = self._current, None
        if not was_ready:
            self._give_up(f"the zygote ended with exit code {code} before it was ready")
        elif pending is not None and pending.attempts >= MOST_ATTEMPTS:
            pending.request.on_failed(f"the zygote died {MOST_ATTEMPTS} times while it started this worker")
        elif pending is not None:
            self._waiting.appendleft(pending)
        # At once, needed or not: it is also who sees to the end. A callback above may have started it.
        if (self._waiting or was_ready) and self._pid is None:
            self.start()

    def _give_up(self, reason: str) -> None:
        """Fail all requests: another zygote would fare no better. The next request tries again."""
        self._kill()
        failed = list(self._waiting)
        self._waiting.clear()
        for pending in failed:
            pending.request.on_failed(reason)

    def _kill(self) -> int | None:
        """End the zygote alone: killed before its socket is closed, it does not take the workers with it."""
        if self._pid is None:
            return None
        os.kill(self._pid, signal.SIGKILL)
        end = reap(self._pid)
        self._pid = None
        self._disconnect()
        return end.code if end.signal is None else -end.signal

    def _disconnect(self) -> None:
        self._stop_timer()
        self._ready = False
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _end(pid: int) -> None:
    """Wait for a zygote that was told to end; kill it where it is busy with an import that hangs."""
    if not await_end(pid, FAREWELL_S):
        os.kill(pid, signal.SIGKILL)
        reap(pid)

"""One worker: it receives chunks over one socket, runs them, and sends outcomes back.

Owns the life of the process: what it sets up, the loop, how it ends. It never sees ZeroMQ, a key, a terminal or the
network, and imports nothing that needs them. The zygote calls `live` in a forked process; `main` is the start of a
fresh one (see `spawn.py`).
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
import types
from typing import Any, NamedTuple, NoReturn

from zmqtasks.messages import NO_SESSION, Outcome, PeerId, Results, Tasks
from zmqtasks.options import Limits
from zmqtasks.processes import linux
from zmqtasks.processes.execution import Execution
from zmqtasks.processes.framing import FrameKind, SupervisorGone, WorkerEnd, inner_limits
from zmqtasks.processes.progress import PHASE, WorkPhase, slot_for_writing
from zmqtasks.wire import codec, payload

EXIT_INITIALIZER_FAILED = 79
"""Exit code after a FAILED frame; outside the codes of the shell and of sysexits.h."""
FAREWELL_S = 5.0
"""How long functions registered with `atexit` may take when a worker is stopped."""
OOM_SCORE = 500
STACK_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""Asks a worker to write the stacks of its threads to its standard error; works while it holds its interpreter lock."""
WORKER_VARIABLE = "ZMQTASKS_WORKER"
"""In the environment of what a task executes: the pid of the worker, so that it can be found when that has died."""


def process_name(pid: int) -> str:
    """Return the name of worker `pid` in process listings, inherited by what a task forks."""
    return f"zmqtask-{pid}"


class Settings(NamedTuple):
    """The START frame."""

    supervisor: int
    """Pid of the process to live and die with."""
    slot: int
    node: PeerId
    host: str
    limits: Limits
    sys_path: list[str]
    initializer: bytes = b""
    """Encoded function without arguments, or nothing."""

    def pack(self) -> bytes:
        """Return the body of the frame."""
        limits = [self.limits.message_bytes, self.limits.header_bytes, self.limits.items]
        head = [self.supervisor, self.slot, self.node, self.host, limits, self.sys_path]
        return json.dumps(head).encode() + b"\n" + self.initializer

    @classmethod
    def unpack(cls, body: bytes) -> Settings:
        """Return what `pack` made a body of."""
        head, _, initializer = body.partition(b"\n")
        supervisor, slot, node, host, limits, sys_path = json.loads(head)
        return cls(supervisor, slot, node, host, Limits(*limits), sys_path, initializer)


def main(channel_fd: int, progress_fd: int) -> NoReturn:
    """Live in a process that was executed for it and leads its own session."""
    for fd in (channel_fd, progress_fd):
        os.set_inheritable(fd, False)  # what a task executes shall not hold them
    live(socket.socket(fileno=channel_fd), progress_fd)


def live(channel: socket.socket, progress_fd: int) -> NoReturn:
    """Be a worker until told to stop, or until the supervisor is gone."""
    end = WorkerEnd(channel)
    try:
        _, start = end.receive()
        settings = Settings.unpack(bytes(start))
        _settle(settings)
        slot = slot_for_writing(progress_fd, settings.slot)
        os.close(progress_fd)
        if settings.initializer:
            _initialize(settings, end, slot)
        end.send(FrameKind.READY)
        _Worker(end, settings, slot).serve()
        _say_farewell()
    except SupervisorGone:  # nobody wants what we do
        os._exit(0)
    except BaseException:  # a defect, or a signal handler of a task: nothing may run on in the code that forked us
        traceback.print_exc()
        flush_streams()
        os._exit(1)


def _settle(settings: Settings) -> None:
    linux.die_with_parent(settings.supervisor)
    linux.set_process_name(process_name(os.getpid()))
    linux.raise_oom_score(OOM_SCORE)
    os.environ[WORKER_VARIABLE] = str(os.getpid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
    faulthandler.enable(file=2)
    faulthandler.register(STACK_SIGNAL, file=2, all_threads=True, chain=False)
    sys.path[:] = settings.sys_path
    sys.modules["__main__"] = types.ModuleType("__main__")
    # New ones: those of the zygote remember what its own descriptors were. By lines: a crash loses none of them.
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    _reseed()


def _reseed() -> None:
    """Give each worker its own random numbers where the zygote has imported numpy; `random` does so by itself."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _initialize(settings: Settings, end: WorkerEnd, slot: memoryview) -> None:
    slot[PHASE] = int(WorkPhase.LOADING)
    try:
        payload.unpack_function(settings.initializer)()
    except BaseException as error:
        end.send(FrameKind.FAILED, payload.pack_failure(error))
        flush_streams()
        os._exit(EXIT_INITIALIZER_FAILED)
    slot[PHASE] = int(WorkPhase.IDLE)


class _Worker:
    """The loop: frames in, outcomes out."""

    def __init__(self, end: WorkerEnd, settings: Settings, slot: memoryview) -> None:
        self._end = end
        self._limits = inner_limits(settings.limits)
        self._pid = os.getpid()
        self._sent = 0
        self._execution = Execution(self._send, slot, node=settings.node, host=settings.host, limits=settings.limits)

    def serve(self) -> None:
        """Run what comes until a STOP frame."""
        while True:
            kind, body = self._end.receive()
            if kind is FrameKind.STOP:
                return
            self._take(codec.decode(body, self._limits))

    def _take(self, message: object) -> None:
        assert isinstance(message, Tasks)
        for job in message.jobs:
            self._execution.add_job(job)
            if not message.chunks:  # while it stands by
                self._execution.load(job.id)
        for chunk in message.chunks:
            self._execution.run(chunk)
            flush_streams()
        for ended in message.ended:
            self._execution.end_job(ended)

    def _send(self, outcomes: tuple[Outcome, ...]) -> None:
        if os.getpid() != self._pid:  # a task forked and its copy returned: one of us must not answer
            os._exit(0)
        self._sent += 1
        self._end.send(FrameKind.RESULTS, codec.encode(Results(NO_SESSION, self._sent, outcomes)))


def flush_streams() -> None:
    """Let half a line appear, too; a task may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue


def _say_farewell() -> NoReturn:
    """Run what was registered with `atexit`, bounded in time; threads that are left do not hold the process."""
    faulthandler.dump_traceback_later(FAREWELL_S, exit=True, file=2)
    atexit._run_exitfuncs()
    flush_streams()
    os._exit(0)

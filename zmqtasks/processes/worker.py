"""One worker: it receives chunks over one socket, runs them, and sends outcomes back.

Owns the life of the process: what it sets up, the loop, how it ends. It never sees ZeroMQ, a key, a terminal or the
network, and imports nothing that needs them. The zygote calls `live` in a forked process; `main` is the start of a
fresh one (see `spawn.py`).
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from zmqtasks import control
from zmqtasks.errors import StopRequested
from zmqtasks.messages import NO_SESSION, Job, JobId, Outcome, PeerId, Results, Tasks
from zmqtasks.options import Limits
from zmqtasks.processes import brand, cgroup, linux, streams
from zmqtasks.processes.allowed import Allowed
from zmqtasks.processes.execution import Execution
from zmqtasks.processes.farewell import flush_streams, say_farewell
from zmqtasks.processes.framing import SKIPPED_BODY, FrameKind, Passed, SupervisorGone, WorkerEnd, inner_limits
from zmqtasks.processes.lessons import with_learnt
from zmqtasks.processes.loops import LOOPS
from zmqtasks.processes.messenger import Messenger
from zmqtasks.processes.own_memory import OwnMemory
from zmqtasks.processes.progress import PHASE, WorkPhase, slot_of, slot_to_rehearse, slots_for_writing
from zmqtasks.processes.running import RunningTask, Shield
from zmqtasks.processes.unheard import handed_back
from zmqtasks.wire import codec, loans, payload, references
from zmqtasks.wire.lending import Pool

E = TypeVar("E", bound=Execution)
EXIT_INITIALIZER_FAILED = 79
"""Exit code after a FAILED frame; outside the codes of the shell and of sysexits.h."""
OOM_SCORE = 500
STACK_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""Asks a worker to write the stacks of its threads to its standard error; works while it holds its interpreter lock."""
WORKER_VARIABLE = "ZMQTASKS_WORKER"
"""In the environment of what a task executes: the pid of the worker, so that it can be found when that has died.

Only where there can be no brand, which tells the same.
"""

# A member that is looked up in its class costs a new process some twenty pages, its name here one.
_READY, _STOP, _RESULTS = FrameKind.READY, FrameKind.STOP, FrameKind.RESULTS


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
    finalizer: bytes = b""
    """The same, called before the process ends in order."""
    end_timeout_s: float = 5.0
    """How long the finalizer and functions registered with `atexit` may take."""
    recycle_memory: int | None = None
    """Above so many bytes the worker asks to be replaced."""
    group: str = ""
    """Folder of the node's cgroup, or nothing."""
    log_level: str = "WARNING"
    """Of the root logger."""
    one_chunk: bool = False
    """Whether it ends by itself after the first chunk, rather than to wait for being told."""
    log_format: str = "text"
    """Or "json": of records where a task sets up no logging."""
    only: Sequence[str] = ()
    """Modules whose registered functions may be called; none for any function."""
    pickle: bool = True
    """Whether pickles of others are opened."""
    lanes: int = 1
    """Tasks at once."""
    awaits: bool = False
    """Whether they are coroutines on one event loop, rather than threads."""

    @property
    def has_functions(self) -> bool:
        """Whether there is an initializer or a finalizer."""
        return bool(self.initializer or self.finalizer)

    def pack(self) -> bytes:
        """Return the body of the frame."""
        limits = [self.limits.message_bytes, self.limits.header_bytes, self.limits.items]
        head = [self.supervisor, self.slot, self.node, self.host, limits, self.sys_path]
        own = [
            len(self.initializer),
            self.end_timeout_s,
            self.recycle_memory,
            self.group,
            self.log_level,
            self.one_chunk,
            self.log_format,
            list(self.only),
            self.pickle,
            self.lanes,
            self.awaits,
        ]
        return json.dumps([head, own]).encode() + b"\n" + self.initializer + self.finalizer

    @classmethod
    def unpack(cls, body: bytes) -> Settings:
        """Return what `pack` made a body of."""
        head, _, functions = body.partition(b"\n")
        (supervisor, slot, node, host, limits, sys_path), own = json.loads(head)
        length, *others = own
        initializer, finalizer = functions[:length], functions[length:]
        where = supervisor, slot, node, host, Limits(*limits), sys_path
        return cls(*where, initializer, finalizer, *others)


def main(channel_fd: int, progress_fd: int) -> NoReturn:
    """Live in a process that was executed for it and leads its own session."""
    for fd in (channel_fd, progress_fd):
        os.set_inheritable(fd, False)  # what a task executes shall not hold them
    channel = socket.socket(fileno=channel_fd)
    end = WorkerEnd(channel)
    try:
        _, start = end.receive()
    except SupervisorGone:
        os._exit(0)
    settings = Settings.unpack(bytes(start))
    worker = class_for(settings)(settings, progress_fd, end)
    os.close(progress_fd)
    worker.take_rules()
    worker.live(channel, settings.slot)


def class_for(settings: Settings) -> type[Worker]:
    """Return what a worker is made of: one task at a time, or several."""
    if settings.lanes == 1:
        return Worker
    from zmqtasks.processes.laned import LanedWorker

    return LanedWorker


class Worker:
    """A worker, up to where it matters which one it is: made once, in what forks it, so that no worker pays for it.

    Args:
        settings: of all workers.
        progress_fd: the memory that shows their progress.
        end: what has come from the supervisor before, or None.
        awaits_functions: whether a START frame is to come first, which tells initializer and finalizer.
    """

    messenger_class = Messenger

    def __init__(
        self, settings: Settings, progress_fd: int, end: WorkerEnd | None = None, *, awaits_functions: bool = False
    ) -> None:
        self._settings = settings
        self._awaits_functions = awaits_functions
        self._mark = brand.own_mark()
        self._slots = slots_for_writing(progress_fd)
        self._limits = inner_limits(settings.limits)
        self._end = end or WorkerEnd()
        self._sent = 0
        self._one_chunk = False
        self._learnt: Mapping[JobId, Job] = {}
        nowhere = slot_to_rehearse()
        self._execution = self._make_execution(Execution, self._send, nowhere)
        self._running = RunningTask(nowhere, self._execution.at_hand, LOOPS)
        self._messenger = self._execution.messenger = self.messenger_class(self._end, self._make_shield())
        self._settle()

    def _make_shield(self) -> Shield:
        return self._running.shield

    def _make_execution(self, kind: type[E], send: Callable[[tuple[Outcome, ...]], None], slot: memoryview) -> E:
        settings = self._settings
        return kind(
            send,
            slot,
            node=settings.node,
            host=settings.host,
            limits=settings.limits,
            pool=Pool(told=True) if loans.AVAILABLE else None,
            stop_node=lambda: self._end.send(FrameKind.STOP_NODE),
            refused=lambda job, why: self._end.send(FrameKind.REFUSED, f"{job}\0{why}".encode()),
            skipped=lambda first, until: self._end.send(FrameKind.SKIPPED, SKIPPED_BODY.pack(first, until)),
        )

    def _settle(self) -> None:
        """Set up what a fork passes on."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
        faulthandler.enable(file=2)
        faulthandler.register(STACK_SIGNAL, file=2, all_threads=True, chain=False)
        self._running.install()
        control.messenger = self._messenger
        sys.path[:] = self._settings.sys_path
        sys.modules["__main__"] = types.ModuleType("__main__")
        streams.open_streams()
        streams.keep_spares()
        linux.take_part_in_fences()  # whether that is inherited is not said, so each worker does it again
        streams.log_to_stderr(self._settings.log_level, self._settings.log_format)

    def live(self, channel: socket.socket, number: int) -> NoReturn:
        """Be a worker in slot `number` until told to stop, or until the supervisor is gone."""
        try:
            self._begin()
            self._live_in(channel, number)
            say_farewell(self._settings.finalizer, self._settings.end_timeout_s)
        except SupervisorGone:  # nobody wants what we do
            os._exit(0)
        except BaseException:  # a defect, or a signal handler of a task: nothing may run on in the code that forked us
            traceback.print_exc()
            flush_streams()
            os._exit(1)

    def _live_in(self, channel: socket.socket, number: int) -> None:
        self.serve(channel, slot_of(self._slots, number))

    def _begin(self) -> None:
        """Become this one; a page that is touched here is paid for by each worker."""
        settings, pid = self._settings, os.getpid()
        linux.die_with_parent(settings.supervisor)
        if not self._mark or not brand.put(self._mark, pid):
            os.environ[WORKER_VARIABLE] = str(pid)
        if settings.group:
            cgroup.enter(settings.group)
        linux.set_process_name(process_name(pid))
        linux.raise_oom_score(OOM_SCORE)
        linux.take_part_in_fences()
        _reseed()
        if settings.recycle_memory is not None:
            self._execution.why_leave = OwnMemory(settings.recycle_memory).why_leave

    def take_rules(self) -> None:
        """Take on the rules for tasks of others, once there has been a rehearsal, if any."""
        settings = self._settings
        self._one_chunk = settings.one_chunk
        self._execution.allowed = Allowed(tuple(settings.only), settings.pickle)

    def learn(self, jobs: bytes) -> None:
        """Know the jobs of a message from the start, see `lessons.py`."""
        message = codec.decode(jobs, self._limits)
        assert isinstance(message, Tasks)
        before, self._learnt = self._learnt, with_learnt(self._learnt, message.jobs)
        for job in before.keys() - self._learnt.keys():
            self._execution.end_job(job)
        for known in message.jobs:
            self._execution.add_job(known)

    def _initialize(self, slot: memoryview) -> None:
        slot[PHASE] = int(WorkPhase.LOADING)
        try:
            payload.unpack_function(self._settings.initializer)()
        except BaseException as error:
            self._end.send(FrameKind.FAILED, payload.pack_failure(error))
            flush_streams()
            os._exit(EXIT_INITIALIZER_FAILED)
        slot[PHASE] = int(WorkPhase.IDLE)

    def serve(self, channel: socket.socket, slot: memoryview) -> None:
        """Be ready, and run what comes until a STOP frame, or until there is a reason to leave, and tell that.

        One that runs one chunk only ends by itself: its node knows when it was told of all of that.
        """
        self._get_ready(channel, slot)
        self._running.take_place(slot)
        self._execution.take_place(slot)
        streams.count_in(slot)
        self._sent = 0
        self._end.send(_READY)
        while self._has_something_to_do():
            kind, body = self._end.receive()
            if kind is _STOP:
                return
            message = codec.decode(body, self._limits, self._end.borrow)
            assert isinstance(message, Tasks)
            self._take(message, void=kind is FrameKind.VOID)
            if self._one_chunk and message.chunks and not self._execution.leaving:
                return
        self._end.send(FrameKind.LEAVING, self._execution.leaving.encode())

    def _get_ready(self, channel: socket.socket, slot: memoryview) -> None:
        self._end.attach(channel)
        if self._awaits_functions:
            _, start = self._end.receive()
            self._settings = Settings.unpack(bytes(start))
        if self._settings.initializer:
            self._initialize(slot)

    def _has_something_to_do(self) -> bool:
        """Wait for a frame where objects want to hear that there is none; tell whether this worker goes on."""
        execution = self._execution
        if not execution.leaving and execution.objects.starving:
            wish = execution.objects.wait(self._end.has_come)
            if wish is not None:
                execution.leave(stop=isinstance(wish, StopRequested))
        return not execution.leaving

    def _take(self, message: Tasks, *, void: bool = False) -> None:
        for object_id in message.dropped:
            references.here.drop(object_id)
        for put in message.objects:
            references.here.add(put.id, put.body)
        for job in message.jobs:
            self._execution.add_job(job)
        for chunk in message.chunks:
            if void:
                self._execution.pass_by(chunk)
                continue
            self._execution.run(chunk)
            flush_streams()
            self._messenger.tidy()
            if self._execution.leaving:
                return
        for ended in message.ended:
            self._execution.end_job(ended)

    def _send(self, outcomes: tuple[Outcome, ...]) -> None:
        self._messenger.settle()
        if self._messenger.take_loss():
            outcomes = handed_back(outcomes, self._execution.options_of)
        self._sent += 1
        passed = Passed()
        frame = codec.encode(Results(NO_SESSION, self._sent, outcomes), lend=passed.lend)
        self._end.send(_RESULTS, frame, passed.fds)


def _reseed() -> None:
    """Give each worker its own random numbers where the zygote has imported numpy; `random` does so by itself."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()

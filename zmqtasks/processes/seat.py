"""One worker as its supervisor knows it, from the wish for one to its end.

Owns the supervisor's ends of what ties the two together: socket, output pipes, pidfd. Turns what comes out of them into
events. Decides nothing, and never starts a process. `workforce.py` calls it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Buffer, Job, JobId, Results, Tasks
from zmqtasks.options import Limits
from zmqtasks.processes import linux
from zmqtasks.processes.channel import Channel
from zmqtasks.processes.events import (
    JobRefused,
    NodeStopRequested,
    WorkerAsked,
    WorkerBack,
    WorkerEvent,
    WorkerExited,
    WorkerFailedToStart,
    WorkerLeft,
    WorkerReady,
    WorkerSaid,
    WorkerSkipped,
    WorkerStarted,
    WorkerStuck,
    WorkerWaits,
)
from zmqtasks.processes.exits import Exit, ExitWatch, has_ended
from zmqtasks.processes.framing import ASKED_BODY, LANE_BODY, SKIPPED_BODY, FrameKind, Passed
from zmqtasks.processes.output import Drain, Outlet, Tail, split_stack
from zmqtasks.processes.progress import Progress, ProgressTable
from zmqtasks.processes.spawn import WorkerFds
from zmqtasks.processes.voice import OutputStyle, Voice
from zmqtasks.records import Value, replace
from zmqtasks.wire import codec, payload

if TYPE_CHECKING:
    import asyncio

MUTE_S = 1.0
"""How long a process may live on after its socket has ended; a process that dies closes it just before."""
STUCK_S = 5.0
"""How long a process may live on after it was killed, before its slot is given up."""


class Surroundings(Value):
    """What all seats of a workforce share."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    """Of frames between node and worker."""
    table: ProgressTable
    outlet: Outlet
    targets: tuple[int, int]
    """File descriptors of ours that standard output and standard error of workers are passed on to."""
    emit: Callable[[WorkerEvent], None]
    on_vacant: Callable[[Seat], None]
    """Called just before the last event of a seat."""
    lanes: int = 1
    """Of each worker."""
    tells_peak: bool = True
    """Whether the peak of memory that the kernel keeps of a worker is its own."""
    style: OutputStyle = OutputStyle()


class Seat:
    """The supervisor's half of one worker.

    Args:
        slot: its place.
        start: body of the START frame, or nothing: then none is sent.
        around: what all seats share.
    """

    def __init__(self, slot: int, start: bytes, around: Surroundings) -> None:
        self.slot = slot
        self.pid: int | None = None
        self.ready = False
        self.killed = False
        self._start = start
        self._around = around
        self._channel: Channel | None = None
        self._drains: list[Drain] = []
        self._printing = select.poll()
        """Tells whether a pipe has anything: most tasks print nothing, and to read nothing costs an exception each."""
        self._tail = Tail()
        self._voice = Voice(slot, around)
        self._watch: ExitWatch | None = None
        self._unsent: list[tuple[FrameKind, Buffer, Sequence[int], object]] = []
        self._begun_s = time.monotonic()
        self._mute: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._knows: Mapping[JobId, Job] = {}
        """Jobs that the worker need not be told of."""
        self._silent = False
        """It has said its last word, or was given up: whatever still comes out of its socket is not from it."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes sent to the worker that its kernel buffer has not taken yet."""
        waiting = sum(len(body) for _, body, _, _ in self._unsent)
        return waiting + (self._channel.backlog_bytes if self._channel is not None else 0)

    def is_at_rest(self) -> bool:
        """Tell whether the worker sleeps, has read all it was sent, and all it wrote was read."""
        if self._channel is None or self.pid is None or self.killed or not self.ready:
            return False
        stat = linux.stat_of(self.pid)
        # First that it sleeps: what wakes it later is seen on its way.
        return stat is not None and stat.state == "S" and self._channel.is_empty()

    def open_fds(self) -> WorkerFds:
        """Make both ends of everything, drop those of a former attempt, and return the worker's."""
        self.close()
        around = self._around
        ours, theirs = socket.socketpair()
        self._channel = Channel(
            around.loop,
            ours,
            most_bytes=around.limits.message_bytes,
            on_frame=self._heard,
            on_ended=self._fell_mute,
        )
        if self._start:
            self._channel.send(FrameKind.START, self._start)
        outputs = [os.pipe() for _ in around.targets]
        self._drains = [
            Drain(around.loop, reader, self._tail, partial(self._voice.printed, stream), stream)
            for stream, (reader, _) in enumerate(outputs)
        ]
        self._printing = select.poll()
        for reader, _ in outputs:
            self._printing.register(reader, select.POLLIN)
        return WorkerFds(theirs.detach(), outputs[0][1], outputs[1][1])

    def started(self, pid: int, jobs: Mapping[JobId, Job]) -> None:
        """Take note of the process, and of the jobs it knows already, and listen to it."""
        assert self._channel is not None
        self._knows = jobs
        self.pid = self._voice.pid = pid
        self._begun_s = time.monotonic()
        for frame in self._unsent:
            self._channel.send(*frame)
        self._unsent.clear()
        self._watch = ExitWatch(self._around.loop, pid, self._exited)
        if self.killed:
            self.kill()
        self._around.emit(WorkerStarted(self.slot, pid))
        self._channel.open()

    def failed(self, reason: str) -> None:
        """Take note that there will be no process."""
        self.close()
        self._around.on_vacant(self)
        self._around.emit(WorkerFailedToStart(self.slot, None, reason))

    def send(self, kind: FrameKind, body: Buffer, fds: Sequence[int] = (), holder: object = None) -> None:
        """Send a frame, or keep it until there is a process; see `Channel.send`."""
        if self.pid is None or self._channel is None:
            self._unsent.append((kind, body, fds, holder))
        else:
            self._channel.send(kind, body, fds, holder)

    def give(self, tasks: Tasks) -> None:
        """Send work."""
        self._voice.given(tasks)
        self._voice.hold_back = False
        if self._knows and tasks.jobs:
            tasks = replace(tasks, jobs=tuple([job for job in tasks.jobs if self._knows.get(job.id) is not job]))
        if self._knows and tasks.ended:
            self._knows = {id_: job for id_, job in self._knows.items() if id_ not in tasks.ended}
        passed = Passed()
        frame = codec.encode(tasks, lend=passed.lend)
        self.send(FrameKind.TASKS, frame, passed.fds, tasks)

    def expect_stack(self) -> None:
        """Take note that the worker is asked where it is; what it answers is kept, and not passed on as its output."""
        self._tail.expect_stack()
        self._voice.hold_back = True

    def stack_bytes(self) -> int:
        """Return how much it has answered."""
        return self._tail.stack_bytes()

    def kill(self) -> None:
        """Kill the worker and its process group, now or as soon as there is a process."""
        self.killed = True
        if self.pid is not None:
            self.signal_group()
            if self._stuck is None:
                self._stuck = self._around.loop.call_later(STUCK_S, self._give_up)

    def signal_group(self) -> None:
        """Send SIGKILL to the group of the worker; its pid is ours until it is reaped."""
        assert self.pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it may not lead its group yet
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back all descriptors; a second call does nothing. The process is not touched."""
        for timer in (self._mute, self._stuck):
            if timer is not None:
                timer.cancel()
        self._mute = self._stuck = None
        if self._watch is not None:
            self._watch.close()
        if self._channel is not None:
            self._channel.close()
        for drain in self._drains:
            drain.close()

    def _heard(self, kind: FrameKind, body: Buffer) -> None:
        if self._silent:
            return
        if kind is FrameKind.RESULTS:
            self._heard_results(body)
        elif kind is FrameKind.LEAVING:
            self._silent = True
            self._around.emit(WorkerLeft(self.slot, bytes(body).decode(errors="replace")))
        elif kind is FrameKind.SKIPPED and len(body) == SKIPPED_BODY.size:
            self._around.emit(WorkerSkipped(self.slot, *SKIPPED_BODY.unpack(body)))
        elif kind is FrameKind.ASK and len(body) >= ASKED_BODY.size:
            number, length = ASKED_BODY.unpack_from(body)
            rest = memoryview(body)[ASKED_BODY.size :]
            job = bytes(rest[:length]).decode(errors="replace")
            self._around.emit(WorkerAsked(self.slot, number, job, rest[length:]))
        elif kind is FrameKind.WAIT and len(body) >= LANE_BODY.size:
            self._around.emit(WorkerWaits(self.slot, *LANE_BODY.unpack_from(body)))
        elif kind is FrameKind.BACK and len(body) >= LANE_BODY.size:
            self._around.emit(WorkerBack(self.slot, len(body) > LANE_BODY.size, *LANE_BODY.unpack_from(body)))
        elif kind is FrameKind.REFUSED:
            job, _, why = bytes(body).decode(errors="replace").partition("\0")
            self._around.emit(JobRefused(self.slot, job, why))
        elif kind is FrameKind.STOP_NODE:
            self._around.emit(NodeStopRequested(self.slot))
        elif kind is FrameKind.READY:
            self.ready = True
            self._around.emit(WorkerReady(self.slot))
        elif kind is FrameKind.FAILED:
            type_name, message, _ = payload.describe_failure(body, self._around.limits)
            reason = f"the initializer failed: {type_name}: {message}"
            self._around.emit(WorkerFailedToStart(self.slot, self.pid, reason, bytes(body)))

    def _heard_results(self, body: Buffer) -> None:
        try:
            assert self._channel is not None
            message = codec.decode(body, self._around.limits, self._channel.borrow)
        except RemoteProtocolError:  # a task wrote to the socket of its worker
            self.kill()
            return
        if self._printing.poll(0):  # what was printed before an outcome was written is heard before it
            for drain in self._drains:
                drain.catch_up()
        if isinstance(message, Results):
            lane = message.seq % self._around.lanes if self._around.lanes > 1 else 0
            self._around.emit(WorkerSaid(self.slot, message.outcomes, lane))

    def _fell_mute(self, error: RemoteProtocolError | None) -> None:
        """Kill a worker that cannot be understood, and one whose socket ended, unless it is about to end by itself."""
        if error is not None:
            self.kill()
        else:
            self._mute = self._around.loop.call_later(MUTE_S, self.kill)

    def _exited(self) -> None:
        """Hand over what the worker left, then report its end."""
        assert self.pid is not None
        assert self._watch is not None
        self.signal_group()  # before it is reaped: until then nobody else can have its number
        ended = self._watch.reap()
        progress = self._progress()
        if self._channel is not None:
            self._channel.drain()
        for drain in self._drains:
            drain.finish()
        self.close()
        event = self._end_of(ended, *progress)
        self._around.on_vacant(self)
        self._around.emit(event)

    def _progress(self) -> list[Progress]:
        lanes = self._around.lanes
        return [self._around.table.read(self.slot * lanes + lane) for lane in range(lanes)]

    def _end_of(self, ended: Exit, progress: Progress, *others: Progress) -> WorkerExited:
        assert self.pid is not None
        uptime_s = time.monotonic() - self._begun_s
        before = self._around.table.output_before(self.slot, progress)
        output, stack = split_stack(self._tail.text(before))
        peak_bytes = ended.peak_bytes if self._around.tells_peak else 0
        return WorkerExited(
            self.slot,
            self.pid,
            ended.signal,
            ended.code,
            output,
            progress,
            uptime_s,
            stack,
            peak_bytes,
            (progress, *others),
        )

    def _give_up(self) -> None:
        """Report a process that was killed and does not end: it runs nothing any more, and all it wrote was read."""
        assert self.pid is not None
        if has_ended(self.pid):
            return  # it is about to be seen
        self._silent = True
        stat = linux.stat_of(self.pid)
        end = self._end_of(Exit(signal.SIGKILL, None), *self._progress())
        self._around.emit(WorkerStuck(self.slot, stat.state if stat else "", end))

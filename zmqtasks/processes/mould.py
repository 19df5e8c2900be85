"""The mould: a worker that was set up once, and of which each worker is a copy (Linux).

Owns how the zygote forks. A process that was forked pays some microseconds for each page it writes to, and a reference
that is counted is a write; so all that does not depend on which worker it is happens here, before, and the way of a
task is gone a few times. Never runs a task of anybody. `zygote.py` makes one, and calls it for each worker.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from types import CodeType, FunctionType, ModuleType
from typing import NoReturn

from zmqtasks.messages import NO_SESSION, Address, Chunk, Job, Tasks
from zmqtasks.options import TaskOptions
from zmqtasks.processes import linux, streams
from zmqtasks.processes.code_memory import CodeMemory
from zmqtasks.processes.farewell import disown_exit_handlers
from zmqtasks.processes.framing import FrameKind, frame_head
from zmqtasks.processes.progress import slot_to_rehearse
from zmqtasks.processes.worker import Settings, Worker, class_for
from zmqtasks.wire import codec, functions, payload

REHEARSALS = 2
"""The first imports and binds what comes late; the second leaves a few pages less to write to, more of them none."""
_ANSWER = b'{"pid": %d}'


class Mould:
    """What each worker is a copy of.

    Args:
        control: socket of the zygote, which workers do not keep.
        settings: of all workers, without their functions.
        progress_fd: the memory that shows their progress; closed here.
        has_functions: whether each worker is told initializer and finalizer by a START frame.
    """

    def __init__(self, control: socket.socket, settings: Settings, progress_fd: int, *, has_functions: bool) -> None:
        self._control_fd = control.fileno()
        with _StreamsInPlace():
            self._worker = class_for(settings)(settings, progress_fd, awaits_functions=has_functions)
        os.close(progress_fd)
        self._memory = CodeMemory()
        self._memory.install()
        functions.import_module = self._memory.import_module
        disown_exit_handlers()
        ours, self._channel = socket.socketpair()
        """The channel of each worker, which puts its own in the place of this one: cheaper than a new object."""
        self._channel_fd = self._channel.fileno()
        with ours:
            rehearse(self._worker, ours, self._channel, settings.pack() if has_functions else b"")
        self._worker.take_rules()
        self._care = _CareForThreads()
        gc.collect()
        gc.disable()  # a collection before a fork would only make pages that are no longer shared
        gc.freeze()

    def learn(self, modules: Sequence[str], jobs: bytes) -> None:
        """Remember the code of modules that tasks come from, and have workers know the jobs of a message."""
        for module in modules:
            self._memory.learn(module)
        if jobs:
            self._worker.learn(jobs)

    def fork(self, slot: int, fds: tuple[int, ...]) -> bytes:
        """Fork a worker, and return the answer to who asked for it.

        Args:
            slot: its place.
            fds: its channel, standard output and standard error.
        """
        if (threads := linux.count_threads()) > 1:
            return _error(f"the zygote has {threads} threads and cannot fork safely")
        try:
            pid = linux.fork_sibling()
        except NotImplementedError:
            return self._fork_twice(slot, fds)
        except OSError as error:
            return _error(f"cannot fork: {error}")
        if pid == 0:
            self._become_worker(slot, *fds)
        return _ANSWER % pid

    def _fork_twice(self, slot: int, fds: tuple[int, ...]) -> bytes:
        """Give the worker to the supervisor by ending the process between us and it."""
        reader, writer = os.pipe()
        try:
            between = os.fork()
            if between == 0:
                os.close(reader)
                self._fork_again(writer, slot, fds)
            os.waitpid(between, 0)  # when it has gone, the worker is a child of the supervisor
            os.close(writer)
            writer = -1
            return os.read(reader, 256) or _error("the process between zygote and worker died")
        except OSError as error:
            return _error(f"cannot fork: {error}")
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)

    def _fork_again(self, writer: int, slot: int, fds: tuple[int, ...]) -> NoReturn:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(writer, _error(f"cannot fork: {error}"))
            os._exit(1)
        if pid:
            os.write(writer, _ANSWER % pid)
            os._exit(0)
        os.close(writer)
        self._become_worker(slot, *fds)

    def _become_worker(self, slot: int, channel_fd: int, stdout_fd: int, stderr_fd: int) -> NoReturn:
        self._care.resume()
        os.setsid()
        os.close(self._control_fd)
        streams.redirect(1, stdout_fd)
        streams.redirect(2, stderr_fd)
        os.dup2(channel_fd, self._channel_fd, inheritable=False)
        os.close(channel_fd)
        gc.enable()
        self._worker.live(self._channel, slot)


class _CareForThreads:
    """What `threading` and `logging` do after a fork, put off while this zygote forks.

    They renew locks that another thread may have held; the zygote has no other thread, which it checks before each
    fork. To do so in each worker took a quarter of all the pages that a worker writes to. Workers get it back, for
    their own forks. What another version of Python does not have by these names is not put off.
    """

    def __init__(self) -> None:
        self._put_off: list[tuple[FunctionType, CodeType]] = []
        if sys.version_info < (3, 13):  # later ones note there that the thread has another id
            self._replace(threading, "_after_fork", nothing_to_do)
        # Before each fork its lock is taken: this gives it back, as is done in the process that forks.
        self._replace(logging, "_after_at_fork_child_reinit_locks", getattr(logging, "_releaseLock", None))

    def _replace(self, module: ModuleType, name: str, replacement: object) -> None:
        handler = getattr(module, name, None)
        if isinstance(handler, FunctionType) and isinstance(replacement, FunctionType):
            self._put_off.append((handler, handler.__code__))
            handler.__code__ = replacement.__code__

    def resume(self) -> None:
        """Do it again from now on."""
        for handler, code in self._put_off:
            handler.__code__ = code


class _StreamsInPlace:
    """Pipes as standard output and error, for streams that shall write to pipes later."""

    def __enter__(self) -> None:
        self._kept = [(os.dup(fd), fd) for fd in (1, 2)]
        pipe = os.pipe()
        for _, fd in self._kept:
            os.dup2(pipe[1], fd)
        for fd in pipe:
            os.close(fd)

    def __exit__(self, *exc_info: object) -> None:
        for kept, fd in self._kept:
            streams.redirect(fd, kept)  # as each worker does, which so need not look up what it calls


def rehearse(worker: Worker, ours: socket.socket, theirs: socket.socket, start: bytes) -> None:
    """Have a worker run tasks that do nothing, and throw away what comes of them.

    Args:
        worker: it.
        ours: the other end of its channel.
        theirs: its channel.
        start: body of the START frame it waits for, or nothing.
    """
    if start:
        ours.sendall(frame_head(FrameKind.START, start) + start)
    for number in range(REHEARSALS):
        for message in _messages(number):
            body = codec.encode(message)
            ours.sendall(frame_head(FrameKind.TASKS, body) + body)
    ours.sendall(frame_head(FrameKind.STOP, b""))
    worker.serve(theirs, slot_to_rehearse())


def _messages(number: int) -> list[Tasks]:
    """Return a task called as `submit` does, and one as `map` does; with their job, and as to one who knows it."""
    job = Job(f"rehearsal:{number}", "nothing", Address("rehearsal", "here", ("nowhere",)), TaskOptions(), _NOTHING)
    bodies = [
        payload.pack([((number,), {})], form=payload.Form.CALL)[0].body,
        payload.pack([number], form=payload.Form.ONE)[0].body,
    ]
    chunks = tuple(Chunk(job.id, 1, 0, 1, 0, body) for body in bodies if body is not None)
    known = [Tasks(NO_SESSION, number, (), (chunk,)) for chunk in chunks]
    return [Tasks(NO_SESSION, number, (job,), chunks), *known, Tasks(NO_SESSION, number, ended=(job.id,))]


def nothing(value: int) -> None:
    """Do nothing."""


def nothing_to_do() -> None:
    """Do nothing, and be given nothing."""


_NOTHING = payload.pack_function(nothing)


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()

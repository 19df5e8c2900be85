"""A program beside this one: started, fed through its standard input, read to its end, on an asyncio loop.

Owns its process and its three pipes, which are always read: a program that cannot write would stand still. Knows
nothing of what is said. Called by `cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence

from zmqtasks.options import MIB
from zmqtasks.processes import linux

LONGEST_LINE = MIB
"""Of what a program prints; more without an end is told as several lines."""


async def start_program(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    merged: bool = False,
    bound: bool = False,
) -> Program:
    """Start a program with a pipe to its standard input, and from its output.

    Args:
        command: its command line.
        env: its environment, or None for ours.
        cwd: its folder, or None for ours.
        merged: whether its errors come with its output.
        bound: whether the kernel kills it when this process ends.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT if merged else PIPE,
        env=env,
        cwd=cwd,
        limit=LONGEST_LINE,
        preexec_fn=functools.partial(linux.die_with_parent, os.getpid()) if bound else None,
    )
    return Program(process)


class Program:
    """A program that was started by `start_program`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Return its process."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Hand it bytes, which wait here until it takes them; nothing where it has ended."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(data)

    def close_input(self) -> None:
        """End its standard input; idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def output(self) -> AsyncIterator[str]:
        """Yield the lines of its standard output, without their ends."""
        return _lines(self._process.stdout)

    def errors(self) -> AsyncIterator[str]:
        """Yield the lines of its standard error."""
        return _lines(self._process.stderr)

    async def wait(self, timeout_s: float | None = None) -> int:
        """Return its exit code, negative for a signal, once it has ended.

        Raises:
            TimeoutError: it runs on.
        """
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does; a second SIGTERM would be lost where the first has not been taken."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


async def _lines(pipe: asyncio.StreamReader | None) -> AsyncIterator[str]:
    assert pipe is not None
    while True:
        try:
            line = await pipe.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line = error.partial
            if not line:
                return
        except asyncio.LimitOverrunError as error:
            line = await pipe.readexactly(error.consumed or 1)
        except OSError:  # the pipe broke
            return
        yield line.decode(errors="replace").rstrip("\r\n")

"""Starting a node as a process of our own, and being one: settings go in, one report comes out, a lifeline holds.

Owns the two pipes. The child's standard input carries one JSON line and then stays open: its end tells that the owner
is gone, however it died; another line before it asks for an end in order. The report goes through a pipe of its own,
since standard output belongs to the tasks. Knows nothing of nodes; `client` uses `launch`, `node` uses `Lifeline`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.processes.command import python_command

if TYPE_CHECKING:
    import asyncio

LIFELINE_FD = 0
STOPPED = 80
"""Exit code of a launched process that was asked to end from within: do not start it again."""
_READ_BYTES = 64 * 1024
_END = b"end\n"


def launch(
    module: str,
    config: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    output: Literal["inherit", "none"] = "inherit",
) -> Launched:
    """Start `module.main(report_fd)` in a new interpreter and a new session, out of reach of the terminal's Ctrl-C.

    Args:
        module: where `main` is.
        config: settings that JSON can carry; read there by `Lifeline.read_config`. With None it waits for those that
            `Launched.configure` sends.
        env: its environment, or None for ours.
        cwd: its folder, or None for ours.
        output: whether it shares our standard output and error, or has none.

    Raises:
        OSError: it cannot be started.
        TypeError: JSON cannot carry the settings.
    """
    line = b"" if config is None else _as_line(config)
    report, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            python_command(module, theirs),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if output == "none" else None,
            stderr=subprocess.DEVNULL if output == "none" else None,
            pass_fds=(theirs,),
            start_new_session=True,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    except BaseException:
        os.close(report)
        raise
    finally:
        os.close(theirs)
    return Launched(process, report, line)


class Launched:
    """A process started by `launch`; a context manager that ends it.

    Args:
        process: with its standard input as a pipe.
        report_fd: reading end of the report; owned from here on.
        line: what to send first.
    """

    def __init__(self, process: subprocess.Popen[bytes], report_fd: int, line: bytes) -> None:
        assert process.stdin is not None
        self._process = process
        self._lifeline = process.stdin
        self._report_fd = report_fd
        self._write(line)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Send the settings to a process that was launched without; to be called once.

        Raises:
            TypeError: JSON cannot carry them.
        """
        self._write(_as_line(config))

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it died already, or the lifeline is cut; report() tells
            self._lifeline.write(line)
            self._lifeline.flush()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code (negative for a signal), or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code once it has ended.

        Raises:
            TimeoutError: it runs on.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s") from error

    def report(self, timeout_s: float) -> dict[str, Any]:
        """Return what the process reported: `{"ok": True, ...}` or `{"ok": False, "error": text}`.

        A process that dies without a word is reported as `ok: False`, too. To be called once.

        Raises:
            TimeoutError: it said nothing for `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            if not _readable(self._report_fd, deadline - time.monotonic()):
                raise TimeoutError(f"process {self.pid} has not reported after {timeout_s} s")
            piece = os.read(self._report_fd, _READ_BYTES)
            if not piece:
                code = self._process.wait()  # its end of the pipe closed with it
                return {"ok": False, "error": f"the process ended with exit code {code} before it was ready"}
            line += piece
        return dict(json.loads(line))

    def fileno(self) -> int:
        """Return the descriptor of the report, for a loop to wait on."""
        return self._report_fd

    def ask_to_end(self) -> None:
        """Ask the process to end in order, and do not wait; the lifeline still holds."""
        self._write(_END)

    def hang_up(self) -> None:
        """Cut the lifeline, and do not wait; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def close(self, timeout_s: float = 5.0) -> int:
        """Cut the lifeline, wait, kill what is left after `timeout_s` seconds; return the exit code.

        A second call returns the same code.
        """
        self.hang_up()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            code = self._process.wait()
        if self._report_fd >= 0:
            os.close(self._report_fd)
            self._report_fd = -1
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _as_line(config: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(config)).encode() + b"\n"


def _readable(fd: int, timeout_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, timeout_s)))


class Lifeline:
    """The launched side: settings, report, and the owner's life.

    Use in this order: `read_config`, `report` once, `watch`.

    Args:
        report_fd: where the report goes; owned from now on.
    """

    def __init__(self, report_fd: int) -> None:
        os.set_inheritable(report_fd, False)
        self._report_fd = report_fd

    def read_config(self) -> dict[str, Any]:
        """Return the settings; waits for them.

        Raises:
            RemoteProtocolError: the owner died before it sent them, or they are malformed.
        """
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(LIFELINE_FD, _READ_BYTES)
            if not piece:
                raise RemoteProtocolError(
                    "the settings on standard input end early: this is started by zmqtasks itself"
                )
            line += piece
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise RemoteProtocolError(f"malformed settings on standard input: {error}") from error

    def report(self, **values: Any) -> None:
        """Tell the owner that all is well, with what it should know: `report(endpoints=[...])`."""
        self._say({"ok": True, **values})

    def report_error(self, error: str) -> None:
        """Tell the owner that this process cannot do its work."""
        self._say({"ok": False, "error": error})

    def watch(
        self, loop: asyncio.AbstractEventLoop, on_gone: Callable[[], None], on_end: Callable[[], None] = lambda: None
    ) -> None:
        """Call `on_gone` once, from the loop, when the owner has closed the lifeline or died.

        Args:
            loop: from there both are called.
            on_gone: nobody is left who could want anything.
            on_end: the owner asks for an end in order.
        """

        def look() -> None:
            said = os.read(LIFELINE_FD, _READ_BYTES)
            if not said:
                loop.remove_reader(LIFELINE_FD)
                on_gone()
            elif said.startswith(_END):
                on_end()

        loop.add_reader(LIFELINE_FD, look)

    def _say(self, report: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the owner is gone; watch() tells
            os.write(self._report_fd, json.dumps(report).encode() + b"\n")
        os.close(self._report_fd)
        self._report_fd = -1

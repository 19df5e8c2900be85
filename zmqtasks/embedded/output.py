"""What workers print, on its way from the nodes to the program that asked for it.

Owns the lines that wait for the program, and the thread that hands them over: what the program does with a line may
take its time. Where it takes too long, lines are lost and counted. Called by `thread.py`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

from zmqtasks.messages import JobId, Output, PeerId
from zmqtasks.options import MIB
from zmqtasks.records import Value

logger = logging.getLogger(__name__)

WAITING_CHARS = 4 * MIB
"""How much text may wait for the program."""
CLOSE_S = 2.0
"""How long the program may take over the last lines when its client ends."""


class OutputLine(Value):
    """A line that a worker printed, and the task it was at when the line was read.

    The task is that of the moment of reading: where tasks are much shorter than a millisecond, it may be a later one of
    the same job.
    """

    text: str
    """Without its line end."""
    stream: str
    """"stdout" or "stderr"; records of `logging` are on "stderr"."""
    node: str
    """Peer id of the node."""
    worker: int | None
    """Slot of the worker."""
    pid: int | None
    job: str
    function: str
    """Name of the job's function."""
    index: int | None
    """Of the task in its job."""
    dropped: int = 0
    """Above 0 the line stands for so many lost ones: `text` says so, and worker and task are not known."""

    @property
    def label(self) -> str:
        """Return worker and task, for people: "[worker 3 · module.function #17]"."""
        return "[zmqtasks]" if self.dropped else f"[worker {self.worker} · {self.function} #{self.index}]"


OnOutput = Callable[[OutputLine], object]


def print_line(line: OutputLine) -> None:
    """Print a line here, with its label, where the worker printed it: on standard output or error."""
    print(line.label, line.text, file=sys.stdout if line.stream == "stdout" else sys.stderr, flush=True)


class OutputFeed:
    """Hands lines over in a thread of its own, which is started with the first one.

    Args:
        on_output: gets each line; what it raises is logged.
    """

    def __init__(self, on_output: OnOutput) -> None:
        self._on_output = on_output
        self._waiting: deque[tuple[PeerId, Output]] = deque()
        self._chars = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._open = True

    def take(self, node: PeerId, output: Output) -> None:
        """Take lines of a node; never waits."""
        with self._changed:
            if not self._open or not (output.printed or output.dropped):
                return
            size = _chars_of(output)
            if self._chars + size > WAITING_CHARS:
                self._dropped += output.dropped + sum(max(1, p.text.count("\n")) for p in output.printed)
                return
            if self._dropped:
                self._waiting.append((node, Output(output.session, dropped=self._dropped)))
                self._dropped = 0
            self._waiting.append((node, output))
            self._chars += size
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zmqtasks-output", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Hand over what waits, for two seconds at most; in the thread itself, return at once. Idempotent."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                node, output = self._waiting.popleft()
            for line in _lines_of(node, output):
                self._hand_over(line)
            with self._changed:
                self._chars -= _chars_of(output)

    def _hand_over(self, line: OutputLine) -> None:
        try:
            self._on_output(line)
        except Exception:  # the user's function: its failure is not ours
            logger.exception("on_output failed")


def _chars_of(output: Output) -> int:
    return sum(len(printed.text) for printed in output.printed)


def _lines_of(node: PeerId, output: Output) -> Iterator[OutputLine]:
    if output.dropped:
        text = f"{output.dropped} lines of output were lost here: they came faster than they could be passed on"
        yield OutputLine(text, "stderr", node, None, None, _NO_JOB, "", None, output.dropped)
    for piece in output.printed:
        words = piece.text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
        for text in words.split("\n"):
            yield OutputLine(text, piece.stream, node, piece.worker, piece.pid, piece.job, piece.name, piece.task)


_NO_JOB: JobId = ""

"""What workers print: drained at once, its tail kept, and passed on without ever making the supervisor wait.

Owns the reading ends of the workers' pipes, and one thread that writes to our own standard output and error. Nothing
is parsed but line ends; whose a line is, `voice.py` knows. A reader of ours that is too slow loses whole pieces, which
are counted; the workers are never slowed, since a worker that waits for a terminal looks exactly like one that hangs.
`seat.py` calls it.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from zmqtasks.options import KIB, MIB

if TYPE_CHECKING:
    import asyncio

TAIL_BYTES = 64 * KIB
_MOST_PIECES = 1000
"""A tail forgets more where a worker prints to both streams in turn: so many changes between them it keeps."""
WAITING_BYTES = MIB
"""How much may wait for our own standard output and error together."""
PARTIAL_LINE_S = 0.05
"""How long half a line waits for its end, so that the lines of several workers do not mix."""
PARTIAL_LINE_BYTES = 8 * KIB
CLOSE_S = 1.0
_STACK = re.compile(r"^(?:Fatal Python error: |(?:Current thread|Thread) 0x[0-9a-f]+ )", re.MULTILINE)
"""How `faulthandler` begins what it writes."""
_READ_BYTES = 64 * KIB
_READS_AT_THE_END = 64


class _Piece(NamedTuple):
    """What came from one stream, with nothing from the other in between."""

    stream: int
    data: bytearray


class Tail:
    """The last bytes of what one worker printed to its two streams, in the order in which they came."""

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self._kept = 0
        self._heard = [0, 0]
        """Bytes that ever came from each stream."""
        self._stack_from: int | None = None
        """Of both together."""

    def expect_stack(self) -> None:
        """From here on a stack may come."""
        self._stack_from = sum(self._heard)

    def stack_bytes(self) -> int:
        """Return how much has come since a stack was expected, if it has come; else 0."""
        if self._stack_from is None or (count := sum(self._heard) - self._stack_from) == 0:
            return 0
        new = b"".join(piece.data for piece in self._pieces)[-count:]
        return len(new) if _STACK.search(new.decode("utf-8", "replace")) else 0

    def add(self, data: bytes, stream: int = 0) -> None:
        """Append; what is older than the last `TAIL_BYTES` goes."""
        if self._pieces and self._pieces[-1].stream == stream:
            self._pieces[-1].data.extend(data)
        else:
            self._pieces.append(_Piece(stream, bytearray(data)))
        self._heard[stream] += len(data)
        self._kept += len(data)
        # At times, not each time: dropping from the front moves the rest.
        if self._kept > 2 * TAIL_BYTES or len(self._pieces) > 2 * _MOST_PIECES:
            self._shorten()

    def _shorten(self) -> None:
        while self._kept > TAIL_BYTES or len(self._pieces) > _MOST_PIECES:
            first, excess = self._pieces[0].data, self._kept - TAIL_BYTES
            if 0 < excess < len(first) and len(self._pieces) <= _MOST_PIECES:
                del first[:excess]
                self._kept = TAIL_BYTES
            else:
                self._pieces.popleft()
                self._kept -= len(first)

    def text(self, before: tuple[int, int] = (0, 0)) -> str:
        """Return the last lines; a line that was cut at its start is left out, unless it is the only one.

        Args:
            before: bytes of each stream that are left out: they came before what is asked for.
        """
        places, parts = list(self._heard), []
        for stream, data in reversed(self._pieces):
            places[stream] -= len(data)
            parts.append(bytes(data[max(0, before[stream] - places[stream]) :]))
        text = b"".join(reversed(parts))
        if len(text) > TAIL_BYTES or any(place > known for place, known in zip(places, before, strict=True)):
            text = text[-TAIL_BYTES:]
            _, newline, rest = text.partition(b"\n")
            text = rest if newline and rest else text
        return text.decode("utf-8", "replace")


def split_stack(text: str) -> tuple[str, str]:
    """Return what a worker printed, and the stack that `faulthandler` wrote after it, or nothing."""
    starts = [match.start() for match in _STACK.finditer(text)]
    if not starts:
        return text, ""
    fatal = text.rfind("Fatal Python error:", 0, starts[-1])
    start = fatal if fatal >= 0 else starts[0]
    return text[:start], text[start:]


class Outlet:
    """Writes to file descriptors from a thread of its own, which may wait; `write` never does."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._waiting = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._open = True

    def write(self, fd: int, data: bytes) -> None:
        """Have `data` written to `fd` soon, or dropped where too much waits already."""
        with self._changed:
            if not self._open:
                return
            if self._waiting + len(data) > WAITING_BYTES:
                self._dropped += len(data)
                return
            if self._dropped:
                note = f"[zmqtasks: {self._dropped} bytes of output dropped here: its reader is too slow]\n".encode()
                self._dropped = 0
                self._append(fd, note)
            self._append(fd, data)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zmqtasks-output", daemon=True)
                self._thread.start()

    def _append(self, fd: int, data: bytes) -> None:
        self._pieces.append((fd, data))
        self._waiting += len(data)

    def close(self) -> None:
        """Write what waits, for a second at most; a second call does nothing."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or not self._open)
                if not self._pieces:
                    return
                fd, data = self._pieces.popleft()
            _write_all(fd, data)
            with self._changed:
                self._waiting -= len(data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:  # our own reader is gone; the tails are kept all the same
        return


class Drain:
    """Reads one pipe of a worker.

    Args:
        loop: where the pipe is watched.
        fd: the reading end; owned from here on.
        tail: where it is kept.
        pass_on: takes whole lines, and half a line that has waited or is long.
        stream: its number for the tail.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        tail: Tail,
        pass_on: Callable[[bytes], object],
        stream: int = 0,
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._tail = tail
        self._stream = stream
        self._pass_on_data = pass_on
        self._partial = b""
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(fd, self._read)

    def catch_up(self) -> None:
        """Read what the pipe holds now; one read takes all of it."""
        self._read()

    def finish(self) -> None:
        """Read what is left without waiting, pass it on, close; descendants of the worker may hold the other end."""
        for _ in range(_READS_AT_THE_END):
            if not self._read():
                break
        self.close()

    def close(self) -> None:
        """Pass on half a line and stop reading; a second call does nothing."""
        if self._fd < 0:
            return
        self._pass_on_partial()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _read(self) -> bool:
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._tail.add(data, self._stream)
        self._pass_on(data)
        return True

    def _pass_on(self, data: bytes) -> None:
        data = self._partial + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - end > PARTIAL_LINE_BYTES:
            end = len(data)
        self._partial = data[end:]
        if end:
            self._pass_on_data(data[:end])
        if self._partial and self._timer is None:
            self._timer = self._loop.call_later(PARTIAL_LINE_S, self._pass_on_partial)

    def _pass_on_partial(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._partial:
            self._pass_on_data(self._partial)
            self._partial = b""

"""What the workers of a node are at, in a file that outlives it: who is started again at its address reads it.

The progress slots are shared memory that workers write in any case; here that memory is a file on tmpfs, and beside the
slots is what each worker was given last and how far it has told, written by the node once a chunk and once a message.
Nobody writes for the sake of the recorder while tasks run.

    slots (`progress.py`) | notes: GIVEN for each slot | header, in the last `HEADER.size` bytes

Owns the files, in a folder that only their user enters, and their names. A file is removed by a node that ends in
order, and by the next one that reads it; one that nobody has come back for within an hour, by any node of this user.
Judges nobody. Made by `serving.py`, written by `workforce.py`.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import logging
import mmap
import os
import stat
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from zmqtasks import doors
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.messages import Chunk, Flight, Held, JobId, Outcome, PeerId, Phase
from zmqtasks.processes.progress import ATTEMPT, CHUNK, FIELDS, INDEX, PHASE, SLOT_BYTES

logger = logging.getLogger(__name__)

GIVEN = 4
"""Notes a slot: a worker has two chunks at most, and what was taken back of others lies between."""
NOTE = struct.Struct("<QQQQ56s")
"""Which chunk of this worker it is, counted from 1; attempt, the first task that was not told of, stop, job."""
_NEXT = struct.Struct("<Q")
_NEXT_AT = 16
"""Where that first task stands in a note."""
HEADER = struct.Struct("<8sQ32s")
"""Magic, slots, the peer id of the node."""
MAGIC = b"ZTFLY001"
SUFFIX = ".flight"
FORGOTTEN_S = 3600.0
"""A node that is not started again by then will not be."""


def tmpfs_folder() -> Path | None:
    """Return the private folder for recorders, made where there is none; None where there is no tmpfs of ours."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [Path("/dev/shm", f"zmqtasks-{os.getuid()}"), *([Path(runtime, "zmqtasks")] if runtime else [])]
    return next((path for path in candidates if _is_private(path)), None)


def _is_private(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700)
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def identity_of(bind: Iterable[str]) -> str:
    """Return by what a node that is started again is known: where it listens; empty where that is anywhere.

    In another network namespace the same address is another place.
    """
    fixed = sorted(endpoint for endpoint in bind if doors.port_of(endpoint))
    try:
        space = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        space = 0
    return f"{space} {' '.join(fixed)}" if fixed else ""


def path_of(folder: Path, identity: str) -> Path:
    """Return the file of a node; people may read whose it is."""
    shown = "".join(letter if letter.isalnum() else "-" for letter in identity)[:150]
    return folder / f"{shown}-{binascii.crc32(identity.encode()):08x}{SUFFIX}"


class FlightRecorder:
    """The file of one node; see the module.

    Args:
        folder: private, on tmpfs.
        identity: by which the next one finds it.
        node: our peer id.
        slots: how many workers there can be.

    Raises:
        OSError: there can be no file, or a process that lives has it.
    """

    def __init__(self, folder: Path, identity: str, node: PeerId, slots: int) -> None:
        self._path = path_of(folder, identity)
        self.predecessor = _take(self._path)
        """What ran when the node before us died; None where it ended in order, or there was none."""
        sweep(folder)  # not before our own was read, which seems old where the clock was set meanwhile
        self._slots = slots
        self._notes = slots * SLOT_BYTES
        size = self._notes + slots * GIVEN * NOTE.size + HEADER.size
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(self._path, flags, 0o600)
        # A lock of its own: that of the descriptor above would live on in workers, which map the file.
        self._lock = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        HEADER.pack_into(self._map, size - HEADER.size, MAGIC, slots, node.encode())
        self._counts = [0] * slots
        self._places: list[dict[tuple[JobId, int], int]] = [{} for _ in range(slots)]
        """Where the notes of each worker are, in the order of their chunks."""

    def started(self, slot: int) -> None:
        """Forget what the worker before was given: another one is started in its slot."""
        self._counts[slot] = 0
        self._places[slot].clear()
        first = self._notes + slot * GIVEN * NOTE.size
        self._map[first : first + GIVEN * NOTE.size] = bytes(GIVEN * NOTE.size)

    def given(self, slot: int, chunk: Chunk) -> None:
        """Note a chunk before the worker of a slot can have it."""
        count = self._counts[slot] = self._counts[slot] + 1
        job = chunk.job.encode()
        place = self._notes + (slot * GIVEN + count % GIVEN) * NOTE.size
        fits = job if len(job) < 56 else b""
        NOTE.pack_into(self._map, place, count, chunk.attempt, chunk.start, chunk.stop, fits)
        places = self._places[slot]
        places.pop((chunk.job, chunk.attempt), None)
        places[chunk.job, chunk.attempt] = place
        if len(places) > GIVEN:
            del places[next(iter(places))]

    def told(self, slot: int, outcomes: Iterable[Outcome]) -> None:
        """Note how far a worker has told of what it was given: a chunk is told of in its order."""
        for (job, attempt), stop in {(outcome.job, outcome.attempt): outcome.stop for outcome in outcomes}.items():
            place = self._places[slot].get((job, attempt))
            # Of an earlier part of the same chunk the note has nothing.
            if place is not None and stop > _NEXT.unpack_from(self._map, place + _NEXT_AT)[0]:
                _NEXT.pack_into(self._map, place + _NEXT_AT, stop)

    def touch(self) -> None:
        """Show that this file is not forgotten."""
        os.utime(self.fd)

    def close(self) -> None:
        """Remove the file: this node ends in order. Idempotent."""
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._map.close()
        os.close(self.fd)
        os.close(self._lock)
        self.fd = -1


def open_recorder(identity: str, node: PeerId, slots: int) -> FlightRecorder | None:
    """Return the recorder of a node; None where it has no identity, or there is no tmpfs."""
    folder = tmpfs_folder() if identity else None
    if folder is None:
        return None
    try:
        return FlightRecorder(folder, identity, node, slots)
    except OSError as error:
        logger.warning("no flight recorder: %s; should this node die, all tasks it has are charged", error)
        return None


def sweep(folder: Path) -> None:
    """Remove files of nodes that are long dead."""
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN_S:
                _take(path)


def _take(path: Path) -> Flight | None:
    """Read and remove a file whose node is dead.

    Raises:
        OSError: its node lives.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        path.unlink()
    finally:
        os.close(fd)
    return read_flight(content)


def read_flight(content: bytes) -> Flight | None:
    """Return what a recorder tells; None where it is not one, or was at the point of being written.

    Then nobody can be told from another, and all that was aboard is charged.
    """
    if len(content) < HEADER.size:
        return None
    magic, slots, node = HEADER.unpack_from(content, len(content) - HEADER.size)
    if magic != MAGIC or len(content) != slots * (SLOT_BYTES + GIVEN * NOTE.size) + HEADER.size:
        return None
    cells = memoryview(content[: slots * SLOT_BYTES]).cast("Q")
    begun: list[Held] = []
    try:
        for slot in range(slots):
            notes = content[slots * SLOT_BYTES + slot * GIVEN * NOTE.size :][: GIVEN * NOTE.size]
            begun += _begun(cells[slot * FIELDS : (slot + 1) * FIELDS], notes)
        return Flight(node.rstrip(b"\0").decode(), tuple(begun))
    except (LookupError, UnicodeDecodeError):
        return None


def _begun(cells: memoryview, notes: bytes) -> list[Held]:
    """Return what a worker had begun, the last two chunks: it has no more that it has not told of.

    Raises:
        LookupError: it is at a chunk of which there is no note.
    """
    number, attempt, index, phase = cells[CHUNK], cells[ATTEMPT], cells[INDEX], cells[PHASE]
    given = {note[0]: note for note in NOTE.iter_unpack(notes) if note[0]}
    if number == 0:
        return []
    if given[number][1] != attempt:
        raise LookupError(number)
    begun = [_held(given[earlier], Phase.FINISHED) for earlier in (number - 1,) if earlier in given]
    last = _held(given[number], Phase.FINISHED)
    if phase != WorkPhase.IDLE:
        # While it imports or loads, it may be about any task of the chunk.
        stop = index + 1 if phase == WorkPhase.RUNNING else index if phase == WorkPhase.PACKING else last.stop
        last = last._replace(stop=min(stop, last.stop), phase=Phase.RUNNING)
    return [held for held in (*begun, last) if held.start < held.stop]


def _held(note: tuple[int, int, int, int, bytes], phase: Phase) -> Held:
    """Return a note as an entry of an inventory.

    Raises:
        LookupError: it has no job.
    """
    _, attempt, start, stop, name = note
    job = name.rstrip(b"\0").decode()
    if not job:
        raise LookupError(attempt)
    return Held(job, start, stop, attempt, phase)

"""The flight recorder: what it tells of each phase, whose file it is, and what it does not leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmqtasks.messages import Chunk, Flight, Held, Outcome, OutcomeKind, Phase
from zmqtasks.processes import flight_recorder
from zmqtasks.processes.flight_recorder import FORGOTTEN_S, FlightRecorder, identity_of, open_recorder, read_flight
from zmqtasks.processes.progress import (
    ATTEMPT,
    CHUNK,
    INDEX,
    PHASE,
    ProgressTable,
    WorkPhase,
    slot_of,
    slots_for_writing,
)

NODE = "00112233aabbccdd"
FINISHED, RUNNING = Phase.FINISHED, Phase.RUNNING


class Flown:
    """A recorder as its node and its workers write it, and as the next node finds it."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self.folder = folder
        self.recorder = FlightRecorder(folder, "here", NODE, slots)
        self.table = ProgressTable(slots, self.recorder.fd)
        self.cells = slots_for_writing(self.recorder.fd)

    def give(self, slot: int, attempt: int, start: int, stop: int, job: str = "a:1") -> None:
        self.recorder.given(slot, Chunk(job, attempt, start, stop, start, b""))

    def tell(self, slot: int, attempt: int, start: int, stop: int, job: str = "a:1") -> None:
        self.recorder.told(slot, [Outcome(job, attempt, NODE, start, stop, OutcomeKind.OK, 0.0)])

    def work(self, slot: int, chunk: int, attempt: int, index: int, phase: WorkPhase) -> None:
        cells = slot_of(self.cells, slot)
        cells[CHUNK], cells[ATTEMPT], cells[INDEX], cells[PHASE] = chunk, attempt, index, phase

    def die(self) -> None:
        """Let go of all descriptors, as the kernel does, and leave the file."""
        self.cells.release()
        self.table.close()
        self.recorder._map.close()
        os.close(self.recorder.fd)
        os.close(self.recorder._lock)

    def read(self) -> Flight | None:
        self.die()
        following = FlightRecorder(self.folder, "here", "f" * 16, 1)
        following.close()
        assert list(self.folder.iterdir()) == [], "nothing is left behind"
        return following.predecessor


@pytest.fixture
def flown(tmp_path: Path) -> Flown:
    return Flown(tmp_path)


@pytest.mark.parametrize(
    ("phase", "index", "begun"),
    [
        (WorkPhase.RUNNING, 14, Held("a:1", 10, 15, 7, RUNNING)),
        (WorkPhase.RUNNING, 99, Held("a:1", 10, 20, 7, RUNNING)),
        (WorkPhase.PACKING, 14, Held("a:1", 10, 14, 7, RUNNING)),
        (WorkPhase.LOADING, 10, Held("a:1", 10, 20, 7, RUNNING)),
        (WorkPhase.IMPORTING, 10, Held("a:1", 10, 20, 7, RUNNING)),
        (WorkPhase.IDLE, 19, Held("a:1", 10, 20, 7, FINISHED)),
    ],
)
def test_what_had_begun_is_told_and_what_only_waited_is_not(
    flown: Flown, phase: WorkPhase, index: int, begun: Held
) -> None:
    flown.give(1, 7, 10, 20)
    flown.give(1, 8, 20, 30)
    flown.work(1, 1, 7, index, phase)
    assert flown.read() == Flight(NODE, (begun,))


def test_what_was_told_of_is_innocent(flown: Flown) -> None:
    """Its result may wait for a sink, but it ended before its node did."""
    flown.give(0, 1, 0, 5)
    flown.give(0, 2, 5, 9)
    flown.give(1, 3, 9, 12, "b:1")
    flown.tell(0, 1, 0, 3)
    flown.tell(0, 1, 3, 5)
    flown.tell(0, 2, 5, 7)
    flown.tell(0, 99, 5, 7)
    flown.tell(0, 2, 3, 5)
    flown.tell(1, 3, 9, 12, "b:1")
    flown.work(0, 2, 2, 8, WorkPhase.RUNNING)
    flown.work(1, 1, 3, 11, WorkPhase.IDLE)
    assert flown.read() == Flight(NODE, (Held("a:1", 7, 9, 2, RUNNING),))


def test_who_has_told_all_and_not_begun_the_next_has_begun_nothing(flown: Flown) -> None:
    flown.give(0, 1, 0, 5)
    flown.tell(0, 1, 0, 3)
    flown.work(0, 1, 1, 3, WorkPhase.PACKING)
    assert flown.read() == Flight(NODE)


def test_the_chunk_before_may_not_have_been_told(flown: Flown) -> None:
    for attempt in range(1, 8):
        flown.give(0, attempt, attempt, attempt + 1)
    flown.work(0, 6, 6, 6, WorkPhase.RUNNING)
    assert flown.read() == Flight(NODE, (Held("a:1", 5, 6, 5, FINISHED), Held("a:1", 6, 7, 6, RUNNING)))


def test_a_new_worker_in_the_slot_begins_anew(flown: Flown) -> None:
    flown.give(0, 1, 0, 5)
    flown.work(0, 1, 1, 0, WorkPhase.RUNNING)
    flown.table.clear(0)
    flown.recorder.started(0)
    flown.give(0, 2, 5, 9)
    flown.recorder.touch()
    assert flown.read() == Flight(NODE)


@pytest.mark.parametrize("job", ["a:1", "x" * 60], ids=["another attempt", "a name that does not fit"])
def test_where_it_cannot_be_told_who_ran_nothing_is_told(flown: Flown, job: str) -> None:
    flown.give(0, 1, 0, 5, job)
    flown.work(0, 1, 1 if len(job) > 5 else 9, 0, WorkPhase.RUNNING)
    assert flown.read() is None


def test_what_is_not_a_recorder_tells_nothing(flown: Flown) -> None:
    content = os.pread(flown.recorder.fd, 1 << 20, 0)
    flown.die()
    assert read_flight(content) == Flight(NODE)
    assert read_flight(b"") is read_flight(bytes(len(content))) is read_flight(content[8:]) is None


def test_the_file_of_a_node_that_lives_is_its_own(flown: Flown) -> None:
    with pytest.raises(BlockingIOError):
        FlightRecorder(flown.folder, "here", NODE, 2)
    other = FlightRecorder(flown.folder, "there", NODE, 2)
    other.close()
    other.close()
    assert flown.read() == Flight(NODE)


def test_files_that_nobody_came_back_for_are_removed(flown: Flown, tmp_path: Path) -> None:
    flown.die()
    (path,) = tmp_path.iterdir()
    FlightRecorder(tmp_path, "there", NODE, 1).close()
    assert path.exists(), "it may yet come back"
    long_ago = path.stat().st_mtime - FORGOTTEN_S - 1
    os.utime(path, (long_ago, long_ago))
    FlightRecorder(tmp_path, "there", NODE, 1).close()
    assert not path.exists()


def test_a_file_is_found_by_the_next_node_however_the_clock_was_set_meanwhile(flown: Flown) -> None:
    (path,) = flown.folder.iterdir()
    os.utime(path, (0, 0))
    assert flown.read() == Flight(NODE)


def test_who_listens_nowhere_in_particular_is_not_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert identity_of([]) == identity_of(["tcp://127.0.0.1:0", "tcp://127.0.0.1:*"]) == ""
    assert identity_of(["tcp://*:7700"]) != identity_of(["tcp://*:7701"])
    assert open_recorder("", NODE, 1) is None
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir(mode=0o755)
    for taken in ("file", "open", "missing/folder"):
        assert not flight_recorder._is_private(tmp_path / taken)
    recorder = open_recorder("tcp://10.0.0.7:7700", NODE, 1)
    assert recorder is not None
    assert open_recorder("tcp://10.0.0.7:7700", NODE, 1) is None, "it is warned of, and no more"
    recorder.close()

"""Whose output it is, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew, make_chunk, make_job
from zmqtasks.messages import NO_SESSION, Tasks
from zmqtasks.processes.events import WorkerPrinted
from zmqtasks.processes.progress import CHUNK, FIELDS, INDEX, ProgressTable
from zmqtasks.processes.voice import OutputStyle, Voice, labelled

LABEL = b"[w] "


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\n", b"[w] one\n"),
        (b"one\ntwo\n", b"[w] one\n[w] two\n"),
        (b"half", b"[w] half\n"),
        (b"\n", b"[w] \n"),
        (b"dos\r\nline\r\n", b"[w] dos\n[w] line\n"),
        (b"\r 10%\r 20%", b"[w]  10%\n[w]  20%\n"),
        (b"\xff\x00\n", b"[w] \xff\x00\n"),
    ],
)
def test_each_line_is_labelled(data: bytes, lines: bytes) -> None:
    assert labelled(data, LABEL) == lines


class Around:
    """What a voice needs of what all seats share."""

    def __init__(self, style: OutputStyle) -> None:
        self.style = style
        self.targets = (11, 12)
        self.lanes = 1
        self.table = ProgressTable(2)
        self.outlet = self
        self.written: list[tuple[int, bytes]] = []
        self.events: list[WorkerPrinted] = []
        self.emit = self.events.append
        self.cells = self.table._cells[FIELDS:]  # those of slot 1

    def write(self, fd: int, data: bytes) -> None:
        self.written.append((fd, data))


@pytest.fixture
def around() -> Iterator[Around]:
    around = Around(OutputStyle(label=True, clients_alone=True))
    yield around
    around.cells.release()
    around.table.close()


def give(voice: Voice, start: int, stop: int, **options: object) -> str:
    job = make_job(tasks.double, **options)
    voice.given(Tasks(NO_SESSION, 0, (job,), (make_chunk(job, range(stop - start), start=start),), (job.id,)))
    return job.id


def test_a_line_is_of_the_task_that_the_slot_shows(around: Around) -> None:
    voice = Voice(1, around)  # type: ignore[arg-type]
    voice.printed(0, b"before any work\n")
    give(voice, 0, 10)
    give(voice, 20, 30)
    around.cells[CHUNK], around.cells[INDEX] = 1, 4
    voice.printed(0, b"first\n")
    around.cells[CHUNK], around.cells[INDEX] = 2, 30  # past its last task: the worker is idle
    voice.printed(1, b"second\n")
    around.cells[CHUNK] = 3
    voice.printed(1, b"of nothing known\n")
    assert around.written == [
        (11, b"[worker 1] before any work\n"),
        (11, "[worker 1 · double #4] first\n".encode()),
        (12, "[worker 1 · double #29] second\n".encode()),
        (12, b"[worker 1] of nothing known\n"),
    ]


def test_a_client_that_asks_gets_it_alone(around: Around) -> None:
    voice = Voice(1, around)  # type: ignore[arg-type]
    voice.pid = 4711
    job = give(voice, 5, 6, output=True)
    around.cells[CHUNK], around.cells[INDEX] = 1, 5
    voice.printed(1, b"caf\xc3\xa9 \xff\n")
    assert around.written == []
    assert [tuple(event.piece) for event in around.events] == [
        (1, 4711, job, "double", 5, "stderr", "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{REPLACEMENT CHARACTER}\n")
    ]


def test_a_silent_worker_is_not_remembered_for_ever(around: Around) -> None:
    voice = Voice(1, around)  # type: ignore[arg-type]
    for number in range(1, 1000):
        give(voice, 0, 1)
        around.cells[CHUNK] = number
    assert len(voice._given) <= 17


def test_a_node_of_others_prints_it_as_well(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(style=OutputStyle(label=True)) as crew:
        crew.ready()
        crew.results(tasks.say, ["hello"])
    out = capfd.readouterr().out
    assert out.startswith("[worker 0 · say #")
    assert out.endswith("] hello\n")

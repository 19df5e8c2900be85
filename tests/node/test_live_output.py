"""Output on its way to one client: bounded, paced, what is lost is counted where it was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from zmqtasks.messages import Printed
from zmqtasks.node.live_output import ANSWER_S, MESSAGE_BYTES, PAUSE_S, WAITING_BYTES, Listeners, LiveOutput
from zmqtasks.processes.events import WorkerPrinted
from zmqtasks.testing import FakeClock

JOB = "client:1"


def piece(text: str, job: str = JOB) -> Printed:
    return Printed(0, 1, job, "talk", 0, "stdout", text)


@dataclass
class Client:
    """What a client was sent, with the times."""

    clock: FakeClock
    takes: bool = True
    sent: list[tuple[float, list[str], int, bool]] = field(default_factory=list)

    def print(self, printed: tuple[Printed, ...], dropped: int = 0, *, end: bool = False) -> bool:
        if self.takes:
            self.sent.append((self.clock.time(), [p.text for p in printed], dropped, end))
        return self.takes

    @property
    def texts(self) -> list[str]:
        return [text for _, texts, _, _ in self.sent for text in texts]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client(clock)


def pass_time(clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)


def test_the_first_lines_go_at_once_and_the_next_after_a_pause(clock: FakeClock, client: Client) -> None:
    live, began = LiveOutput(clock, client), clock.time()
    live.add(piece("one\n"))
    live.add(piece("two\n"))
    pass_time(clock, PAUSE_S / 2)
    assert [(at - began, texts) for at, texts, _, _ in client.sent] == [(0.0, ["one\n", "two\n"])]
    live.add(piece("three\n"))
    pass_time(clock, 1)
    assert client.sent[1][:2] == (began + PAUSE_S, ["three\n"])
    assert len(client.sent) == 2


def test_a_message_is_bounded(clock: FakeClock, client: Client) -> None:
    live = LiveOutput(clock, client)
    for _ in range(10):
        live.add(piece("x" * (MESSAGE_BYTES // 2)))
    pass_time(clock, 10)
    assert len(client.texts) == 10
    assert all(sum(map(len, texts)) <= MESSAGE_BYTES for _, texts, _, _ in client.sent)


def test_what_cannot_wait_is_counted_where_it_is_missing(clock: FakeClock, client: Client) -> None:
    live, text = LiveOutput(clock, client), "a line\n" * 1000
    fitting = WAITING_BYTES // (len(text) + 64)
    for _ in range(fitting + 3):
        live.add(piece(text))
    pass_time(clock, 2 * PAUSE_S)
    live.add(piece("after\n"))
    pass_time(clock, 10)
    assert client.texts == [text] * fitting + ["after\n"]
    assert [(texts, dropped) for _, texts, dropped, _ in client.sent if dropped] == [(["after\n"], 3000)]


def test_a_loss_at_the_end_is_told(clock: FakeClock, client: Client) -> None:
    live = LiveOutput(clock, client)
    live.add(piece("x" * WAITING_BYTES))
    pass_time(clock, 1)
    assert client.sent[0][1:] == ([], 1, False)


def test_a_client_that_takes_nothing_is_tried_again(clock: FakeClock, client: Client) -> None:
    live, client.takes = LiveOutput(clock, client), False
    live.add(piece("late\n"))
    live.end()
    pass_time(clock, 1)
    client.takes = True
    pass_time(clock, 2 * PAUSE_S)
    assert [entry[1:] for entry in client.sent] == [(["late\n"], 0, True)]


def test_the_end_comes_behind_all_that_waits(clock: FakeClock, client: Client) -> None:
    live = LiveOutput(clock, client)
    live.end()
    pass_time(clock, ANSWER_S / 2)
    for _ in range(3):
        live.add(piece("x" * MESSAGE_BYTES))
    pass_time(clock, 10)
    assert [end for _, _, _, end in client.sent] == [False, False, True]
    pass_time(clock, 10)
    assert len(client.sent) == 3


def test_a_client_that_left_is_sent_nothing(clock: FakeClock, client: Client) -> None:
    guests = {"client": client}
    listeners = Listeners(clock, guests)  # type: ignore[arg-type]
    listeners.printed(WorkerPrinted(0, piece("nobody\n", "stranger:1")))
    listeners.end("stranger")
    listeners.printed(WorkerPrinted(0, piece("hello\n")))
    pass_time(clock, 1)
    listeners.printed(WorkerPrinted(0, piece("too late\n")))
    listeners.leave("client")
    listeners.leave("client")
    pass_time(clock, 1)
    listeners.end("client")
    listeners.close()
    assert client.texts == ["hello\n"]

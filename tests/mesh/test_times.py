"""When calls begin: delays, moments, expiry, and what goes first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import functions
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def client() -> Iterator[zmqtasks.Client]:
    """A client with one worker: what is first is seen."""
    with zmqtasks.Client(workers=1) as client:
        client.submit(functions.double, 1).result(30)  # opens the last connection there is to open
        yield client


class Held:
    """A worker that is busy until it is released, and a ledger of what it did after that."""

    def __init__(self, client: zmqtasks.Client, folder: Path) -> None:
        self._client, self._gate = client, folder / "gate"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        # Of a long task none is sent ahead: what waits, waits in the client.
        client.submit(functions.note, -1, str(self.ledger), 0.1).result(20)
        self._busy = client.submit(functions.wait_for, str(self._gate))
        wait_until(self._busy.running, lambda: self._busy)

    def release(self) -> None:
        self._gate.touch()

    def noted(self) -> list[int]:
        return [value for value in map(int, self.ledger.read_text().split()) if value >= 0]


def test_a_call_begins_after_its_delay_and_others_do_not_wait_for_it(client: zmqtasks.Client) -> None:
    before = time.monotonic()
    late = client.options(delay=0.4).submit(time.monotonic)
    soon = client.submit(time.monotonic)
    assert before + 0.4 <= late.result(20)
    assert soon.result(20) < late.result(20)
    assert list(client.options(delay="0.1 s").map(functions.double, range(5))) == [0, 2, 4, 6, 8]


def test_a_wall_clock_time_becomes_a_duration_at_once(client: zmqtasks.Client) -> None:
    before, wall = time.monotonic(), datetime.now(UTC)
    view = client.options(not_before=wall + timedelta(seconds=0.4))
    past = client.options(not_before=time.time() - 60)
    futures = [view.submit(time.monotonic) for _ in range(3)]
    at_once = past.submit(time.monotonic).result(20)
    # A hundredth is lost where the moment is rounded.
    assert min(future.result(20) for future in futures) >= max(before + 0.39, at_once)
    with pytest.raises(ValueError, match="not_before must be a datetime or a Unix time in seconds, not 'noon'"):
        client.options(not_before="noon")


def test_a_call_that_has_not_begun_in_time_never_does(client: zmqtasks.Client, tmp_path: Path) -> None:
    held = Held(client, tmp_path)
    brief = client.options(expires=0.2)
    late = [brief.submit(functions.note, value, str(held.ledger)) for value in range(3)]
    for future in late:
        with pytest.raises(zmqtasks.TaskExpired, match=r"had not begun within expires=0.2 s"):
            future.result(20)
    held.release()
    assert client.submit(functions.note, 7, str(held.ledger)).result(20) == 7
    assert client.options(expires=60).submit(functions.note, 8, str(held.ledger)).result(20) == 8
    assert held.noted() == [7, 8]
    with pytest.raises(ValueError, match=r"expires \(1 s\) must be above delay \(2 s\)"):
        client.options(expires=1, delay=2)


def test_a_call_that_has_begun_does_not_expire(client: zmqtasks.Client, tmp_path: Path) -> None:
    assert client.options(expires=1).submit(functions.note, 1, str(tmp_path / "ledger"), 1.2).result(20) == 1


def test_higher_priorities_go_first_and_high_is_a_stack(client: zmqtasks.Client, tmp_path: Path) -> None:
    held = Held(client, tmp_path)
    ledger = str(held.ledger)
    views = [client.options(priority=priority) for priority in (zmqtasks.NORMAL, -1, 5, zmqtasks.HIGH)]
    futures = [views[at].submit(functions.note, 10 * at + n, ledger, 0.1) for at in range(4) for n in range(3)]
    wait_until(lambda: client._registry.embedded.ventilator.waiting() >= 11, lambda: futures)
    held.release()
    for future in futures:
        future.result(20)
    assert held.noted() == [32, 31, 30, 20, 21, 22, 0, 1, 2, 10, 11, 12]


def test_a_delayed_call_does_not_starve_behind_those_that_keep_coming(client: zmqtasks.Client, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    client.submit(functions.note, -1, ledger, 0.02).result(20)
    stream = [client.submit(functions.note, n, ledger, 0.02) for n in range(60)]
    delayed = client.options(delay=0.2).submit(functions.note, 99, ledger, 0.02)
    assert delayed.result(20) == 99
    assert stream[-1].result(20) == 59
    assert "99" in (tmp_path / "ledger").read_text().split()[:-1], "it has waited for its moment, and then for its turn"


def test_a_program_that_goes_on_gives_its_delays_again(tmp_path: Path) -> None:
    ledger, journal = tmp_path / "ledger", tmp_path / "journal.db"
    for delay, first_life in ((3600, True), (0.2, False)):
        with zmqtasks.Client(workers=1, standby=0, journal=journal) as client:
            calls = client.options(delay=delay, expires=7200, not_before=time.time())
            at_once = client.submit(functions.note, 1, str(ledger))
            given_at = time.monotonic()
            later = calls.submit(functions.note, 2, str(ledger))
            assert at_once.result(20) == 1
            if first_life:
                client._registry.abort()
            else:
                assert later.result(20) == 2
                assert time.monotonic() - given_at >= delay
    assert ledger.read_text().split() == ["1", "2"]


def test_a_delayed_call_can_be_taken_back(client: zmqtasks.Client) -> None:
    future = client.options(delay=3600).submit(functions.pid)
    assert future.cancel()

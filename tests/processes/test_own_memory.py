"""What a worker knows of its own memory: resident makes suspect, the share of it confirms."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from zmqtasks.options import MIB
from zmqtasks.processes import own_memory
from zmqtasks.processes.exits import own_peak_bytes
from zmqtasks.processes.own_memory import CONFIRM_NS, LOOK_NS, OwnMemory


class Scales(OwnMemory):
    """A memory of 100 MiB at most, whose figures are set by hand, and that counts how often each was read."""

    def __init__(self) -> None:
        super().__init__(100 * MIB)
        self.resident, self.unique, self.looks, self.confirmations = 50, 50, 0, 0
        self.now = 1

    def _resident_bytes(self) -> int:
        self.looks += 1
        return self.resident * MIB

    def _unique_bytes(self, resident_bytes: int) -> int:
        self.confirmations += 1
        return self.unique * MIB

    def after(self, elapsed_ns: int, resident: int, unique: int) -> str:
        self.now += elapsed_ns
        self.resident, self.unique = resident, unique
        return self.why_leave(self.now)


@pytest.fixture
def scales() -> Iterator[Scales]:
    scales = Scales()
    yield scales
    os.close(scales._statm)


def test_it_looks_at_most_every_millisecond(scales: Scales) -> None:
    assert scales.after(0, 50, 50) == ""
    assert scales.after(LOOK_NS - 1, 500, 500) == ""
    assert scales.looks == 1
    reason = "it holds 500 MiB, more than its recycle_memory of 100 MiB"
    assert scales.after(1, 500, 500) == reason


def test_what_is_shared_is_no_reason_and_is_not_asked_again_at_once(scales: Scales) -> None:
    assert scales.after(0, 300, 40) == ""
    assert scales.after(LOOK_NS, 310, 500) == ""
    assert (scales.looks, scales.confirmations) == (2, 1)
    assert scales.after(LOOK_NS, 361, 90) == "", "it could have grown above its limit"
    assert scales.confirmations == 2
    assert scales.after(LOOK_NS, 365, 500) == ""
    assert scales.after(CONFIRM_NS, 365, 101) != "", "pages may become its own without a trace in what is resident"


def test_real_figures() -> None:
    enough = OwnMemory(10**12)
    assert enough.why_leave(1) == ""
    assert enough._resident_bytes() > 5 * MIB
    assert 0 < enough._unique_bytes(0) <= enough._resident_bytes()
    little = OwnMemory(MIB)
    assert "more than its recycle_memory of 1 MiB" in little.why_leave(1)
    for memory in (enough, little):
        os.close(memory._statm)


def test_where_there_is_no_proc_the_peak_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise FileNotFoundError(path)

    monkeypatch.setattr(own_memory.os, "open", refuse)
    memory = OwnMemory(MIB)
    assert memory._resident_bytes() == own_peak_bytes() > 5 * MIB

"""The log names who was refused and why, and nobody can fill it."""

from __future__ import annotations

import pytest

from zmqtasks.transport.refusals import AGAIN_S, BURST, MOST_REMEMBERED, Refusals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_comes_ten_thousand_times_is_told_of_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for _ in range(10_001):
        refusals.tell("10.0.0.7", "it has no key")
    refusals.tell("10.0.0.7", "it was silent for too long")
    clock.now = AGAIN_S
    for _ in range(2):
        refusals.tell("10.0.0.7", "it has no key")
    assert caplog.messages == [
        "refused 10.0.0.7: it has no key",
        "refused 10.0.0.7: it was silent for too long",
        "refused 10.0.0.7: it has no key (10,000 times more since it was told)",
    ]


def test_who_comes_from_everywhere_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for number in range(100_000):
        refusals.tell(str(number), "it has no key")
    assert len(caplog.messages) == BURST
    for number in range(2 * MOST_REMEMBERED):
        clock.now += 1.0
        refusals.tell(f"later {number}", "it has no key")
    assert caplog.messages[BURST] == f"refused later 0: it has no key (and {100_000 - BURST:,} others)"
    assert len(refusals._told) == MOST_REMEMBERED
    assert refusals.count == 100_000 + 2 * MOST_REMEMBERED

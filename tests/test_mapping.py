"""The two ends of a mapping without a mesh: how much is in flight."""

from __future__ import annotations

import time

import pytest

from zmqtasks.embedded import mapping as module
from zmqtasks.embedded.mapping import AHEAD, FIRST_BOUND, GROWTH, MOST_BOUND, MOST_BYTES, Mapping, Run
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.options import MIB


def made(total: int, bound: int | None = None) -> Mapping:
    """Return a mapping whose arguments go nowhere."""
    return Mapping(
        [range(total)],
        ordered=True,
        bound=bound,
        serializer="pickle",
        add=lambda items, form: None,
        end=lambda: None,
        cancel=lambda stop: None,
    )


def consume(mapping: Mapping) -> int:
    """Pull once, let all of that arrive, and take it; return how much was in flight."""
    mapping.pull()
    pulled = mapping._pulled
    mapping._arrive(Run(mapping._taken, pulled, b"", 0, "pickle"))
    run = mapping.take()
    assert run is not None
    return run.stop - run.start


def test_who_waits_while_nodes_have_room_gets_more_in_flight() -> None:
    mapping = made(10**9)
    mapping.pull()
    assert not mapping.widen(), "what was pulled was not sent yet"
    mapping.sent(0, FIRST_BOUND, 10)
    assert mapping.widen()
    mapping.pull()
    assert mapping._pulled == FIRST_BOUND * GROWTH


def test_what_is_in_flight_keeps_to_what_has_come_until_nothing_comes_for_a_while() -> None:
    mapping = made(10**9)
    mapping.pull()
    mapping.sent(0, FIRST_BOUND, 10)
    assert mapping.widen()
    mapping.pull()
    mapping.sent(FIRST_BOUND, mapping._pulled, 10)
    assert not mapping.widen(), "nothing has come"
    mapping._arrive(Run(0, 100, b"", 0, "pickle"))
    assert mapping.widen()
    assert mapping._bound == GROWTH * (FIRST_BOUND + 100)
    mapping.pull()
    mapping.sent(0, mapping._pulled, 10)
    assert not mapping.widen()
    mapping.take()
    mapping.wait(None)  # ends by itself: there is room, and silence
    assert mapping.widen()
    assert mapping._bound == GROWTH**2 * (FIRST_BOUND + 100)


def test_a_consumer_that_has_taken_little_gets_no_more_in_flight_than_that_is_worth() -> None:
    mapping = made(10**9)
    mapping.pull()
    mapping._arrive(Run(1, 100_000, b"", 0, "pickle"))  # the first is late
    mapping.sent(0, mapping._pulled, 10)
    assert mapping.widen()
    assert mapping._bound == AHEAD
    mapping.pull()
    mapping.sent(0, mapping._pulled, 10)
    assert not mapping.widen()
    mapping._arrive(Run(0, 1, b"", 0, "pickle"))
    while mapping.take() is not None:
        pass
    assert mapping.widen()
    assert mapping._bound == GROWTH * 100_000


def test_a_wait_has_its_end() -> None:
    mapping = made(10**9)
    mapping.pull()
    with pytest.raises(TimeoutError, match="did not arrive in time"):
        mapping.wait(time.monotonic() + 0.001)


def test_a_consumer_that_never_waits_gets_more_in_flight_while_it_is_fast() -> None:
    mapping = made(10**9)
    rounds = [consume(mapping) for _ in range(40)]
    assert rounds[0] == FIRST_BOUND
    assert rounds[-1] == MOST_BOUND


def test_the_larger_results_are_the_fewer_are_in_flight() -> None:
    mapping = made(10**9)
    while consume(mapping) < 10_000:
        pass
    mapping.pull()
    in_flight = mapping._pulled - mapping._taken
    body = bytes(MIB)
    for start in range(mapping._taken, mapping._pulled, 4):  # of 256 KiB each
        mapping.succeed(Outcome("job", 1, "node", start, start + 4, OutcomeKind.OK, 0.0, body), start, start + 4)
    while mapping.take() is not None:
        pass
    mapping.sent(0, mapping._pulled, 10)
    assert not mapping.widen()
    mapping.pull()
    assert mapping._pulled - mapping._taken == MOST_BYTES // (MIB // 4) < in_flight


@pytest.mark.parametrize("bound", [None, 100])
def test_a_consumer_that_is_slow_or_has_a_bound_of_its_own_does_not(
    bound: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound is None:
        monkeypatch.setattr(module, "AHEAD_S", 0.0)
    mapping = made(10**9, bound)
    assert {consume(mapping) for _ in range(10)} == {bound or FIRST_BOUND}

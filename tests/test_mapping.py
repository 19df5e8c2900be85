"""The two ends of a mapping without a mesh: how much is in flight."""

from __future__ import annotations

import pytest

from zmqtasks.embedded import mapping as module
from zmqtasks.embedded.mapping import FIRST_BOUND, GROWTH, MOST_BOUND, Mapping, Run


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


def test_a_consumer_that_never_waits_gets_more_in_flight_while_it_is_fast() -> None:
    mapping = made(10**9)
    rounds = [consume(mapping) for _ in range(40)]
    assert rounds[0] == FIRST_BOUND
    assert rounds[-1] == MOST_BOUND


@pytest.mark.parametrize("bound", [None, 100])
def test_a_consumer_that_is_slow_or_has_a_bound_of_its_own_does_not(
    bound: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound is None:
        monkeypatch.setattr(module, "AHEAD_S", 0.0)
    mapping = made(10**9, bound)
    assert {consume(mapping) for _ in range(10)} == {bound or FIRST_BOUND}

"""A small crowd with each test run; a large one is played by the program."""

from __future__ import annotations

from tests.simulation.crowd import UP_S, play


def test_a_crowd_joins_drops_and_returns_at_once() -> None:
    figures = play(seed=1, nodes=50)
    assert figures["joined_s"] <= UP_S
    assert figures["returned_s"] <= UP_S
    assert figures["executions"] <= 4 * 50

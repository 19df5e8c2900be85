"""Beacons: who announces himself is there, who falls silent is not, and nobody fills the table."""

from __future__ import annotations

from zmqtasks.machines.beacons import MOST, SILENT_S, Beacons


def test_who_announces_himself_is_there_until_he_falls_silent() -> None:
    beacons = Beacons()
    assert beacons.hear("b", 0.0)
    assert beacons.hear("a", 1.0)
    assert not beacons.hear("b", 5.0), "it is known"
    assert beacons.endpoints() == ("a", "b")
    assert repr(beacons) == "<Beacons a, b>"
    assert not beacons.forget(0.9 + SILENT_S)
    assert beacons.forget(1.0 + SILENT_S)
    assert beacons.endpoints() == ("b",)


def test_who_floods_the_network_fills_no_memory_and_those_known_stay_heard() -> None:
    beacons = Beacons()
    for number in range(5 * MOST):
        beacons.hear(f"e{number}", 0.0)
    assert len(beacons.endpoints()) == MOST
    assert not beacons.hear("e0", SILENT_S)
    beacons.forget(SILENT_S)
    assert beacons.endpoints() == ("e0",)

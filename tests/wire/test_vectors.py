"""The golden frames: what is on the wire does not change unnoticed."""

from __future__ import annotations

import pytest

from tests.wire.samples import SAMPLES, VECTORS
from zmqtasks.messages import Cancel, Range, SessionId
from zmqtasks.options import Limits
from zmqtasks.wire import codec


def golden(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


@pytest.mark.parametrize("name", SAMPLES)
def test_encode_gives_the_golden_frame(name: str) -> None:
    assert codec.encode(SAMPLES[name]) == golden(name)


@pytest.mark.parametrize("name", SAMPLES)
def test_decode_takes_the_golden_frame(name: str) -> None:
    assert codec.decode(golden(name), Limits()) == SAMPLES[name]


def test_every_golden_frame_is_tested() -> None:
    assert {path.stem for path in VECTORS.glob("*.hex")} == {*SAMPLES, "extended"}


def test_a_newer_peer_may_add_keys_and_entries() -> None:
    assert codec.decode(golden("extended"), Limits()) == Cancel(SessionId(5, 1), (Range("a:1", 0, 10),))

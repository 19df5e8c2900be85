"""Malformed frames, many and the same each time: a message or `RemoteProtocolError`, and nothing of them is kept.

The scenario `frames` of the chaos programs does the same with millions.
"""

from __future__ import annotations

from itertools import islice

import pytest

from tests.wire.mutations import Frames, decoded
from zmqtasks.options import Limits


@pytest.mark.parametrize("seed", range(3))
def test_no_frame_leads_to_anything_else(seed: int) -> None:
    messages = [decoded(frame, Limits()) for frame in islice(Frames(seed), 2_000)]
    assert 100 < sum(message is not None for message in messages) < 1_000


def test_the_same_seed_gives_the_same_frames() -> None:
    assert list(islice(Frames(1), 100)) == list(islice(Frames(1), 100))
    assert list(islice(Frames(1), 100)) != list(islice(Frames(2), 100))

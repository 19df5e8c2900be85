"""Hundreds of random schedules of faults: nothing is lost, nothing is recorded twice, nobody is misjudged.

One more, and all of its story: python -m tests.simulation.replay SEED
"""

from __future__ import annotations

import pytest

from tests.simulation.schedules import draw

SCHEDULES = 400
GROUP = 50


@pytest.mark.parametrize("first", range(0, SCHEDULES, GROUP))
def test_nothing_is_lost_or_recorded_twice(first: int) -> None:
    for seed in range(first, first + GROUP):
        draw(seed).run()


def test_the_same_seed_gives_the_same_story() -> None:
    one, other = (draw(4).run(story=True) for _ in range(2))
    assert one.story == other.story
    assert len(one.story) > 100

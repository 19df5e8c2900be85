"""Short storms with each test run; what a run of many counts, and how a failing one is made smaller."""

from __future__ import annotations

import pytest

from tests.simulation.layout import Rules
from tests.simulation.schedules import draw
from tests.simulation.shrinking import least, shrink, symptom
from tests.simulation.storms import draw_storm
from tests.simulation.tally import Tally
from zmqtasks.machines.collection import Collection, Command, Record, Tell
from zmqtasks.messages import Outcome

STORMS = 8
SPAN_S = 15.0


class Gullible(Collection):
    """Takes every success for the first one."""

    def _receive(self, outcome: Outcome) -> list[Command]:
        told = [command for command in super()._receive(outcome) if isinstance(command, Tell)]
        return [Record(outcome, outcome.start, outcome.stop), *told]


@pytest.mark.parametrize("seed", range(STORMS))
def test_nothing_is_lost_or_misjudged_in_a_storm(seed: int) -> None:
    tally = Tally()
    tally.add(draw_storm(seed, span_s=SPAN_S).run())
    assert tally.faults.total() > 20
    assert tally.tasks > 20


def test_the_same_seed_gives_the_same_storm() -> None:
    one, other = (draw_storm(3, span_s=5.0).run(story=True) for _ in range(2))
    assert one.story == other.story
    assert one.hits == other.hits


def test_what_a_failure_does_not_need_is_left_out() -> None:
    steps: list[str] = []
    assert least(range(100), lambda some: {3, 50} <= set(some), steps.append) == [3, 50]
    assert steps[-1] == "2 are enough"


def test_a_schedule_that_fails_is_made_smaller_and_fails_still() -> None:
    drawn = next(d for d in (draw(seed, Rules(collection=Gullible)) for seed in range(100)) if symptom(d))
    smaller = shrink(drawn)
    assert symptom(smaller) == symptom(drawn)
    assert len(smaller.faults) <= 2
    well = draw(1)
    assert shrink(well) is well, "nothing is wrong with this one"

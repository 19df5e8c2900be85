"""Figures that add up."""

from __future__ import annotations

import json
import math
import statistics
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.metrics import Metrics, Moments
from zmqtasks.node.counting import Counting

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)


def moments_of(numbers: list[float]) -> Moments:
    return reduce(add, (Moments.of(number) for number in numbers), Moments())


@settings(max_examples=40)
@given(values, values)
def test_moments_add_up_to_those_of_all_values(first: list[float], second: list[float]) -> None:
    together = moments_of(first) + moments_of(second)
    everything = first + second
    spread = statistics.pvariance(everything)
    assert together.count == len(everything)
    assert together.mean == pytest.approx(statistics.fmean(everything), abs=1e-9)
    assert together.variance == pytest.approx(spread, rel=1e-6, abs=1e-6)
    assert together.unbiased_variance == pytest.approx(statistics.variance(everything), rel=1e-6, abs=1e-6)
    third = sum((value - together.mean) ** 3 for value in everything)
    assert together.m3 == pytest.approx(third, rel=1e-6, abs=1e-2)


def test_moments_of_known_values() -> None:
    found = moments_of([1.0, 2.0, 3.0, 10.0])
    assert (found.mean, found.variance, found.deviation) == (4.0, 12.5, math.sqrt(12.5))
    assert found.skewness == pytest.approx((-27 - 8 - 1 + 216) / 4 / 12.5**1.5)
    assert Moments.of(2.0, 3) == moments_of([2.0, 2.0, 2.0])
    assert Moments().skewness == Moments().variance == Moments().unbiased_variance == 0.0


def test_metrics_of_nodes_add_up_and_survive_json() -> None:
    one = Metrics(done=10, crashed=1, starts=3, task_s=Moments.of(0.5, 10), memory_bytes=Moments.of(2**30))
    other = Metrics(done=5, failed=2, exits=1, task_s=Moments.of(2.0, 5))
    both = one + other
    assert (both.done, both.failed, both.crashed, both.starts, both.exits, both.tasks) == (15, 2, 1, 3, 1, 18)
    assert both.task_s.mean == 1.0
    shown = json.loads(json.dumps(both.to_json()))
    assert Metrics.from_json(shown) == both
    assert shown["task_s"]["deviation"] == both.task_s.deviation
    assert Metrics.from_json({"newer": 1}) == Metrics()
    with pytest.raises(ValueError, match="not the figures"):
        Metrics.from_json({"done": None})


def test_a_node_counts_each_end_once() -> None:
    counting = Counting()
    for kind in OutcomeKind:
        stop = 3 if kind is OutcomeKind.OK else 1
        counting.told(Outcome("c:1", 1, "n", 0, stop, kind, 1.5))
    for _ in range(2000):
        counting.told(Outcome("c:1", 1, "n", 0, 1, OutcomeKind.OK, 0.5))
    counting.worker_started()
    counting.worker_exited(0)
    counting.worker_exited(1000)
    found = counting.metrics()
    assert (found.done, found.task_s.count, found.task_s.mean) == (2003, 2003, 0.5)
    assert (found.failed, found.crashed, found.timed_out, found.out_of_memory, found.lost) == (2, 1, 1, 1, 1)
    assert (found.starts, found.exits, found.memory_bytes) == (1, 2, Moments.of(1000))

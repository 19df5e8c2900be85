"""The questions that a mesh is asked: their arithmetic, and one answer of a real mesh."""

from __future__ import annotations

import pytest

import zmqtasks
from zmqtasks.observe import yardstick


def test_numbers_and_names_mean_the_same() -> None:
    assert yardstick.asked(()) == yardstick.CASES
    assert yardstick.asked(("w2", "submit")) == yardstick.CASES[:2]
    with pytest.raises(ValueError, match="no case 'W6'"):
        yardstick.asked(("W6",))


def test_the_ideal_gives_each_task_to_who_is_free() -> None:
    assert yardstick.ideal_s([1.0] * 4, 2) == 2.0
    assert yardstick.ideal_s([1.0, 3.0, 1.0, 1.0], 2) == 3.0
    assert yardstick.ideal_s([1.0, 1.0, 5.0], 2) == 6.0


def test_work_grows_until_it_takes_the_time_given() -> None:
    sizes: list[int] = []

    def run(client: object, workers: int, size: int) -> dict[str, float]:
        sizes.append(size)
        return {yardstick.SECONDS: size / 1000, "figure, unit": float(size)}

    case = yardstick.Case("W0", "made", "made up", (yardstick.Part("part", run, (10, 10**6)),))
    steps: list[float] = []
    lines = list(yardstick.measure(None, 1, case, 3, 1.0, steps.append))  # type: ignore[arg-type]
    assert sizes == [10, 100, 1000, 1000, 1000, 1000][: len(sizes)]
    assert lines == [yardstick.Measured("W0 made", "part, figure", "unit", 1000.0, 1000.0, 1000.0, 1000, 3)]
    assert steps == [0.25, 0.5, 0.75, 1.0]


def test_a_real_mesh_answers() -> None:
    with zmqtasks.Client(workers=1) as client:
        for case in yardstick.asked(("W2", "W4")):
            for line in yardstick.measure(client, 1, case, 1, 0.01):
                assert line.median > 0, line

"""The accounts behind a job: what is ahead, what has ended, how fast it goes."""

from __future__ import annotations

import random

from zmqtasks.cli.ahead import MOST_BYTES, MOST_TASKS, Ahead
from zmqtasks.cli.progress import Display
from zmqtasks.cli.tally import Tally


def test_a_batch_counts_until_its_last_task_has_ended() -> None:
    ahead = Ahead()
    ahead.add(0, 10, 1000)
    ahead.add(10, 20, 500)
    ahead.end(5, 15)
    assert (ahead.tasks, ahead.bytes) == (10, 1500)
    ahead.end(0, 5)
    assert (ahead.tasks, ahead.bytes) == (5, 500)
    ahead.end(15, 20)
    assert (ahead.tasks, ahead.bytes) == (0, 0)


def test_it_agrees_with_counting_one_by_one() -> None:
    chance = random.Random(7)
    ahead, left, sizes, total = Ahead(), {}, {}, 0
    for _ in range(300):
        count, nbytes = chance.randint(1, 30), chance.randint(0, 99)
        ahead.add(total, total + count, nbytes)
        left[total], sizes[total] = set(range(total, total + count)), nbytes
        total += count
        open_tasks = sorted(task for tasks in left.values() for task in tasks)
        start = chance.choice(open_tasks)
        stop = start
        while stop in open_tasks and stop - start < 50 and chance.random() < 0.97:
            stop += 1
        ahead.end(start, stop)
        for tasks in left.values():
            tasks.difference_update(range(start, stop))
        assert ahead.tasks == sum(map(len, left.values()))
        assert ahead.bytes == sum(sizes[first] for first, tasks in left.items() if tasks)


def test_it_is_full_in_tasks_or_in_bytes() -> None:
    ahead = Ahead()
    ahead.add(0, MOST_TASKS, 0)
    assert ahead.is_full()
    ahead.end(0, 1)
    assert not ahead.is_full()
    ahead.add(MOST_TASKS, MOST_TASKS + 1, MOST_BYTES)
    assert ahead.is_full()


def test_a_tally_keeps_the_first_failure() -> None:
    tally = Tally(added=10, done=3)
    tally.fail(4, 6, "first")
    tally.fail(8, 9, "second")
    assert (tally.ended, tally.failed, tally.first_failure, tally.total) == (6, 3, "task 4: first", None)


def test_the_words_of_the_display() -> None:
    tally = Tally(added=1000)
    display = Display(lambda: tally, lambda: (2, 4))
    began = display._began
    assert display.words(tally, began) == ["0", "0/s", "2/4 workers busy"]
    tally.done, tally.exhausted = 100, True
    assert display.words(tally, began + 1) == ["100/1,000", "100/s", "0:09 left", "2/4 workers busy"]
    tally.done, tally.failed = 197, 3
    words = ["200/1,000", "[red]3 failed[/red]", "0.33/s", "40:00 left", "2/4 workers busy"]
    assert display.words(tally, began + 301) == words


def test_the_bar_moves_within_a_task() -> None:
    tally = Tally(added=4, done=1, failed=1)
    display = Display(lambda: tally, partial=lambda: 0.75)
    assert display.completed(tally) == 0.0, "nobody knows how many there will be"
    tally.exhausted = True
    assert display.completed(tally) == 2.75
    tally.done = 3
    assert display.completed(tally) == 4, "what was told last may be older than what has ended"


def test_a_display_in_a_pipe_shows_nothing(capfd: object) -> None:
    with Display(Tally) as display:
        assert display.elapsed_s >= 0
    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]

"""Which jobs are kept at hand."""

from __future__ import annotations

import random

from zmqtasks.machines.recent import Recent


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    recent = Recent(2)
    for job in "abcd":
        recent.take(job)
    assert [recent.give_back(job) for job in "abcd"] == [[], [], ["a"], ["b"]]
    recent.take("c")
    assert recent.give_back("c") == []
    recent.take("e")
    assert recent.give_back("e") == ["d"]
    assert repr(recent) == "<Recent used={} idle=['c', 'e']>"


def test_what_is_used_stays() -> None:
    recent = Recent(0)
    recent.take("a")
    recent.take("a")
    assert recent.give_back("a") == []
    assert recent.give_back("a") == ["a"]
    recent.check()


def test_a_long_run() -> None:
    chance = random.Random(1)
    recent, taken = Recent(3), []
    for _ in range(10_000):
        if chance.random() < 0.5 or not taken:
            taken.append(str(chance.randrange(20)))
            recent.take(taken[-1])
        else:
            gone = recent.give_back(taken.pop(chance.randrange(len(taken))))
            assert not set(gone) & set(taken)
        recent.check()

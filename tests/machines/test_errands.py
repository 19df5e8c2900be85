"""The exchange of errands: whatever is lost on the way, each is heard once and in order."""

from __future__ import annotations

import random

import pytest

from zmqtasks.machines.errands import (
    ACK_S,
    LONGEST_REPEAT_S,
    MESSAGE_BYTES,
    NEVER,
    REPEAT_S,
    UNDER_WAY_BYTES,
    Exchange,
    Heard,
    Offered,
    Post,
    Renewed,
    Take,
)
from zmqtasks.messages import Errand


def errand(number: int, size: int = 4) -> Errand:
    return Errand(1, number, "j", bytes(size))


ONE, TWO, THREE = (errand(number) for number in (1, 2, 3))


def test_nothing_is_said_at_first() -> None:
    exchange = Exchange()
    exchange.check()
    assert (exchange.tick(1.0), exchange.next_deadline(), exchange.cum) == ([], NEVER, 0)
    assert repr(exchange) == "<Exchange says 1..1 of 0, heard 0>"


def test_what_is_offered_is_said_at_once_and_again_until_it_is_acknowledged() -> None:
    exchange = Exchange()
    assert exchange.handle(Offered(ONE), 0.0) == [Post(1, (ONE,), 0)]
    assert exchange.handle(Offered(TWO), 0.1) == [Post(2, (TWO,), 0)]
    exchange.check()
    assert exchange.next_deadline() == REPEAT_S
    assert exchange.tick(REPEAT_S) == [Post(1, (ONE, TWO), 0)]
    assert exchange.next_deadline() == 3 * REPEAT_S
    assert exchange.handle(Heard(1, 0, ()), 0.3) == []
    assert exchange.next_deadline() == 0.3 + REPEAT_S
    assert exchange.handle(Heard(99, 0, ()), 0.4) == []  # nobody has heard what was never said
    exchange.check()
    assert (exchange.unheard_bytes, exchange.next_deadline()) == (0, NEVER)


def test_it_is_said_less_and_less_often() -> None:
    exchange = Exchange()
    exchange.handle(Offered(ONE), 0.0)
    times = []
    for _ in range(2_000):  # 2 ** 2,000 is no float
        times.append(exchange.next_deadline())
        assert len(exchange.tick(times[-1])) == 1
    assert times[1] - times[0] == 2 * REPEAT_S
    assert times[-1] - times[-2] == LONGEST_REPEAT_S


def test_what_is_heard_is_done_once_in_order_and_acknowledged_soon() -> None:
    exchange = Exchange()
    assert exchange.handle(Heard(0, 1, (ONE, TWO)), 0.0) == [Take(ONE), Take(TWO)]
    assert exchange.next_deadline() == ACK_S
    assert exchange.tick(ACK_S) == [Post(0, (), 2)]
    assert exchange.handle(Heard(0, 1, (ONE, TWO)), 1.0) == [Post(0, (), 2)]  # our word was lost
    assert exchange.handle(Heard(0, 4, (errand(4),)), 1.0) == [Post(0, (), 2)]  # what came before it was lost
    assert exchange.handle(Heard(0, 2, (TWO, THREE)), 2.0) == [Take(THREE)]


def test_an_answer_acknowledges_as_well() -> None:
    exchange = Exchange()
    exchange.handle(Heard(0, 1, (ONE,)), 0.0)
    assert exchange.handle(Offered(TWO), 0.001) == [Post(1, (TWO,), 1)]
    assert exchange.next_deadline() == 0.001 + REPEAT_S


def test_a_new_way_is_told_all_that_may_be_lost() -> None:
    exchange = Exchange()
    assert exchange.handle(Renewed(), 0.0) == [Post(0, (), 0)]
    exchange.handle(Offered(ONE), 0.0)
    exchange.tick(REPEAT_S)
    assert exchange.handle(Renewed(), 0.3) == [Post(1, (ONE,), 0)]
    assert exchange.next_deadline() == 0.3 + REPEAT_S
    exchange.check()


def test_messages_are_small_and_few_are_under_way() -> None:
    exchange = Exchange()
    large = errand(1, MESSAGE_BYTES - 100)
    said = [command for _ in range(10) for command in exchange.handle(Offered(large), 0.0)]
    assert len(said) == UNDER_WAY_BYTES // MESSAGE_BYTES
    exchange.check()
    assert len(exchange.tick(REPEAT_S)) == len(said)  # a message each
    assert exchange.handle(Heard(2, 0, ()), 0.3) == [Post(5, (large,), 0), Post(6, (large,), 0)]
    exchange.check()


def test_what_is_larger_than_all_that_may_be_under_way_goes_alone() -> None:
    exchange = Exchange()
    huge = errand(1, 2 * UNDER_WAY_BYTES)
    assert exchange.handle(Offered(huge), 0.0) == [Post(1, (huge,), 0)]
    assert exchange.handle(Offered(TWO), 0.0) == []
    assert exchange.handle(Heard(1, 0, ()), 0.1) == [Post(2, (TWO,), 0)]


@pytest.mark.parametrize("seed", range(20))
def test_long_run_over_a_way_that_loses_repeats_and_swaps(seed: int) -> None:
    chance = random.Random(seed)
    ends = (Exchange(), Exchange())
    heard: tuple[list[int], list[int]] = ([], [])
    way: list[tuple[int, Post]] = []
    offered, now = [0, 0], 0.0
    while min(map(len, heard)) < 200:
        now += chance.expovariate(20.0)
        side = chance.randrange(2)
        commands = ends[side].tick(now)
        if offered[side] < 200 and chance.random() < 0.5:
            offered[side] += 1
            commands += ends[side].handle(Offered(errand(offered[side], chance.randrange(300_000))), now)
        if chance.random() < 0.01:
            commands += ends[side].handle(Renewed(), now)
        while way and chance.random() < 0.7:
            target, post = way.pop(0 if chance.random() < 0.9 else -1)
            if chance.random() < 0.1:
                way.append((target, post))
            if chance.random() < 0.7:
                for command in ends[target].handle(Heard(post.cum, post.first, post.errands), now):
                    if isinstance(command, Take):
                        heard[target].append(command.errand.number)
                    else:
                        way.append((1 - target, command))
        way += [(1 - side, command) for command in commands if isinstance(command, Post)]
        for end in ends:
            end.check()
    assert heard == (list(range(1, 201)), list(range(1, 201)))

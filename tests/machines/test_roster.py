"""Roster: one address leads to all nodes, and who is gone is forgotten; told as histories, and as a crowd."""

from __future__ import annotations

import random

import pytest

from tests.machines.driving import SEEDS
from zmqtasks.machines import roster
from zmqtasks.machines.roster import (
    FEW,
    GONE_S,
    KEEP_S,
    Answered,
    Command,
    Ended,
    FoundBehind,
    LetGo,
    Met,
    Parted,
    Reach,
    Roster,
    SeedsListed,
    Told,
)
from zmqtasks.messages import Address, Known, PeerId


def at(peer: PeerId) -> Address:
    return Address(peer, f"host-{peer}", (f"tcp://{peer}:7700",))


def seed(*peers: PeerId) -> SeedsListed:
    return SeedsListed("given", tuple(f"tcp://{peer}:7700" for peer in peers))


def told(*peers: PeerId, age_s: float = 0.0) -> Told:
    return Told(tuple(Known(at(peer), age_s) for peer in peers))


def keys(commands: list[Command]) -> list[str]:
    return [f"{'+' if isinstance(command, Reach) else '-'}{command.key}" for command in commands]


def test_one_address_leads_to_all_nodes() -> None:
    client = Roster("me")
    assert client.handle(seed("a"), 0.0) == [Reach("tcp://a:7700", Address("", "", ("tcp://a:7700",)))]
    assert client.handle(Answered("tcp://a:7700", at("a")), 0.1) == []
    assert client.handle(told("a", "b", "c", "me"), 0.2) == [Reach("b", at("b")), Reach("c", at("c"))]
    assert client.handle(told("a", "b", "c"), 1.0) == [], "they are reached already"
    client.check()
    assert repr(client) == "<Roster knows 3, sessions {'a': 1}, keeps {'tcp://a:7700': 'a', 'b': '', 'c': ''}>"


def test_who_is_a_seed_and_is_told_of_is_reached_once() -> None:
    client = Roster("me")
    client.handle(seed("a", "b"), 0.0)
    client.handle(Answered("tcp://a:7700", at("a")), 0.1)
    assert client.handle(told("b"), 0.2) == []


def test_who_says_goodbye_is_forgotten_though_others_still_tell_of_him() -> None:
    client = Roster("me")
    client.handle(told("a"), 0.0)
    client.handle(Answered("a", at("a")), 0.1)
    assert keys(client.handle(Parted("a", gone=True), 1.0)) == ["-a"]
    assert client.handle(told("a"), 1.1) == []
    assert client.known(1.1) == ()
    assert client.next_deadline() == 1.0 + GONE_S
    assert keys(client.handle(told("a"), 1.0 + GONE_S)) == [], "what was heard before the end of the time is not kept"
    assert keys(client.handle(told("a"), 1.1 + GONE_S)) == ["+a"]
    client.check()


def test_who_is_gone_and_comes_again_is_believed() -> None:
    node = Roster("me")
    node.handle(Parted("a", gone=True), 0.0)
    assert keys(node.handle(Met(at("a")), 1.0)) == ["+a"]


def test_who_was_not_seen_for_long_is_forgotten() -> None:
    client = Roster("me")
    client.handle(told("a", age_s=10.0), 100.0)
    assert client.known(105.0) == (Known(at("a"), 15.0),)
    assert client.next_deadline() == 90.0 + KEEP_S
    client.handle(told("a", age_s=5.0), 105.0)
    client.handle(told("a", age_s=50.0), 106.0)
    assert client.next_deadline() == 100.0 + KEEP_S
    assert client.tick(99.0 + KEEP_S) == []
    assert keys(client.tick(100.0 + KEEP_S)) == ["-a"]
    assert client.handle(told("a", age_s=KEEP_S), 200.0) == [], "too old to be told of"


def test_who_has_a_session_is_never_forgotten_and_told_as_just_seen() -> None:
    node = Roster("me")
    node.handle(Met(at("a")), 0.0)
    node.handle(Answered("a", at("a")), 1.0)
    assert node.known(1000.0) == (Known(at("a"), 0.0),)
    node.handle(Parted("a"), 1000.0)
    assert node.known(1000.0) == (Known(at("a"), 0.0),), "of two sessions one goes on"
    node.handle(Parted("a"), 1001.0)
    assert node.known(1002.0) == (Known(at("a"), 1.0),)
    node.handle(Parted("nobody"), 1002.0)
    node.check()


def test_who_is_told_to_join_himself_knows_nobody_by_that() -> None:
    node = Roster("me", FEW)
    node.handle(seed("me"), 0.0)
    node.handle(Answered("tcp://me:7700", at("me")), 0.0)
    assert node.known(0.0) == ()


def test_a_session_that_ends_is_not_asked_for_twice() -> None:
    client = Roster("me")
    client.handle(seed("a"), 0.0)
    client.handle(Answered("tcp://a:7700", at("a")), 0.0)
    assert keys(client.handle(Parted("a"), 1.0)) == [], "whoever keeps it opens the next one"


def test_a_source_that_says_otherwise_is_followed() -> None:
    client = Roster("me")
    client.handle(SeedsListed("file", ("tcp://a:7700", "tcp://b:7700")), 0.0)
    assert keys(client.handle(SeedsListed("file", ("tcp://b:7700", "tcp://c:7700")), 1.0)) == [
        "-tcp://a:7700",
        "+tcp://c:7700",
    ]
    assert keys(client.handle(SeedsListed("other", ("tcp://b:7700",)), 2.0)) == []
    assert keys(client.handle(SeedsListed("file", ()), 3.0)) == ["-tcp://c:7700"]


def test_a_name_that_leads_to_a_known_node_is_tried_again_when_that_one_has_gone() -> None:
    client = Roster("me")
    client.handle(told("a"), 0.0)
    client.handle(Answered("a", at("a")), 0.0)
    assert keys(client.handle(SeedsListed("given", ("tcp://alias:7700",)), 1.0)) == ["+tcp://alias:7700"]
    assert keys(client.handle(FoundBehind("tcp://alias:7700", "a"), 1.1)) == ["-a"], "one of the two is enough"
    client.handle(Parted("a", gone=True), 2.0)
    assert keys(client.handle(Ended("tcp://alias:7700"), 2.0)) == ["+tcp://alias:7700"]
    assert client.handle(Ended("nothing"), 2.0) == []


def test_who_cannot_be_of_use_is_told_of_and_not_reached() -> None:
    client = Roster("me", None, lambda address: address.peer != "far")
    assert keys(client.handle(told("near", "far"), 0.0)) == ["+near"]
    assert len(client.known(0.0)) == 2


def test_a_node_keeps_a_few_sessions_and_all_hang_together() -> None:
    node = Roster("m", FEW)
    assert keys(node.handle(told(*"abcnopxyz"), 0.0)) == ["+n", "+o", "+p"]
    late = Roster("z", FEW)
    assert keys(late.handle(told(*"abc"), 0.0)) == ["+a", "+b", "+c"], "the order goes round"
    seeded = Roster("m", FEW)
    seeded.handle(seed("a", "b", "c", "d"), 0.0)
    assert keys(seeded.handle(told("n"), 0.0)) == [], "all seeds are kept, and then there is no room"


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "MOST_KNOWN", 100)
    client = Roster("me")
    client.handle(told(*(f"p{number}" for number in range(500))), 0.0)
    assert len(client.known(0.0)) == 100
    client.check()


def test_a_long_run_leaves_nothing_behind() -> None:
    client, now = Roster("me"), 0.0
    for number in range(2000):
        peer = f"p{number}"
        client.handle(told(peer), now)
        client.handle(Answered(peer, at(peer)), now)
        client.handle(Parted(peer, gone=number % 2 == 0), now + 1.0)
        now += 5.0
    client.tick(now + GONE_S)
    client.check()
    assert client.known(now + GONE_S) == ()
    assert client.next_deadline() == float("inf")


@pytest.mark.parametrize("chance", SEEDS[:6])
def test_in_a_crowd_everybody_hears_of_everybody_and_forgets_the_dead(chance: int) -> None:
    draw = random.Random(chance)
    names = [f"{draw.getrandbits(32):08x}" for _ in range(12)]
    crowd = {name: Roster(name, FEW) for name in names}
    opened: dict[PeerId, dict[str, PeerId]] = {name: {} for name in names}
    alive = set(names)

    def carry_out(name: PeerId, commands: list[Command], now: float) -> None:
        for command in commands:
            if isinstance(command, LetGo):
                other = opened[name].pop(command.key, "")
                if not other:
                    continue  # it was dead
                if other in alive:
                    carry_out(other, crowd[other].handle(Parted(name), now), now)
                carry_out(name, crowd[name].handle(Parted(other), now), now)
                continue
            other = command.address.endpoints[0].removeprefix("tcp://").removesuffix(":7700")
            if other in alive:
                opened[name][command.key] = other
                carry_out(name, crowd[name].handle(Answered(command.key, at(other)), now), now)
                carry_out(other, crowd[other].handle(Met(at(name)), now), now)

    for place, name in enumerate(names[1:], 1):
        carry_out(name, crowd[name].handle(seed(draw.choice(names[:place])), 0.0), 0.0)

    def gossip(start: float, rounds: int) -> float:
        now = start
        for _ in range(rounds):
            now += 2.0
            for name in sorted(alive):
                for other in sorted({*opened[name].values()} & alive):
                    said = tuple(known for known in crowd[other].known(now) if known.address.peer != name)
                    carry_out(name, crowd[name].handle(Told(said), now), now)
                carry_out(name, crowd[name].tick(now), now)
        return now

    now = gossip(0.0, 12)
    for name in names:
        assert {known.address.peer for known in crowd[name].known(now)} == set(names) - {name}
        crowd[name].check()
    dead = draw.choice(names)
    alive.discard(dead)
    for name in sorted(alive):
        for key in [key for key, other in opened[name].items() if other == dead]:
            del opened[name][key]
            carry_out(name, crowd[name].handle(Parted(dead), now), now)
        if name in opened[dead].values():
            carry_out(name, crowd[name].handle(Parted(dead), now), now)
    now = gossip(now, 40)
    for name in sorted(alive):
        assert {known.address.peer for known in crowd[name].known(now)} == alive - {name}

"""The objects machine: what is kept, for whom, and which worker is given what."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.objects import (
    ChunkGiven,
    Forget,
    Give,
    Keep,
    Objects,
    ObjectsDropped,
    ObjectsSent,
    TellDropped,
    VentilatorLeft,
    WorkerGone,
)


def test_a_worker_is_given_what_it_needs_once() -> None:
    objects = Objects(100)
    assert objects.handle(ObjectsSent("v", (("a", 60), ("b", 40)))) == [Keep("a"), Keep("b")]
    assert objects.handle(ChunkGiven(0, ("a", "b"))) == [Give(0, ("a", "b"))]
    assert objects.handle(ChunkGiven(0, ("b",))) == []
    assert objects.handle(ChunkGiven(1, ("b",))) == [Give(1, ("b",))]
    objects.check()


def test_a_new_worker_in_its_slot_is_given_it_again() -> None:
    objects = Objects(100)
    objects.handle(ObjectsSent("v", (("a", 60),)))
    objects.handle(ChunkGiven(0, ("a",)))
    assert objects.handle(WorkerGone(0)) == []
    assert objects.handle(ChunkGiven(0, ("a",))) == [Give(0, ("a",))]


def test_what_is_dropped_is_forgotten_here_and_by_the_workers_that_have_it() -> None:
    objects = Objects(100)
    objects.handle(ObjectsSent("v", (("a", 60), ("b", 1))))
    objects.handle(ChunkGiven(0, ("a",)))
    objects.handle(ChunkGiven(1, ("b",)))
    assert objects.handle(ObjectsDropped("other", ("a",))) == []
    assert objects.handle(ObjectsDropped("v", ("a", "unknown"))) == [Forget("a"), TellDropped(0, ("a",))]
    assert objects.lacking(("a", "b")) == ["a"]
    assert objects.handle(VentilatorLeft("v")) == [Forget("b"), TellDropped(1, ("b",))]
    assert objects.handle(VentilatorLeft("v")) == []
    assert objects.nbytes == 0
    objects.check()


def test_beyond_the_limit_nothing_is_kept_until_there_is_room() -> None:
    objects = Objects(100)
    objects.handle(ObjectsSent("v", (("a", 60),)))
    assert objects.handle(ObjectsSent("w", (("b", 50), ("c", 40)))) == [Keep("c")]
    assert objects.lacking(("a", "b", "c")) == ["b"]
    assert objects.handle(ChunkGiven(0, ("b", "c"))) == [Give(0, ("c",))]
    objects.handle(ObjectsDropped("v", ("a",)))
    assert objects.handle(ObjectsSent("w", (("b", 50),))) == [Keep("b")]
    assert objects.handle(ObjectsSent("w", (("b", 50),))) == []  # a repetition
    assert "90/100B" in repr(objects)


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="not legal"):
        Objects(1).handle("nonsense")  # type: ignore[arg-type]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, the accounts are right."""

    ventilators = st.sampled_from("vw")
    numbers = st.lists(st.integers(0, 9), max_size=4, unique=True)

    def __init__(self) -> None:
        super().__init__()
        self.objects = Objects(30)

    @rule(ventilator=ventilators, numbers=numbers)
    def sent(self, ventilator: str, numbers: list[int]) -> None:
        self.objects.handle(ObjectsSent(ventilator, tuple((f"{ventilator}:{n}", n) for n in numbers)))

    @rule(ventilator=ventilators, numbers=numbers)
    def dropped(self, ventilator: str, numbers: list[int]) -> None:
        self.objects.handle(ObjectsDropped(ventilator, tuple(f"{ventilator}:{n}" for n in numbers)))

    @rule(ventilator=ventilators)
    def left(self, ventilator: str) -> None:
        self.objects.handle(VentilatorLeft(ventilator))

    @rule(slot=st.integers(0, 2), ventilator=ventilators, numbers=numbers)
    def given(self, slot: int, ventilator: str, numbers: list[int]) -> None:
        self.objects.handle(ChunkGiven(slot, tuple(f"{ventilator}:{n}" for n in numbers)))

    @rule(slot=st.integers(0, 2))
    def gone(self, slot: int) -> None:
        self.objects.handle(WorkerGone(slot))

    @invariant()
    def accounts(self) -> None:
        self.objects.check()


TestAnyOrder = AnyOrder.TestCase

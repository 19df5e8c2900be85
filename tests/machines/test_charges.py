"""Charges: each row of what a flight recorder may say, a model that looks at single tasks, and 10,000 lost nodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.machines.driving import within
from zmqtasks.machines.charges import MOST_NODES, Charge, Charges, Judged
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Flight, Held, JobId, Phase

RUNNING, FINISHED = Phase.RUNNING, Phase.FINISHED


def charged(*charges: Charge) -> Charges:
    kept = Charges()
    for charge in charges:
        kept.add("n", charge)
    return kept


def none_ended(job: JobId, start: int, stop: int) -> list[tuple[int, int]] | None:
    return [(start, stop)] if job in ("j", "k") else None


def flight(*begun: Held) -> Flight:
    return Flight("n", begun)


ABOARD = Charge(1, "j", 0, 30)


def test_what_merely_waited_is_pardoned_and_the_one_that_ran_is_guilty() -> None:
    charges = charged(ABOARD)
    judged = charges.judge(flight(Held("j", 7, 8, 1, RUNNING)), none_ended)
    assert judged == Judged((Charge(1, "j", 0, 7), Charge(1, "j", 8, 30)), (), Charge(1, "j", 7, 8))
    assert not charges, "each death is judged once"
    assert charges.judge(flight(Held("j", 7, 8, 1, RUNNING)), none_ended) == Judged()


def test_of_several_that_ran_each_is_suspect() -> None:
    judged = charged(ABOARD).judge(flight(Held("j", 7, 8, 1, RUNNING), Held("j", 9, 10, 1, RUNNING)), none_ended)
    assert judged.suspects == (Charge(1, "j", 7, 8), Charge(1, "j", 9, 10))
    assert judged.guilty is None


def test_what_a_worker_may_have_ended_just_before_is_suspect_too() -> None:
    """A worker outlives its node by a moment, and may have come to the next task."""
    begun = flight(Held("j", 6, 7, 1, FINISHED), Held("j", 7, 8, 1, RUNNING))
    assert charged(ABOARD).judge(begun, none_ended).suspects == (Charge(1, "j", 6, 8),)


def test_what_has_ended_is_no_suspect() -> None:
    begun = flight(Held("j", 6, 8, 1, RUNNING))
    judged = charged(ABOARD).judge(begun, lambda job, start, stop: [(7, 8)])
    assert judged.guilty == Charge(1, "j", 7, 8)


def test_nothing_ran_so_nobody_is_to_blame() -> None:
    assert charged(ABOARD).judge(flight(), none_ended) == Judged((ABOARD,))


def test_what_ran_for_others_may_have_done_it() -> None:
    begun = (Held("j", 7, 8, 1, RUNNING), Held("other:1", 0, 1, 1, RUNNING))
    assert charged(ABOARD).judge(flight(*begun), none_ended).suspects == (Charge(1, "j", 7, 8),)
    ended = (Held("j", 7, 8, 1, RUNNING), Held("other:1", 0, 1, 1, FINISHED))
    assert charged(ABOARD).judge(flight(*ended), none_ended).guilty == Charge(1, "j", 7, 8)


def test_a_later_attempt_is_not_charged_for_an_earlier_one() -> None:
    assert charged(ABOARD).judge(flight(Held("j", 7, 8, 2, RUNNING)), none_ended) == Judged((ABOARD,))


def test_charges_end_with_their_job_and_stand_where_the_node_comes_back() -> None:
    charges = charged(ABOARD, Charge(2, "k", 0, 1))
    charges.forget("j")
    assert repr(charges) == "<Charges {'n': [Charge(attempt=2, job='k', start=0, stop=1, struck=0, rungs=1)]}>"
    charges.forget("k")
    assert not charges
    charges = charged(ABOARD)
    charges.stand("n")
    charges.stand("unknown")
    assert not charges


SPANS = st.tuples(st.integers(0, 19), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(SPANS, max_size=4), st.lists(st.tuples(SPANS, st.sampled_from([RUNNING, FINISHED])), max_size=4))
def test_each_task_is_pardoned_or_suspect_or_guilty(ended: list[tuple[int, int]], begun: list) -> None:  # type: ignore[type-arg]
    done = RangeSet(ended)
    said = Flight("n", tuple(Held("j", a, b, 1, phase) for (a, b), phase in begun))
    judged = charged(Charge(1, "j", 0, 20)).judge(said, lambda job, start, stop: done.missing(start, stop))
    ran = {index for (a, b), _ in begun for index in range(a, min(b, 20))}
    open_ = {index for index in ran if index not in done}
    pardoned = {index for part in judged.pardoned for index in range(part.start, part.stop)}
    suspects = {index for part in judged.suspects for index in range(part.start, part.stop)}
    assert pardoned == set(range(20)) - ran
    assert (judged.guilty is not None) == (len(open_) == 1)
    assert suspects == (open_ if judged.guilty is None else set())


def test_long_run_of_10_000_lost_nodes_that_never_speak() -> None:
    charges = Charges()
    with within(5.0):
        for number in range(10_000):
            charges.add(f"n{number}", Charge(number, "j", 0, 9))
        assert repr(charges).count("Charge(") == MOST_NODES
        charges.forget("j")
    assert not charges

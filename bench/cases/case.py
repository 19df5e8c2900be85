"""What a case is to the harness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.peer import Answer, Peer, Work


@dataclass(frozen=True, slots=True)
class Bar:
    """What is asked for: `ours` takes at most `share` of the time of `theirs`."""

    ours: str
    theirs: str
    share: float


@dataclass(frozen=True, slots=True)
class Case:
    """A question.

    Args:
        name: of the case.
        question: one line, for the table.
        work: what each peer runs.
        peers: who.
        check: raises AssertionError where an answer is wrong; a peer that cannot tell why a task failed is not asked.
        bar: what is asked for, or None.
    """

    name: str
    question: str
    work: Work
    peers: tuple[Peer, ...]
    check: Callable[[list[Answer]], None]
    bar: Bar | None = None


def check_failures(answers: list[Answer], bad: set[int], failure: str, names: tuple[str, ...]) -> None:
    """Check that the bad tasks failed in this way, told with one of these names, and that the others are right."""
    for index, answer in enumerate(answers):
        if index in bad:
            assert answer.failure == failure, (index, answer)
            assert any(name in answer.told for name in names), (index, answer)
        else:
            assert (answer.failure, answer.value) == ("", index), (index, answer)

"""Tending the queues of programs that run elsewhere: a session as a steward with each.

Owns what is asked, which is repeated until it is answered, and how much is pulled. Called by `queue.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zmqtasks.cli.asking import Asking, hold_sessions
from zmqtasks.machines.session import Closed
from zmqtasks.messages import QueueCare, Role, Status, Tend, Tended
from zmqtasks.peer import Link
from zmqtasks.place import Place
from zmqtasks.records import Value, replace


class Wish(Value):
    """What is to be done with a queue.

    Args:
        care: see there.
        queue: its name.
        most: tasks to pull.
        on_lines: called with what was pulled, as lines of JSON.
    """

    care: QueueCare
    queue: str
    most: int = 0
    on_lines: Callable[[bytes], None] = lambda lines: None


def tend(programs: tuple[str, ...], place: Place, wish: Wish, timeout_s: float) -> dict[str, Tended | str]:
    """Do it in the program at each address; return what each told last, or why it did not.

    Args:
        programs: their addresses.
        place: where to listen for the answers, and the key of the mesh.
        wish: what is to be done.
        timeout_s: how long to wait for their answers.

    Raises:
        BindError: an address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    tending = _Tending(programs, timeout_s, wish)
    asyncio.run(hold_sessions(tending, programs, place, timeout_s))
    return tending.answers


class _Tending(Asking[Tended]):
    """Sessions with programs whose queues are tended."""

    role = Role.STEWARD

    def __init__(self, programs: tuple[str, ...], timeout_s: float, wish: Wish) -> None:
        super().__init__(programs, timeout_s)
        self._wish = wish
        self._taken = dict.fromkeys(programs, 0)
        self._numbers = dict.fromkeys(programs, 1)
        """Of what each is asked now."""

    @property
    def has_begun(self) -> bool:  # type: ignore[override]
        """Whether there may be more to pull where something was."""
        return any(self._numbers[program] > 1 for program in self._waiting)

    def give_up(self) -> None:
        """Wait for no first answer any more."""
        for program in [program for program in self._waiting if self._numbers[program] == 1]:
            self._done(program)

    def link_opened(self, link: Link, status: Status) -> None:
        link.on_tended = lambda tended: self._tended(link, tended)
        self._ask(link)

    def link_heard(self, link: Link, status: Status) -> None:
        """Ask again: what was asked, or its answer, may be lost."""
        if self._address(link) in self._waiting:
            self._ask(link)

    def link_closed(self, link: Link, closed: Closed) -> None:
        """A program that has ended has nothing more to pull."""
        if self._numbers[self._address(link)] > 1:
            self._done(self._address(link))

    def _ask(self, link: Link) -> None:
        program, wish = self._address(link), self._wish
        number, left = self._numbers[program], wish.most - self._taken[program]
        link.request(lambda session: Tend(session, number, wish.care, wish.queue, left))

    def _tended(self, link: Link, tended: Tended) -> None:
        program, wish = self._address(link), self._wish
        if program not in self._waiting or tended.number != self._numbers[program]:
            return
        wish.on_lines(bytes(tended.lines))
        self._taken[program] += tended.taken
        self.answers[program] = replace(tended, taken=self._taken[program], lines=b"")
        if tended.taken and self._taken[program] < wish.most:
            self._numbers[program] += 1
            self._ask(link)
        else:
            self._done(program)

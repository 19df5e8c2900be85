"""A ventilator as the home of its tasks: what they ask is done here, once, and answered.

Owns the streams of errands with nodes, and what tasks share. Decides nothing about it (`machines/sharing.py` does);
calls that tasks spawn go to whoever was given for them. Called by `ventilator.py`, and for its own program by
`embedded`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from zmqtasks.asks import Answer, Ask, Disregard, Refused, Spawn
from zmqtasks.errors import RemoteProtocolError
from zmqtasks.exchanges import Correspondence
from zmqtasks.machines.errands import Post
from zmqtasks.machines.places import Asker
from zmqtasks.machines.sharing import Asked, AskerGone, Command, Sharing
from zmqtasks.messages import Errand, Errands, PeerId
from zmqtasks.peer import Link, Loop, Timer
from zmqtasks.records import Entity, field
from zmqtasks.wire.asking import pack_ask, unpack_ask

logger = logging.getLogger(__name__)

GONE = 0
CLOSED = "the client is shut down, and what its tasks shared is gone with it"
OURSELVES = Asker("")
"""Who asks in the program of the ventilator."""
GRACE_S = 10.0
"""So much longer than its lease a silent node is taken to run its tasks."""


class Children(Protocol):
    """Who runs the calls that tasks spawn."""

    def spawn(self, asker: Asker, number: int, spawn: Spawn) -> None:
        """Run them."""

    def disregard(self, asker: Asker, number: int) -> None:
        """Nobody waits any more for what was spawned by this number."""

    def asker_gone(self, asker: Asker) -> None:
        """Nobody waits any more for anything this one has spawned."""


class _Visitor(Entity):
    """A node whose workers may ask."""

    link: Link
    incarnation: int
    stream: Correspondence | None = None
    over: int = 0
    """Streams up to this are over."""
    workers: set[int] = field(default_factory=set)
    """That have asked in this stream, and are not gone."""
    timer: Timer | None = None
    """Runs while there is no session."""


class Home:
    """Do what tasks ask; see the module.

    Args:
        loop: everything happens in its thread.
        lease_s: how long a node keeps tasks of ours while it hears nothing of us.
    """

    def __init__(self, loop: Loop, lease_s: float) -> None:
        self.children: Children | None = None
        """Filled in by whoever runs calls that tasks spawn."""
        self._loop = loop
        self._lease_s = lease_s
        self._sharing = Sharing()
        self._visitors: dict[PeerId, _Visitor] = {}
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        """Who asked in our own program, by number."""
        self._timer: Timer | None = None
        self._closed = False

    # Nodes

    def opened(self, link: Link, incarnation: int) -> None:
        """A session with a node is up."""
        assert link.partner is not None
        visitor = self._visitors.get(link.partner)
        if visitor and visitor.incarnation == incarnation:
            visitor.link = link
            if visitor.timer:
                visitor.timer.cancel()
                visitor.timer = None
            if visitor.stream:
                visitor.stream.renew()
            return
        if visitor:
            self._forget(link.partner)
        self._visitors[link.partner] = _Visitor(link, incarnation)

    def lost(self, node: PeerId, *, died: bool) -> None:
        """The session with a node is over; what runs there may go on until its lease is over, unless it died."""
        visitor = self._visitors.get(node)
        if visitor is None:
            return
        if died:
            self._forget(node)
        elif visitor.timer is None:
            due = self._loop.time() + self._lease_s + GRACE_S
            visitor.timer = self._loop.call_at(due, self._give_up, node)

    def heard(self, node: PeerId, message: Errands) -> None:
        """Take what a node said."""
        visitor = self._visitors.get(node)
        if visitor is None:
            return
        stream = visitor.stream
        if stream is None or message.stream > stream.stream:
            stream = self._new_stream(node, visitor, message)
        if stream and message.stream == stream.stream:
            stream.hear(message)

    def _new_stream(self, node: PeerId, visitor: _Visitor, message: Errands) -> Correspondence | None:
        """Begin a stream at its beginning; of one that is forgotten here, tell the node so."""
        if message.stream <= visitor.over or message.first > 1 or message.cum:
            visitor.link.request(lambda session: Errands(session, message.stream, over=True))
        elif message.errands:
            self._end_stream(node, visitor)
            visitor.stream = self._stream(node, visitor, message.stream)
        return visitor.stream

    def close(self) -> None:
        """Forget everything, and tell our own program so; idempotent."""
        self._closed = True
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer(Refused("RuntimeError", CLOSED))
        for visitor in self._visitors.values():
            if visitor.timer:
                visitor.timer.cancel()
            if visitor.stream:
                visitor.stream.close()
        self._visitors.clear()
        if self._timer:
            self._timer.cancel()

    def _stream(self, node: PeerId, visitor: _Visitor, number: int) -> Correspondence:
        def post(what: Post, stream: int) -> None:
            visitor.link.request(lambda session: Errands(session, stream, what.cum, what.first, what.errands))

        def take(errand: Errand) -> None:
            self._take(Asker(node, number, errand.worker), visitor, errand)

        return Correspondence(self._loop, number, post, take)

    def _give_up(self, node: PeerId) -> None:
        """What a node ran for us has ended by now, or soon will: its streams are over, though it may come back."""
        visitor = self._visitors[node]
        visitor.timer = None
        self._end_stream(node, visitor)

    def _forget(self, node: PeerId) -> None:
        visitor = self._visitors.pop(node)
        if visitor.timer:
            visitor.timer.cancel()
        self._end_stream(node, visitor)

    def _end_stream(self, node: PeerId, visitor: _Visitor) -> None:
        if visitor.stream is None:
            return
        visitor.stream.close()
        visitor.over = visitor.stream.stream
        visitor.stream, workers = None, visitor.workers
        visitor.workers = set()
        for worker in sorted(workers):
            self._gone(Asker(node, visitor.over, worker))

    # Errands

    def _take(self, asker: Asker, visitor: _Visitor, errand: Errand) -> None:
        if errand.number == GONE:
            visitor.workers.discard(asker.worker)
            self._gone(asker)
            return
        visitor.workers.add(asker.worker)
        try:
            ask = unpack_ask(errand.body)
        except RemoteProtocolError as error:
            logger.warning("a worker of node %s asked for what cannot be understood: %s", asker.node, error)
            self.tell(asker, errand.number, Refused("RemoteProtocolError", str(error)))
            return
        self._do(asker, errand.number, ask)

    def ask(self, number: int, ask: Ask, answer: Callable[[Answer], None] | None) -> None:
        """Do what our own program asks; `answer` is called where there is one, and nobody waits where it is None."""
        if answer is not None and self._closed:
            answer(Refused("RuntimeError", CLOSED))
            return
        if answer is not None:
            self._waiting[number] = answer
        self._do(OURSELVES, number, ask)

    def _do(self, asker: Asker, number: int, ask: Ask) -> None:
        if isinstance(ask, Spawn | Disregard) and self.children is None:
            text = "the program that owns this task takes no calls that tasks spawn"
            self.tell(asker, number, Refused("RuntimeError", text))
        elif isinstance(ask, Spawn):
            self.children.spawn(asker, number, ask)  # type: ignore[union-attr]
        elif isinstance(ask, Disregard):
            self.children.disregard(asker, ask.number)  # type: ignore[union-attr]
        else:
            self._carry_out(self._sharing.handle(Asked(asker, number, ask), self._loop.time()))

    def _gone(self, asker: Asker) -> None:
        if self.children:
            self.children.asker_gone(asker)
        self._carry_out(self._sharing.handle(AskerGone(asker), self._loop.time()))

    def waiting(self) -> int:
        """Return how many wait for an answer in our own program."""
        return len(self._waiting)

    def tell(self, asker: Asker, number: int, answer: Answer) -> None:
        """Answer what was asked; nobody hears it where the asker is gone."""
        if asker == OURSELVES:
            if waiting := self._waiting.pop(number, None):
                waiting(answer)
            return
        visitor = self._visitors.get(asker.node)
        if visitor and visitor.stream and visitor.stream.stream == asker.stream:
            visitor.stream.offer(Errand(asker.worker, number, "", pack_ask(answer)))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            self.tell(command.asker, command.number, command.answer)
        self._rearm()

    def _rearm(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = self._sharing.next_deadline()
        self._timer = self._loop.call_at(deadline, self._tick) if deadline < float("inf") else None

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._sharing.tick(self._loop.time()))

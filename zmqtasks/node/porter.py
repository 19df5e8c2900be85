"""The errands of a node's workers: carried to the ventilators that own their tasks, and the answers back.

Owns the numbers of the workers, and one stream with each ventilator that was ever asked. Opens no errand, and decides
nothing. `shell.py` tells it of workers and sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from zmqtasks.exchanges import Correspondence
from zmqtasks.machines.errands import Post
from zmqtasks.messages import Buffer, Errand, Errands, JobId, PeerId, ventilator_of
from zmqtasks.peer import Guest, Loop

GONE = 0
"""Number of the errand that tells of the end of a worker."""


class Porter:
    """Carry errands; see the module.

    Args:
        loop: everything happens in its thread.
        guests: the sessions with ventilators, by peer; looked at, never changed.
        answer: gives an answer to the worker of a slot, by the number of what it asked.
        lose: tells the worker of a slot that what it asked this ventilator is lost.
    """

    def __init__(
        self,
        loop: Loop,
        guests: Mapping[PeerId, Guest],
        answer: Callable[[int, int, Buffer], None],
        lose: Callable[[int, PeerId], None],
    ) -> None:
        self._loop = loop
        self._guests = guests
        self._answer = answer
        self._lose = lose
        self._streams: dict[PeerId, Correspondence] = {}
        self._lives: dict[PeerId, int] = {}
        """Of the ventilators at the other ends."""
        self._stream_numbers = count(1)
        self._worker_numbers = count(1)
        self._workers: dict[int, int] = {}
        """Number of the worker in each slot that has ever asked anything."""
        self._slots: dict[int, int] = {}
        """The slot of each of them."""
        self._asked: dict[int, set[PeerId]] = {}
        """Whom it has asked."""

    def asked(self, slot: int, number: int, job: JobId, body: Buffer) -> None:
        """Carry what a worker asks to the ventilator that owns this job."""
        ventilator = ventilator_of(job)
        if ventilator not in self._guests:
            self._lose(slot, ventilator)
            return
        worker = self._workers.get(slot)
        if worker is None:
            worker = self._workers[slot] = next(self._worker_numbers)
            self._slots[worker], self._asked[worker] = slot, set()
        self._asked[worker].add(ventilator)
        self._stream_to(ventilator).offer(Errand(worker, number, job, body))

    def worker_gone(self, slot: int) -> None:
        """Tell all whom the worker of a slot has asked that it is gone."""
        worker = self._workers.pop(slot, None)
        if worker is None:
            return
        del self._slots[worker]
        for ventilator in sorted(self._asked.pop(worker)):
            if stream := self._streams.get(ventilator):
                stream.offer(Errand(worker, GONE, "", b""))

    def joined(self, guest: Guest) -> None:
        """A ventilator has a new session; in another life it knows nothing of what it was asked."""
        if stream := self._streams.get(guest.id):
            if self._lives[guest.id] == guest.machine.session.epoch:
                stream.renew()
            else:
                self._end(guest.id)

    def left(self, ventilator: PeerId) -> None:
        """A ventilator is gone for good."""
        self._end(ventilator)

    def heard(self, ventilator: PeerId, message: Errands) -> None:
        """Take what a ventilator said."""
        stream = self._streams.get(ventilator)
        if stream is None or stream.stream != message.stream:
            return
        if message.over:
            self._end(ventilator)
        else:
            stream.hear(message)

    def close(self) -> None:
        """Carry nothing more; idempotent."""
        for stream in self._streams.values():
            stream.close()

    def _stream_to(self, ventilator: PeerId) -> Correspondence:
        stream = self._streams.get(ventilator)
        if stream is None:

            def post(what: Post, number: int) -> None:
                if guest := self._guests.get(ventilator):
                    guest.carry(lambda session: Errands(session, number, what.cum, what.first, what.errands))

            stream = Correspondence(self._loop, next(self._stream_numbers), post, self._take)
            self._streams[ventilator] = stream
            self._lives[ventilator] = self._guests[ventilator].machine.session.epoch
        return stream

    def _take(self, errand: Errand) -> None:
        slot = self._slots.get(errand.worker)
        if slot is not None:  # else it has ended meanwhile
            self._answer(slot, errand.number, errand.body)

    def _end(self, ventilator: PeerId) -> None:
        """Forget a stream, and have its workers know that what they asked is lost."""
        stream = self._streams.pop(ventilator, None)
        if stream is None:
            return
        stream.close()
        for worker, ventilators in self._asked.items():
            if ventilator in ventilators:
                ventilators.discard(ventilator)
                self._lose(self._slots[worker], ventilator)

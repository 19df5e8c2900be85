"""What a node decides about objects that clients have put: which are kept, and which worker has to be given one.

Owns whose they are, their sizes, and which worker has which. Never sees a body: `zmqtasks/node/objects.py` keeps those
and carries out what is said here.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import ObjectId, PeerId
from zmqtasks.records import Value

# Events


class ObjectsSent(Value):
    """A ventilator sent objects: their ids and sizes."""

    ventilator: PeerId
    objects: tuple[tuple[ObjectId, int], ...]


class ObjectsDropped(Value):
    """A ventilator has no more use for objects."""

    ventilator: PeerId
    objects: tuple[ObjectId, ...]


class VentilatorLeft(Value):
    """Nothing of a ventilator is wanted any more; or it opened a new session, and sends again what it needs."""

    ventilator: PeerId


class ChunkGiven(Value):
    """A worker is about to be given a chunk that needs objects."""

    slot: int
    needs: tuple[ObjectId, ...]


class WorkerGone(Value):
    """The worker of a slot has ended, and what it had with it."""

    slot: int


Event = ObjectsSent | ObjectsDropped | VentilatorLeft | ChunkGiven | WorkerGone

# Commands


class Keep(Value):
    """Keep the body of an object that has just come."""

    object: ObjectId


class Forget(Value):
    """Let go of the body of an object."""

    object: ObjectId


class Give(Value):
    """Send objects to a worker, before the chunk that needs them."""

    slot: int
    objects: tuple[ObjectId, ...]


class TellDropped(Value):
    """Have a worker let go of objects."""

    slot: int
    objects: tuple[ObjectId, ...]


Command = Keep | Forget | Give | TellDropped


class Objects:
    """Keep objects for workers; see the module.

    Args:
        most_bytes: of all objects together; what comes beyond that is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.nbytes = 0
        """Of all that are kept."""
        self.most_bytes = most_bytes
        self._sizes: dict[ObjectId, int] = {}
        self._owned: dict[PeerId, set[ObjectId]] = {}
        self._had: dict[int, set[ObjectId]] = {}

    def handle(self, event: Event) -> list[Command]:
        """Take one event; return what to do, in order."""
        match event:
            case ChunkGiven(slot, needs):
                return self._given(slot, needs)
            case ObjectsSent(ventilator, objects):
                return self._sent(ventilator, objects)
            case ObjectsDropped(ventilator, objects):
                return self._drop(ventilator, objects)
            case VentilatorLeft(ventilator):
                return self._drop(ventilator, sorted(self._owned.get(ventilator, ())))
            case WorkerGone(slot):
                self._had.pop(slot, None)
                return []
        raise LocalProtocolError(f"{event!r} is not legal in {self!r}")

    def lacking(self, needs: Sequence[ObjectId]) -> list[ObjectId]:
        """Return those of the objects that are not kept here."""
        return [object_id for object_id in needs if object_id not in self._sizes]

    def _sent(self, ventilator: PeerId, objects: tuple[tuple[ObjectId, int], ...]) -> list[Command]:
        commands: list[Command] = []
        for object_id, nbytes in objects:
            if object_id in self._sizes or self.nbytes + nbytes > self.most_bytes:
                continue
            self._sizes[object_id] = nbytes
            self.nbytes += nbytes
            self._owned.setdefault(ventilator, set()).add(object_id)
            commands.append(Keep(object_id))
        return commands

    def _drop(self, ventilator: PeerId, objects: Sequence[ObjectId]) -> list[Command]:
        owned = self._owned.get(ventilator, set())
        gone = [object_id for object_id in objects if object_id in owned]
        commands: list[Command] = []
        for object_id in gone:
            owned.discard(object_id)
            self.nbytes -= self._sizes.pop(object_id)
            commands.append(Forget(object_id))
        if not owned:
            self._owned.pop(ventilator, None)
        for slot, had in self._had.items():
            if held := tuple(object_id for object_id in gone if object_id in had):
                had.difference_update(held)
                commands.append(TellDropped(slot, held))
        return commands

    def _given(self, slot: int, needs: tuple[ObjectId, ...]) -> list[Command]:
        had = self._had.setdefault(slot, set())
        new = tuple(object_id for object_id in needs if object_id in self._sizes and object_id not in had)
        had.update(new)
        return [Give(slot, new)] if new else []

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        owned = [object_id for objects in self._owned.values() for object_id in objects]
        assert sorted(owned) == sorted(self._sizes), repr(self)
        assert self.nbytes == sum(self._sizes.values()) <= self.most_bytes, repr(self)
        assert all(had <= self._sizes.keys() for had in self._had.values()), repr(self)
        assert all(self._owned.values()), repr(self)

    def __repr__(self) -> str:
        return f"<Objects {len(self._sizes)} of {self.nbytes}/{self.most_bytes}B, workers have {self._had}>"

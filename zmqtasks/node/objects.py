"""The objects that clients have put on a node: kept once, for all its workers.

Owns their bodies. Decides nothing (`machines/objects.py` does). Called by `shell.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmqtasks.errors import TooBig
from zmqtasks.machines import objects as moves
from zmqtasks.machines.objects import Objects
from zmqtasks.messages import NO_SESSION, Body, Chunk, ObjectId, PeerId, PutObject, Tasks
from zmqtasks.wire import payload


class ObjectShelf:
    """Keep what clients have put.

    Args:
        node: its id, for texts.
        most_bytes: of all objects together.
        send: sends a message to the worker of a slot.
    """

    def __init__(self, node: PeerId, most_bytes: int, send: Callable[[int, Tasks], None]) -> None:
        self._node = node
        self._objects = Objects(most_bytes)
        self._send = send
        self._bodies: dict[ObjectId, Body] = {}

    def taken(self, ventilator: PeerId, objects: Sequence[PutObject], dropped: tuple[ObjectId, ...]) -> None:
        """A ventilator sent objects, and names of such as it needs no more."""
        if objects:
            sizes = tuple((put.id, len(put.body)) for put in objects)
            self._handle(moves.ObjectsSent(ventilator, sizes), {put.id: put.body for put in objects})
        if dropped:
            self._handle(moves.ObjectsDropped(ventilator, dropped))

    def left(self, ventilator: PeerId) -> None:
        """A ventilator is gone, or begins anew."""
        self._handle(moves.VentilatorLeft(ventilator))

    def worker_gone(self, slot: int) -> None:
        """A worker has ended."""
        self._handle(moves.WorkerGone(slot))

    def give(self, slot: int, needs: tuple[ObjectId, ...]) -> None:
        """Send a worker the objects that its next chunk needs, and that it does not have."""
        self._handle(moves.ChunkGiven(slot, needs))

    def objection(self, chunk: Chunk) -> TooBig | None:
        """Return why a chunk cannot be run here: an object that it needs was not kept."""
        if not chunk.needs or not self._objects.lacking(chunk.needs):
            return None
        used, most = self._objects.nbytes, self._objects.most_bytes
        return TooBig(
            f"node {self._node} has no room for an object the task needs: of the {most} bytes it keeps for put() (its "
            f"option put_bytes), {used} are used; drop references to objects that are not needed, or raise the limit"
        )

    def _handle(self, event: moves.Event, new: dict[ObjectId, Body] | None = None) -> None:
        for command in self._objects.handle(event):
            match command:
                case moves.Keep(object_id):
                    assert new is not None
                    self._bodies[object_id] = payload.shared(new[object_id])
                case moves.Forget(object_id):
                    del self._bodies[object_id]
                case moves.Give(slot, objects):
                    puts = tuple(PutObject(object_id, self._bodies[object_id]) for object_id in objects)
                    self._send(slot, Tasks(NO_SESSION, 0, objects=puts))
                case moves.TellDropped(slot, objects):
                    self._send(slot, Tasks(NO_SESSION, 0, dropped=objects))

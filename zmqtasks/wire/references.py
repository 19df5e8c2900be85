"""References to objects that a client has put, and the objects behind them in a worker.

Owns how a reference is pickled: as the object itself, which the worker has or is sent before. Never sends anything.
`embedded` makes references, `source.py` learns here which of them arguments hold, and workers keep objects here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from zmqtasks.errors import SerializationError
from zmqtasks.messages import Body, ObjectId
from zmqtasks.wire import unpacking


class Reference:
    """An object that `Client.put` has sent, or will send, once to each node that needs it.

    Give it to `submit` or `map` of the same client in place of the object, alone or within other arguments: the task
    gets the object. It may read it and must not change it: all tasks of a worker get the same one, and large buffers in
    it, such as those of arrays, are read-only memory that all workers of a node share.

    The object is kept as long as this reference is, or a task that was given it.
    """

    __slots__ = ("__weakref__", "_id", "_nbytes", "_on_end")

    def __init__(self, object_id: ObjectId, nbytes: int, on_end: Callable[[ObjectId], object]) -> None:
        self._id = object_id
        self._nbytes = nbytes
        self._on_end = on_end

    @property
    def id(self) -> ObjectId:
        """Return the name of the object in the mesh."""
        return self._id

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[[ObjectId], Any], tuple[ObjectId]]:
        if _noting.known is None:
            raise TypeError("a Reference travels only among the arguments of submit() and map(), not in their function")
        if self._id not in _noting.known:
            raise TypeError(f"{self!r} was put by another client, or by one that is closed; put it with this one")
        _noting.found[self._id] = self
        return resolve, (self._id,)

    def __copy__(self) -> Reference:
        return self

    def __deepcopy__(self, memo: object) -> Reference:
        return self

    def __del__(self) -> None:
        self._on_end(self._id)

    def __repr__(self) -> str:
        return f"<zmqtasks.Reference {self._id} to {self._nbytes} bytes>"


class _Noting(threading.local):
    known: Container[ObjectId] | None = None
    found: dict[ObjectId, Reference]


_noting = _Noting()


@contextmanager
def noted(known: Container[ObjectId]) -> Iterator[dict[ObjectId, Reference]]:
    """Collect the references that are pickled meanwhile in this thread.

    Args:
        known: objects that may be referred to.
    """
    before = _noting.known, getattr(_noting, "found", {})
    _noting.known, _noting.found = known, {}
    try:
        yield _noting.found
    finally:
        _noting.known, _noting.found = before


class ObjectsHere:
    """The objects a worker has: each is opened when it is first needed, and kept."""

    def __init__(self) -> None:
        self._bodies: dict[ObjectId, Body] = {}
        self._values: dict[ObjectId, Any] = {}

    def add(self, object_id: ObjectId, body: Body) -> None:
        """Take an object."""
        self._bodies[object_id] = body

    def drop(self, object_id: ObjectId) -> None:
        """Let go of an object; unknown ones are no matter."""
        self._bodies.pop(object_id, None)
        self._values.pop(object_id, None)

    def value(self, object_id: ObjectId) -> Any:
        """Return an object.

        Raises:
            SerializationError: it is not here, or cannot be opened.
        """
        if object_id not in self._values:
            body = self._bodies.get(object_id)
            if body is None:
                _missing(object_id)
            self._values[object_id] = unpacking.open_shared(body)
            del self._bodies[object_id]
        return self._values[object_id]


def _missing(object_id: ObjectId) -> NoReturn:
    raise SerializationError(f"object {object_id} is not here: its client has dropped it, or is closed")


here = ObjectsHere()
"""Of this process."""


def resolve(object_id: ObjectId) -> Any:
    """Return an object that is here; what a pickled reference calls."""
    return here.value(object_id)

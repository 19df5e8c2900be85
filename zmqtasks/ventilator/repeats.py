"""Whether a job is given the same large argument again and again: then `Client.put` would send it once.

Owns what is remembered of the last few. Never keeps an argument. Called by `source.py` for single tasks of 1 MiB and
more.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from zmqtasks.options import MIB
from zmqtasks.wire.payload import Form

logger = logging.getLogger(__name__)

LEAST_BYTES = MIB
TIMES = 3
"""So often the same argument is remarkable."""
_REMEMBERED = 8
_SAMPLES = 64


class Repeats:
    """Look at large arguments, and say once what would be better.

    Args:
        name: of the function, for the text.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: OrderedDict[tuple[int, int, int], int] = OrderedDict()
        self._said = False

    def look(self, item: Any, form: Form) -> None:
        """Look at the arguments of one task."""
        if self._said:
            return
        for value in _arguments(item, form):
            mark = _mark(value)
            if mark is None:
                continue
            times = self._seen[mark] = self._seen.pop(mark, 0) + 1
            if times >= TIMES:
                self._said = True
                logger.warning(
                    "%s is given the same %s of %.0f MiB again and again, and it is sent each time; "
                    "reference = client.put(value) sends it once: give the reference in its place",
                    self._name,
                    type(value).__name__,
                    mark[1] / MIB,
                )
                return
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)


def _arguments(item: Any, form: Form) -> Iterable[Any]:
    if form is Form.ONE:
        return (item,)
    return item if form is Form.MANY else (*item[0], *item[1].values())


def _mark(value: object) -> tuple[int, int, int] | None:
    """Return what tells a large buffer from another that had its place before: samples of its content."""
    try:
        view = memoryview(value)  # type: ignore[arg-type]
        nbytes = view.nbytes
        if nbytes < LEAST_BYTES:
            return None
        flat = view.cast("B")
    except (TypeError, ValueError):  # no buffer, or not in one piece
        return None
    step = nbytes // _SAMPLES
    return id(value), nbytes, hash(b"".join(flat[at : at + _SAMPLES] for at in range(0, nbytes, step)))

"""Calls that tasks spawn: they belong to the client that owns those tasks, and run on any of its nodes.

Owns the jobs of such calls, and which asker waits for which of them. Opens neither arguments nor results: both are
passed on as they are. Everything happens in the loop's thread. `registry.py` and the commands make it; `home.py` brings
what is asked.
"""

from __future__ import annotations

import logging
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from operator import attrgetter

from zmqtasks.asks import NO_MORE, Ended, Refused, Spawn, Told
from zmqtasks.embedded.reception import Reception
from zmqtasks.errors import TooBig
from zmqtasks.machines.places import Asker
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind, Range
from zmqtasks.options import GIB, MIB, TaskOptions
from zmqtasks.records import Entity
from zmqtasks.ventilator.resuming import SPAWN, Kin, Resuming
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)

MOST_ANSWER_BYTES = 4 * MIB
"""Largest result that is passed on to the task that waits for it."""
MOST_BYTES = GIB
"""Arguments of calls that have not ended, all together."""
IDLE_JOBS = 64
"""Jobs without calls that are kept open for further ones."""


class _Claim(Entity):
    """Calls [start, stop) of a job that an asker waits for, spawned by this number."""

    start: int
    stop: int
    asker: Asker
    number: int
    left: int


class Brood:
    """The calls of one function with the same options: a receiver of their results.

    Args:
        function: encoded.
        name: of the function, for people.
        options: of each call.
        nursery: told of what they take, and where all have ended.
    """

    kind = SPAWN

    def __init__(self, function: bytes, name: str, options: TaskOptions, nursery: Nursery) -> None:
        self.function, self.name, self.options = function, name, options
        self.serializer = options.serializer
        self.job_id: JobId = ""
        self.added = 0
        self.nbytes = 0
        """Of the arguments of calls that have not all ended."""
        self._nursery = nursery
        self._ended = RangeSet()
        """Calls that have ended: of an earlier life some are told again while they are given back from the journal."""
        self._claims: list[_Claim] = []
        """In the order of their calls."""

    @property
    def is_idle(self) -> bool:
        """Tell whether all calls have ended."""
        return self._ended.count() == self.added

    def add(self, count: int, nbytes: int) -> None:
        """Take note of further calls."""
        self.added += count
        self.nbytes += nbytes
        self._nursery.added += count

    def unclaimed(self) -> Iterator[Range]:
        """Yield the calls that nobody waits for; some of them may have ended."""
        claimed = RangeSet((claim.start, claim.stop) for claim in self._claims)
        return (Range(self.job_id, *part) for part in claimed.missing(0, self.added))

    def claim(self, asker: Asker, number: int, count: int) -> None:
        """Somebody waits for the last `count` calls."""
        insort(self._claims, _Claim(self.added - count, self.added, asker, number, count), key=_START)

    def unclaim(self, asker: Asker, number: int | None) -> None:
        """Nobody waits any more for what this asker has spawned, all of it or by this number."""
        self._claims = [c for c in self._claims if c.asker != asker or (number is not None and c.number != number)]

    def sent(self, start: int, stop: int, nbytes: int) -> None:
        """Calls go to a node."""

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Pass results on to who waits for them."""
        self._tell(start, stop, lambda a, b: _result(outcome, a))
        self._end(start, stop)

    def fail(self, start: int, stop: int, error: BaseException, outcome: Outcome | None = None) -> None:
        """Pass a failure on, or log it where nobody waits for it."""
        kind = OutcomeKind.ERROR if outcome is None or outcome.kind is OutcomeKind.OK else outcome.kind
        body = outcome.body if outcome is not None else payload.pack_failure(error, serializer=self.serializer)
        told: tuple[OutcomeKind, bytes, int] = kind, bytes(payload.in_memory(body)), 0
        waited = self._tell(start, stop, lambda a, b: told)
        if waited < stop - start:
            self._nursery.on_failed(self.name, stop - start - waited, error)
        self._end(start, stop)

    def cancelled(self, start: int, stop: int) -> None:
        """Nobody has begun these calls, and nobody will: their client was shut down with `cancel_futures`."""
        body = payload.pack_failure(RuntimeError("the call was cancelled"), serializer=self.serializer)
        self._tell(start, stop, lambda a, b: (OutcomeKind.ERROR, body, 0))
        self._end(start, stop)

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will come."""
        body = payload.pack_failure(error, serializer=self.serializer)
        self._tell(0, self.added, lambda a, b: (OutcomeKind.ERROR, body, 0))
        self._end(0, self.added)

    def _tell(self, start: int, stop: int, told: Callable[[int, int], tuple[OutcomeKind, bytes, int]]) -> int:
        """Tell those who wait for any of [start, stop); return for how many of these somebody does."""
        waited, place = 0, max(0, bisect_right(self._claims, start, key=_START) - 1)
        while place < len(self._claims) and self._claims[place].start < stop:
            claim = self._claims[place]
            first, last = max(start, claim.start), min(stop, claim.stop)
            place += 1
            if first >= last:
                continue
            kind, body, position = told(first, last)
            ended = Ended(first - claim.start, last - claim.start, kind, body, position)
            self._nursery.tell(claim.asker, claim.number, ended)
            waited += last - first
            claim.left -= last - first
            if not claim.left:
                place -= 1
                del self._claims[place]
        return waited

    def _end(self, start: int, stop: int) -> None:
        before = self._ended.count()
        self._ended.add(start, stop)
        new = self._ended.count() - before
        self._nursery.ended += new
        if new and self.is_idle:
            self._nursery.idle(self)


_START = attrgetter("start")


def _result(outcome: Outcome, start: int) -> tuple[OutcomeKind, bytes, int]:
    """Return kind and body to pass on, and where in that the value of call `start` stands."""
    if len(outcome.body) > MOST_ANSWER_BYTES:
        text = (
            f"a result of {len(outcome.body):,} bytes is too large to be passed on to a task, which may take "
            f"{MOST_ANSWER_BYTES:,}; return less, or where a file is"
        )
        return OutcomeKind.TOO_BIG, payload.pack_failure(TooBig(text)), 0
    return OutcomeKind.OK, bytes(payload.in_memory(outcome.body)), start - outcome.start


def log_failure(name: str, number: int, error: BaseException) -> None:
    """Log that calls of a function have failed which nobody waits for."""
    text = "%d calls of %s that tasks have spawned, and that nobody waits for, failed: %s: %s"
    logger.error(text, number, name, type(error).__name__, error)


class Nursery:
    """Run calls that tasks spawn; see `home.Children`.

    Args:
        ventilator: that owns the tasks; its home brings what they ask.
        reception: of what becomes of them.
        defaults: options of calls that nobody says otherwise of.
        on_idle: called where all calls have ended.
        on_failed: told of calls that have failed and that nobody waits for: name, number and reason.
        refusal: why nothing can be spawned here; nothing where it can.
    """

    def __init__(
        self,
        ventilator: Ventilator,
        reception: Reception,
        defaults: TaskOptions,
        on_idle: Callable[[], None],
        on_failed: Callable[[str, int, BaseException], None] = log_failure,
        *,
        refusal: str = "",
    ) -> None:
        ventilator.home.children = self
        self.tell = ventilator.home.tell
        self.on_failed = on_failed
        self._ventilator = ventilator
        self._reception = reception
        self._defaults = defaults
        self._on_idle = on_idle
        self._refusal = refusal
        self._draining = False
        self.added = self.ended = 0
        """Calls that tasks have spawned, and those of them that have ended."""
        self._broods: OrderedDict[tuple[bytes, TaskOptions], Brood] = OrderedDict()
        """The least recently used first."""
        self._nbytes = 0
        self._busy = 0
        """Jobs whose calls have not all ended."""

    def is_idle(self) -> bool:
        """Tell whether all calls have ended; from any thread."""
        return not self._busy

    def spawn(self, asker: Asker, number: int, spawn: Spawn) -> None:
        """Run calls, and tell that they are taken, or why they are not."""
        refused = self._objection(spawn)
        if refused is not None:
            self.tell(asker, number, refused)
            return
        brood = self._brood_of(spawn)
        if brood.is_idle:
            self._busy += 1
        brood.add(spawn.count, len(spawn.body))
        self._nbytes += len(spawn.body)
        if spawn.awaited:
            brood.claim(asker, number, spawn.count)
        told = partial(self.tell, asker, number, Told(spawn.count))  # once it is written, where there is a journal
        self._ventilator.adopt(brood.job_id, bytes(spawn.body), spawn.count, spawn.trace_id, told)
        if self._draining and not spawn.awaited:
            self._ventilator.request_cancel([Range(brood.job_id, brood.added - spawn.count, brood.added)])

    def go_on(self, resuming: Resuming) -> None:
        """Run what an earlier life was asked for, and has not done; nobody waits for it any more.

        Once nodes are known: whether they still hold any of it is in doubt until they have answered.
        """
        for note, total in resuming.unfinished_spawned():
            brood = Brood(note.function, note.name, note.options, self)
            self._broods.setdefault((note.function, note.options), brood)
            self._busy += 1
            brood.add(total, 0)
            self._open(brood, note.id)
            self._ventilator.readopt(brood.job_id)

    def drain(self) -> None:
        """From now on begin no calls but those that a task waits for."""
        self._draining = True
        self._ventilator.request_cancel([part for brood in self._broods.values() for part in brood.unclaimed()])

    def disregard(self, asker: Asker, number: int) -> None:
        """Nobody waits any more for what was spawned by this number."""
        for brood in self._broods.values():
            brood.unclaim(asker, number)
        self.tell(asker, number, NO_MORE)

    def asker_gone(self, asker: Asker) -> None:
        """Nobody waits any more for anything this one has spawned: it goes on all the same."""
        for brood in self._broods.values():
            brood.unclaim(asker, None)

    def idle(self, brood: Brood) -> None:
        """All calls of a job have ended."""
        self._busy -= 1
        self._nbytes -= brood.nbytes
        brood.nbytes = 0
        if not self._busy:
            self._on_idle()

    def _objection(self, spawn: Spawn) -> Refused | None:
        if self._refusal:
            return Refused("RuntimeError", self._refusal)
        if self._nbytes + len(spawn.body) > MOST_BYTES:
            text = f"calls that tasks have spawned and that have not ended hold {self._nbytes:,} bytes of arguments"
            return Refused("TooBig", f"{text}, of {MOST_BYTES:,} there may be; spawn fewer at once, or wait for them")
        try:
            if payload.count_of(spawn.body) != spawn.count:
                return Refused("ValueError", "the arguments are of another number of calls")
            self._defaults.replace(**spawn.options)
        except (TypeError, ValueError) as error:
            return Refused("ValueError", str(error))
        return None

    def _brood_of(self, spawn: Spawn) -> Brood:
        options = self._defaults.replace(**spawn.options)
        key = bytes(spawn.function), options
        brood = self._broods.get(key)
        if brood is None:
            brood = self._broods[key] = Brood(key[0], spawn.name, options, self)
            self._open(brood)
            self._close_idle()
        self._broods.move_to_end(key)
        return brood

    def _open(self, brood: Brood, earlier: JobId = "") -> None:
        kin = Kin(SPAWN, earlier=earlier, function=brood.function)
        brood.job_id = self._reception.open(brood.function, brood.name, brood.options, brood, kin=kin)

    def _close_idle(self) -> None:
        """Keep few jobs open without calls; the one that was opened last is about to get some."""
        idle = [key for key, brood in islice(self._broods.items(), len(self._broods) - 1) if brood.is_idle]
        for key in idle[: max(0, len(idle) - IDLE_JOBS)]:
            self._ventilator.close_job(self._broods.pop(key).job_id)

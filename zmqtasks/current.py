"""The client of a running task: what it asks of the program that owns it.

Owns the way there from inside a worker; the words are those of a client. Called by user code in tasks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from zmqtasks import control
from zmqtasks.asks import Acquire, Admit, Answer, Ask, Spawn
from zmqtasks.errors import TooBig
from zmqtasks.options import HIGH, KIB, MIB, TaskOptions
from zmqtasks.shares import Shares
from zmqtasks.sharing import value_of
from zmqtasks.spawned import Batch, SpawnedFuture
from zmqtasks.tasks import options_of
from zmqtasks.wire import payload
from zmqtasks.wire.asking import pack_ask, unpack_answer
from zmqtasks.wire.payload import Form

if TYPE_CHECKING:
    from zmqtasks.processes.messenger import Messenger, Pending

MOST_ARGUMENT_BYTES = MIB
"""Of the calls that are spawned at once."""
MOST_ASK_BYTES = MIB + 256 * KIB
"""Largest errand; a node carries it beside the heartbeats."""
SLAB_TASKS = 1_000
"""Calls of a `map` that are spawned at once ..."""
SLABS = 4
"""... and how many such slabs are under way."""
PUSHED_TASKS = 10_000
"""Calls of a `push_many` that are encoded at once."""
OUTSIDE = "current_client() is for code that runs inside a task; elsewhere make a zmqtasks.Client"
P = ParamSpec("P")
T = TypeVar("T")


def current_client() -> CurrentClient:
    """Return the client that owns the task which runs here: to submit tasks, and for what all its tasks share.

        def crawl(url):
            client = zmqtasks.current_client()
            with client.rate_limit("fetch", 10):
                page = fetch(url)
            client.push_many(crawl, page.links)

    Raises:
        RuntimeError: no task runs in this process, or it was forked by one.
    """
    messenger = control.messenger
    if messenger is None or not messenger.is_in_task():
        raise RuntimeError(OUTSIDE)
    return CurrentClient(messenger, {}, None)


class CurrentClient(Shares):
    """The client that owns the running task, as the task sees it; `current_client` returns it.

    What is submitted here belongs to that client: it runs on any of its nodes, and keeps its `shutdown` waiting. Where
    nobody waits for a call, its failure is logged there.
    """

    def __init__(self, messenger: Messenger, changes: dict[str, Any], trace_id: str | None) -> None:
        self._messenger = messenger
        self._way = _Way(messenger)
        self._changes = changes
        self._trace_id = trace_id

    def _line(self) -> _Way:
        return self._way

    def _serializer(self) -> str:
        return self._messenger.options.serializer

    def options(self, *, trace_id: str | None = None, **changes: Any) -> CurrentClient:
        """Return a view of the same client whose calls have other options; see `Client.options`.

        Raises:
            TypeError: no such option.
            ValueError: a value out of range.
        """
        merged = {**self._changes, **changes}
        checked = TaskOptions().replace(**merged)
        merged = {name: getattr(checked, name) for name in merged}
        return CurrentClient(self._messenger, merged, self._trace_id if trace_id is None else trace_id)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> SpawnedFuture:
        """Have `fn(*args, **kwargs)` run on a worker, and return its future.

        While this task waits for it, its worker does not count: its node has another one serve in its place, and this
        one goes on when a place is free again. So tasks that wait for tasks of their own never block each other.

        Returns:
            A future for this task alone. It need not be kept: the call runs all the same.

        Raises:
            SerializationError: function or arguments cannot travel.
            TooBig: they take more than 1 MiB.
        """
        form, item = (
            (Form.CALL, (args, kwargs)) if kwargs else (Form.ONE, args[0]) if len(args) == 1 else (Form.MANY, args)
        )
        spawning = self._spawning(fn, awaited=True)
        (body,) = spawning.encoded([item], form)
        future = SpawnedFuture(self._messenger)
        future.attach(spawning.post(body, 1), spawning.serializer)
        return future

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Return an iterator over `fn` of the arguments, in order; it starts at once, a bounded number of calls ahead.

        Raises:
            SerializationError: an argument cannot travel; from the iterator, too.
            TooBig: one takes more than 1 MiB.
        """
        if not iterables:
            raise TypeError("map() needs at least one iterable")
        form, items = _items_of(iterables)
        spawning = self._spawning(fn, awaited=True)
        slabs: deque[_Slab] = deque()

        def fill() -> None:
            while len(slabs) < SLABS and (some := list(islice(items, SLAB_TASKS))):
                slabs.extend(spawning.slab(body) for body in spawning.encoded(some, form))

        def results() -> Iterator[T]:
            while slabs:
                yield from slabs[0].values()
                slabs.popleft()
                fill()

        fill()
        return results()

    def push_many(self, fn: Callable[..., Any], *iterables: Iterable[Any]) -> int:
        """Have `fn` run with the arguments of each, and do not wait for results; return how many calls that are.

        When this returns, the client has taken them. What they return is dropped, what they raise is logged there.

        Raises:
            SerializationError: an argument cannot travel; those before it are on their way.
            TooBig: one takes more than 1 MiB, or all that was spawned and has not ended holds too much.
        """
        if not iterables:
            raise TypeError("push_many() needs at least one iterable")
        form, items = _items_of(iterables)
        spawning, pushed = self._spawning(fn, awaited=False), 0
        while some := list(islice(items, PUSHED_TASKS)):
            for body in spawning.encoded(some, form):
                pushed += value_of(self._way.ask(spawning.spawn(body, payload.count_of(body))))
        return pushed

    def _spawning(self, fn: Callable[..., Any], *, awaited: bool) -> _Spawning:
        parent, task = self._messenger.options, control.current_task()
        # What a task waits for goes before what nobody waits for: so few tasks wait at once, however deep they nest.
        inherited = {"priority": min(parent.priority + awaited, HIGH), "serializer": parent.serializer}
        changes = {**inherited, **options_of(fn), **self._changes}
        checked = TaskOptions().replace(**changes)
        changes = {name: getattr(checked, name) for name in changes}
        if checked.retry_on is not None:
            changes["retry_on"] = payload.pack_retry_on(checked.retry_on, checked.serializer)
        if (moment := changes.pop("not_before", None)) is not None:  # another host has another clock
            changes["delay"] = max(checked.delay, moment.monotonic_s - time.monotonic())
        trace_id = self._trace_id if self._trace_id is not None else task.trace_id if task else ""
        return _Spawning(self._messenger, fn, changes, awaited=awaited, trace_id=trace_id)


class _Spawning:
    """How calls of one function are spawned."""

    def __init__(
        self, messenger: Messenger, fn: Callable[..., Any], changes: dict[str, Any], *, awaited: bool, trace_id: str
    ) -> None:
        if not callable(fn):
            raise TypeError(f"{fn!r} is not callable")
        self.serializer: str = changes["serializer"]
        self._messenger = messenger
        self._function = payload.pack_function(fn, self.serializer)
        self._name = payload.function_name(fn)
        self._changes = changes
        self._awaited = awaited
        self._trace_id = trace_id

    def encoded(self, items: list[Any], form: Form) -> list[bytes]:
        """Return the arguments of calls as bodies.

        Raises:
            SerializationError: one cannot travel.
            TooBig: one is too large.
        """
        runs = payload.pack(items, form=form, serializer=self.serializer, most_bytes=MOST_ARGUMENT_BYTES)
        for run in runs:
            if isinstance(run.error, TooBig):
                text = f"a task may give {MOST_ARGUMENT_BYTES:,} bytes of arguments to a call of its own"
                raise TooBig(f"{text}: {run.error}; give it where a file is, or keep it under a key") from run.error
            if run.error is not None:
                raise run.error
        return [bytes(payload.in_memory(run.body)) for run in runs if run.body is not None]

    def spawn(self, body: bytes, count: int) -> Spawn:
        """Return what is to be asked."""
        return Spawn(self._function, self._name, self._changes, body, count, self._awaited, self._trace_id)

    def post(self, body: bytes, count: int) -> Pending:
        """Ask, and do not wait."""
        pending = self._messenger.ask(_packed(self.spawn(body, count)))
        self._messenger.note_spawned(pending, len(body))
        return pending

    def slab(self, body: bytes) -> _Slab:
        """Have some calls of a mapping run."""
        return _Slab(self._messenger, self.post(body, payload.count_of(body)), payload.count_of(body), self.serializer)


class _Slab:
    """Some consecutive calls of a mapping."""

    def __init__(self, messenger: Messenger, pending: Pending, count: int, serializer: str) -> None:
        self._messenger = messenger
        self._ended: dict[int, tuple[Any, BaseException | None]] = {}
        self._count = count
        self._batch = Batch(messenger, pending, count, serializer, _filling(self._ended))

    def values(self) -> Iterator[Any]:
        """Yield the results, in order, as they come."""
        for place in range(self._count):
            if place not in self._ended:
                self._messenger.wait(lambda place=place: place in self._ended, needs_others=True)  # type: ignore[misc]
            value, error = self._ended.pop(place)
            if error is not None:
                raise error
            yield value


def _filling(ended: dict[int, tuple[Any, BaseException | None]]) -> Callable[[int, Any, BaseException | None], None]:
    def take(place: int, value: Any, error: BaseException | None) -> None:
        ended[place] = (value, error)

    return take


def _items_of(iterables: tuple[Iterable[Any], ...]) -> tuple[Form, Iterator[Any]]:
    if len(iterables) == 1:
        return Form.ONE, iter(iterables[0])
    return Form.MANY, zip(*iterables)  # noqa: B905  # the shortest one ends it, as in the built-in map


class _Way:
    """From a task to its home; see `sharing.Line`."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def ask(self, ask: Ask) -> Answer:
        """Ask, and wait for the answer."""
        pending = self._messenger.ask(_packed(ask))
        # All but these are answered whatever other tasks do: one that got the place meanwhile would have it for long.
        waits_for_others = isinstance(ask, Acquire | Admit)
        return unpack_answer(self._messenger.wait_for(pending, keeps_place=not waits_for_others))

    def post(self, ask: Ask) -> None:
        """Ask, and do not wait."""
        self._messenger.ask(_packed(ask), keep=False)

    def later(self, function: Callable[[], object]) -> None:
        """Call a function when a task asks next, or has ended."""
        self._messenger.later(function)


def _packed(ask: Ask) -> bytes:
    body = pack_ask(ask)
    if len(body) > MOST_ASK_BYTES:
        raise TooBig(f"a {type(ask).__name__} takes {len(body):,} bytes; a task may say {MOST_ASK_BYTES:,} at once")
    return body

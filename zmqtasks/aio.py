"""The public client for asyncio: the same words as `Client`, awaited.

Owns the bridge between the mesh's thread and the user's loop. The mesh keeps a thread of its own: a user's loop that
is busy for a while must not look like a dead client. Called by user programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from zmqtasks.embedded.finding import NodeSource
from zmqtasks.embedded.futures import TWIN, AwaitedFuture
from zmqtasks.embedded.output import OnOutput, print_line
from zmqtasks.embedded.periodic import Periodic
from zmqtasks.embedded.queues import Queue
from zmqtasks.embedded.registry import Registry
from zmqtasks.embedded.settings import encoded, split, told_apart
from zmqtasks.embedded.views import View
from zmqtasks.embedded.watched import Watcher
from zmqtasks.embedded.watching import watching_by
from zmqtasks.embedded.where import Where
from zmqtasks.options import key_file
from zmqtasks.waits import CONNECT_S, LEASE_S
from zmqtasks.wire.references import Reference

if TYPE_CHECKING:
    from zmqtasks.task_class import Worker

P = ParamSpec("P")
T = TypeVar("T")


class _AsyncCalls:
    """What an asyncio client and its views with other options share."""

    _registry: Registry | None
    _view: View

    @overload
    def submit(self, fn: type[Worker[T]], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Schedule `fn(*args, **kwargs)` on a worker; await what is returned for the result.

        Cancelling the awaited future cancels the call, also on a node, unless it was begun; `zmqtasks.kill` stops it
        in any case.

        Raises:
            RuntimeError: the client is not open.
            SerializationError: the function cannot travel.
        """
        future = self._open_registry().submit(self._view, fn, args, kwargs, AwaitedFuture())
        wrapped = asyncio.wrap_future(future)
        setattr(wrapped, TWIN, future)
        return wrapped

    @overload
    def map(
        self, fn: type[Worker[T]], *iterables: Iterable[Any], buffersize: int | None = None, ordered: bool = True
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], buffersize: int | None = None, ordered: bool = True
    ) -> AsyncIterator[T]: ...
    async def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], buffersize: int | None = None, ordered: bool = True
    ) -> AsyncIterator[Any]:
        """Yield `fn` of the arguments, as `Client.map` does: lazily, and bounded in flight both ways.

        Args:
            fn: called with one argument of each iterable.
            iterables: the shortest one ends it.
            buffersize: most tasks that are pulled and whose results are not yet taken; found out if None.
            ordered: False yields each result as soon as it is there.
        """
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        mapping = self._open_registry().map(self._view, fn, iterables, ordered=ordered, bound=buffersize)
        mapping.on_change = lambda: loop.call_soon_threadsafe(changed.set)
        try:
            while not mapping.is_over:
                changed.clear()
                mapping.pull()
                run = mapping.take()
                if run is not None:
                    values, error = run.opened()
                    for value in values:
                        yield value
                    if error is not None:
                        raise error
                elif not mapping.is_over and not mapping.widen():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), mapping.patience_s())
        finally:
            mapping.on_change = None
            mapping.close()

    def put(self, obj: object) -> Reference:
        """Send an object once to each node that needs it; see `Client.put`. It is encoded before this returns."""
        return self._open_registry().put(obj)

    def every(self, period: float | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Periodic:
        """Make a call now and at fixed intervals from now on; see `Client.every`."""
        return self._open_registry().every(self._view, period, fn, args, kwargs)

    def queue(self, name: str = "default") -> Queue:
        """Return the queue of this name, of the calls of this client; see `Client.queue`."""
        return Queue(self._open_registry(), name)

    def options(self, *, trace_id: str | None = None, **changes: Any) -> AsyncOptions:
        """Return a view of the same client whose calls have other options; see `Client.options`."""
        return AsyncOptions(self._open_registry(), self._view.changed(changes, trace_id))

    def _open_registry(self) -> Registry:
        if self._registry is None:
            raise RuntimeError("the client is not open; use it as: async with zmqtasks.AsyncClient() as client")
        return self._registry


class AsyncOptions(_AsyncCalls):
    """A view of an asyncio client with other options; made by `AsyncClient.options`."""

    def __init__(self, registry: Registry, view: View) -> None:
        self._registry = registry
        self._view = view


class AsyncClient(_AsyncCalls):
    """Run functions in worker processes and await them.

        async with zmqtasks.AsyncClient() as client:
            print(await client.submit(pow, 2, 10))
            async for value in client.map(abs, range(-5, 5)): ...

    Args:
        addresses: nodes that run already, or a `Cluster`; without any, a node is started here, and ended with the
            client.
        workers: worker processes of the node that is started here; one a core if None.
        initializer: called with `initargs` in each worker of that node before its first task.
        initargs: see there.
        finalizer: called in each worker of that node when it ends in order.
        bind: where this program listens for nodes on other hosts; see `Client`.
        advertise: address nodes shall connect to instead of the bound one.
        key: file of the mesh's key; see `Client`.
        insecure: listen without a key where other hosts can connect: they can run code in this program.
        connect_timeout: seconds that the first node may take to answer.
        lease: seconds after which a node that hears nothing of this program kills its tasks; 60 at most, 2 at least.
        journal: file that keeps calls and results beyond the death of this program; see `Client`.
        on_output: called with each `OutputLine` that workers print over calls with `output=True`, in a thread of its
            own, where it may be slow; None prints the line here, with its label.
        hooks: told of each step of tasks and nodes; see `Client`.
        settings: fields of `NodeOptions` for that node, and of `TaskOptions` for all calls; see `Client`.

    Raises:
        TypeError: no such argument, and no such setting.
    """

    def __init__(
        self,
        *addresses: str | NodeSource,
        workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        finalizer: Callable[[], object] | None = None,
        bind: str | None = None,
        advertise: str | None = None,
        key: str | os.PathLike[str] | None = None,
        insecure: bool = False,
        connect_timeout: float = CONNECT_S,
        lease: float = LEASE_S,
        journal: str | os.PathLike[str] | None = None,
        on_output: OnOutput | None = None,
        hooks: Watcher | Iterable[Watcher] = (),
        **settings: Any,
    ) -> None:
        endpoints, source = told_apart(addresses)
        node, self._defaults = split(addresses, (initializer, finalizer), workers, settings)
        self._where = Where(
            addresses=endpoints,
            source=source,
            node=node,
            initializer=encoded(initializer, initargs),
            finalizer=encoded(finalizer),
            bind=None if bind is None else (bind,),
            advertise=() if advertise is None else (advertise,),
            key=key_file(key),
            insecure=insecure,
            connect_s=connect_timeout,
            lease_s=lease,
            journal=None if journal is None else os.fspath(journal),
            on_output=on_output or print_line,
            watching=watching_by(hooks),
        )
        self._registry = None
        self._view = View({})

    async def __aenter__(self) -> Self:
        self._registry = await asyncio.to_thread(Registry, self._where, self._defaults)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.shutdown()

    async def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end node and connections when the last call has ended. Idempotent."""
        if self._registry is not None:
            await asyncio.to_thread(self._registry.shutdown, wait=wait, cancel_futures=cancel_futures)

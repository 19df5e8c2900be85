"""The public client: a `concurrent.futures.Executor` whose workers are the nodes of a mesh.

Owns the words of the API and nothing else: what they mean is done in `registry.py` and below. Called by user programs.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from zmqtasks.embedded.launching import launch_ahead
from zmqtasks.embedded.views import View
from zmqtasks.shares import Shares
from zmqtasks.waits import CONNECT_S, LEASE_S

if TYPE_CHECKING:
    from zmqtasks.embedded.finding import NodeSource
    from zmqtasks.embedded.futures import TaskFuture
    from zmqtasks.embedded.output import OnOutput
    from zmqtasks.embedded.periodic import Periodic
    from zmqtasks.embedded.queues import Queue
    from zmqtasks.embedded.registry import Registry
    from zmqtasks.embedded.watched import Watcher
    from zmqtasks.sharing import Line
    from zmqtasks.task_class import Worker
    from zmqtasks.wire.references import Reference

P = ParamSpec("P")
T = TypeVar("T")


class _Calls(Shares, Executor):
    """What a client and its views with other options share."""

    _registry: Registry
    _view: View

    def _line(self) -> Line:
        return self._registry.line

    def _serializer(self) -> str:
        serializer: str = self._view.changes.get("serializer", self._registry.serializer)
        return serializer

    @overload
    def submit(self, fn: type[Worker[Any]], /, *args: Any, **kwargs: Any) -> TaskFuture: ...
    @overload
    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Schedule `fn(*args, **kwargs)` on a worker and return its future.

        Args:
            fn: a function, or a task class (`zmqtasks.Worker`), whose `run` is called then.
            args: of the call.
            kwargs: the same.

        Returns:
            A `concurrent.futures.Future`. Its exception is what the task raised, with the remote traceback as its
            `__cause__`, or a `TaskError` that tells what became of the task.

        Raises:
            RuntimeError: the client was shut down.
            SerializationError: the function cannot travel.
            NoNodes: no node is left.
            TimeoutError: `max_pending` calls have not ended, and none did within `submit_timeout`.
        """
        return self._registry.submit(self._view, fn, args, kwargs)

    @overload
    def map(
        self,
        fn: type[Worker[T]],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Iterator[T]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Iterator[Any]:
        """Return an iterator over `fn` of the arguments, as the built-in `map` does; it starts at once.

        Arguments are pulled as the mesh and the consumer get on: a bounded number is in flight, both ways. Leaving the
        iterator gives up what has not run.

        Args:
            fn: called with one argument of each iterable; a function, or a task class.
            iterables: the shortest one ends it; they may be endless.
            timeout: seconds from now until each result has to be there.
            chunksize: accepted as in the standard library; the mesh sizes its chunks itself.
            buffersize: most tasks that are pulled and whose results are not yet taken; found out if None.
            ordered: False yields each result as soon as it is there.

        Raises:
            TimeoutError: from the iterator: a result was not there in time.
            ValueError: chunksize or buffersize is below 1.
            RuntimeError: the client was shut down.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for name, value in (("chunksize", chunksize), ("buffersize", buffersize)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not iterables:
            raise TypeError("map() needs at least one iterable")
        mapping = self._registry.map(self._view, fn, iterables, ordered=ordered, bound=buffersize)
        from zmqtasks.embedded.results import results_of  # not before the node of this program was started

        return results_of(mapping, deadline)

    def put(self, obj: object) -> Reference:
        """Send an object once to each node that needs it, rather than with each call; return what stands for it.

            model = client.put(load_model())
            client.map(predict, [(model, row) for row in rows])

        Give the reference to `submit` and `map` in place of the object, alone or within other arguments; the task gets
        the object. All tasks of a worker get the same one, opened once, and have to leave it as it is; the buffers of
        arrays in it are read-only memory that all workers of a node share. The object is encoded at once, in this
        thread, and kept until the reference is gone and all tasks that were given it have ended.

        Raises:
            RuntimeError: the client was shut down.
            SerializationError: the object cannot travel.
            TooBig: it is larger than a message may be (512 MiB).
        """
        return self._registry.put(obj)

    def every(self, period: float | str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Periodic:
        """Make a call now and at fixed intervals from now on, until `cancel` or the end of the client.

            tidying = client.every("5 min", tidy_up, "/tmp")

        Moments are counted from the first call, so they do not drift. One at which the run before has not ended is left
        out. A run that fails is told in the log, and the next comes at its moment.

        Args:
            period: seconds, or text such as "5 min".
            fn: as for `submit`.
            args: of the call.
            kwargs: the same.

        Raises:
            ValueError: the period is not above 0, or the client has a journal.
            RuntimeError: the client was shut down.
        """
        return self._registry.every(self._view, period, fn, args, kwargs)

    def queue(self, name: str = "default") -> Queue:
        """Return the queue of this name, of the calls of this client: to count, hold, drop or take back what waits."""
        from zmqtasks.embedded.queues import Queue

        return Queue(self._registry, name)

    def options(self, *, trace_id: str | None = None, submit_timeout: float | None = None, **changes: Any) -> Options:
        """Return a view of the same client whose calls have other options.

        Args:
            trace_id: goes with each call, and is there in `zmqtasks.current_task().trace_id`; "" for none.
            submit_timeout: seconds that `submit` waits where `max_pending` is reached, before it raises TimeoutError.
            changes: fields of `TaskOptions`: timeout, max_memory, retries, backoff, priority, retry, ...

        Raises:
            TypeError: no such option.
            ValueError: a value out of range.
        """
        return Options(self, self._registry, self._view.changed(changes, trace_id, submit_timeout))


class Options(_Calls):
    """A view of a client with other options; made by `Client.options`."""

    def __init__(self, client: _Calls, registry: Registry, view: View) -> None:
        self._client = client
        self._registry = registry
        self._view = view

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the client down; the view has no life of its own."""
        self._client.shutdown(wait, cancel_futures=cancel_futures)

    def __repr__(self) -> str:
        return f"<{self._client!r} with {', '.join(f'{k}={v!r}' for k, v in self._view.changes.items())}>"


class Client(_Calls):
    """Run functions in worker processes, on this machine or on many.

        with zmqtasks.Client() as client:
            future = client.submit(pow, 2, 10)
            for value in client.map(f, range(10**6)): ...

    Args:
        addresses: nodes that run already, such as "tcp://10.0.0.7:7700"; one is enough where they know each other. Or a
            name with several addresses, "file:nodes.txt", a `Cluster`. Without any, a node is started here and
            ended with the client.
        workers: worker processes of the node that is started here; one a core if None.
        initializer: called with `initargs` in each worker of that node before its first task.
        initargs: see there.
        finalizer: called without arguments in each worker of that node when it ends in order, before what was
            registered with `atexit`; what it raises is printed.
        bind: where this program listens for nodes on other hosts, such as "tcp://10.0.0.5:0"; with a key, the address
            by which it reaches them if None.
        advertise: address nodes shall connect to instead of the bound one.
        key: file of the mesh's key, made by `zmqtasks keygen`; if None, what the environment says in ZMQTASKS_KEY.
        insecure: listen without a key where other hosts can connect: they can run code in this program.
        connect_timeout: seconds that the first node may take to answer.
        lease: seconds after which a node that hears nothing of this program kills its tasks; 60 at most, 2 at least.
        journal: file that keeps calls and results, so that the same program, run again after it was killed, gets what
            is done from there and runs only the rest; see docs/reliability.md.
        on_output: called with each `OutputLine` that workers print over calls with `output=True`, in a thread of its
            own, where it may be slow; None prints the line here, with its label.
        max_pending: submitted calls that may not have ended; `submit` waits for room beyond it. None for any number.
        max_pending_bytes: what the arguments of such calls may hold, as far as that is seen without encoding them.
        hooks: one or several that are told of each step of tasks and nodes: `Hooks`, `Metrics`, or your own.
        settings: fields of `NodeOptions` for the node that is started here, such as `max_tasks_per_worker=1000,
            recycle_memory="500 MiB", memory="8 GiB", preload=("numpy",)`; and fields of `TaskOptions` for all calls,
            such as `timeout=30, retries=2`: what `@task` says of a function goes before those, and what `options` says
            before that.

    Raises:
        TypeError: no such argument, and no such setting.
        NoNodes: no node answered in time, or the own one could not be started.
        BindError: an address is malformed, taken, or of another host.
        NotAuthorised: a node is on another host, or `bind` can be reached from there, and there is no key.
        KeyFileError: the key cannot be used.
        JournalError: another program has the journal open, or it is none, or of something else.
        ValueError: workers below 1, lease below 2; or what is said of the own node is given together with addresses.
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
        max_pending: int | None = None,
        max_pending_bytes: int | str | None = None,
        **settings: Any,
    ) -> None:
        self._view = View({})
        # First the node's process, then our own imports: two processes begin in the time of one.
        ahead = None if addresses else launch_ahead()
        try:
            from zmqtasks.embedded.settings import encoded, split, told_apart

            endpoints, source = told_apart(addresses)
            node, of_calls = split(addresses, (initializer, finalizer), workers, settings)

            from zmqtasks.embedded.output import print_line
            from zmqtasks.embedded.pending import pending_of
            from zmqtasks.embedded.registry import Registry
            from zmqtasks.embedded.watching import watching_by
            from zmqtasks.embedded.where import Where
            from zmqtasks.options import key_file

            where = Where(
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
                on_output=on_output or print_line,
                ahead=ahead,
                journal=None if journal is None else os.fspath(journal),
                watching=watching_by(hooks),
            )
            self._registry = Registry(where, of_calls, pending_of(max_pending, max_pending_bytes))
        except BaseException:
            if ahead is not None:
                ahead.close(0.0)
            raise
        # An interpreter that ends waits for what was submitted, as with the executors of the standard library.
        self._at_exit = functools.partial(_shut_down, weakref.ref(self._registry))
        atexit.register(self._at_exit)
        self._finalizer = weakref.finalize(self, _leave, self._registry)
        self._finalizer.atexit = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end node and connections when the last call has ended. Idempotent.

        Args:
            wait: return only then; else return at once, and futures go on to be resolved.
            cancel_futures: cancel calls that were not begun, also on nodes.
        """
        self._finalizer.detach()
        self._registry.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            atexit.unregister(self._at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Shut down and wait; after Ctrl-C or `sys.exit()`, end at once and kill what runs."""
        if kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit):
            self._finalizer.detach()
            atexit.unregister(self._at_exit)
            self._registry.abort()
        else:
            self.shutdown()

    def __repr__(self) -> str:
        return f"<zmqtasks.Client {self._registry.describe()}>"


def _shut_down(reference: weakref.ref[Registry]) -> None:
    if registry := reference():
        registry.shutdown(wait=True, cancel_futures=False)


def _leave(registry: Registry) -> None:
    """The client was dropped without shutdown: let its calls end, then its node."""
    registry.shutdown(wait=False, cancel_futures=False)

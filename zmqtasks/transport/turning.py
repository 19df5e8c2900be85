"""The loop of a client and of a node: asyncio's, with the shortest way from a descriptor to who reads it.

Owns how a turn of the loop finds out what can be read. asyncio makes a list of events, then one of handles, then calls
each in a context of its own: half of what a message costs that comes alone. Here a reader is called where its
descriptor is found ready. All else is asyncio's, and goes its way. Called by whoever starts a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_READ = getattr(select, "EPOLLIN", 0)
_WRITE = getattr(select, "EPOLLOUT", 0)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop; asyncio's own where there is no epoll."""
    return TurningLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


class _Selector(selectors.BaseSelector):
    """An epoll that calls readers itself, and returns the events of all others."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self.on_error: Callable[[BaseException, object], None]
        self._epoll = select.epoll()
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = _number_of(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fd} is registered already")
        self._epoll.register(fd, _to_epoll(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._keys.pop(_number_of(fileobj))
        with contextlib.suppress(OSError):  # it was closed before
            self._epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = _number_of(fileobj)
        if events != self._keys[fd].events:
            self._epoll.modify(fd, _to_epoll(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events, and call the readers; return what is not for them."""
        # Rounded up to what epoll can tell apart, so that a timer that is not due yet does not make the loop spin.
        wait_s = -1 if timeout is None else 0 if timeout <= 0 else math.ceil(timeout * 1e3) * 1e-3
        others = []
        for fd, event in self._epoll.poll(wait_s, len(self._keys)):
            reader = None if event & _WRITE else self.readers.get(fd)
            if reader is not None:
                try:
                    reader()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self.on_error(error, reader)
            elif key := self._keys.get(fd):  # an earlier reader may have closed it
                mask = (event & ~_READ and selectors.EVENT_WRITE) | (event & ~_WRITE and selectors.EVENT_READ)
                others.append((key, mask & key.events))
        return others

    def close(self) -> None:
        self._epoll.close()
        self._keys.clear()
        self.readers.clear()


def _number_of(fileobj: Any) -> int:
    return fileobj if type(fileobj) is int else cast("int", fileobj.fileno())


def _to_epoll(events: int) -> int:
    return (_READ if events & selectors.EVENT_READ else 0) | (_WRITE if events & selectors.EVENT_WRITE else 0)


class TurningLoop(asyncio.SelectorEventLoop):
    """A loop of asyncio whose readers are called by its selector; what one raises goes to the exception handler."""

    def __init__(self) -> None:
        self._own = _Selector()
        self._own.on_error = self._failed
        super().__init__(self._own)

    def add_reader(self, fd: FileDescriptorLike, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """Have `callback` called whenever `fd` can be read."""
        number = _number_of(fd)
        super().add_reader(number, callback, *args)
        if args:
            self._own.readers.pop(number, None)
        else:
            self._own.readers[number] = cast("Callable[[], object]", callback)

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Watch a descriptor no more; return whether it was watched."""
        number = _number_of(fd)
        self._own.readers.pop(number, None)
        return super().remove_reader(number)

    def add_writer(self, fd: FileDescriptorLike, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """Have `callback` called whenever `fd` can be written to."""
        super().add_writer(_number_of(fd), callback, *args)

    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Watch a descriptor no more; return whether it was watched."""
        return super().remove_writer(_number_of(fd))

    def _failed(self, error: BaseException, reader: object) -> None:
        self.call_exception_handler({"message": f"Exception in callback {reader!r}", "exception": error})

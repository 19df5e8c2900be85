"""Functions of large arguments and results."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import tempfile
import time
from pathlib import Path
from typing import Any


class Plane:
    """What holds a buffer, as an array does."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Plane, (pickle.PickleBuffer(self.data),)


def same(value: Any) -> Any:
    return value


def digest(data: Any) -> str:
    return hashlib.sha1(data).hexdigest()


def stamped(plane: Plane, text: bytes) -> Plane:
    plane.data[: len(text)] = text
    return plane


def fail(data: bytes) -> None:
    raise ValueError(data.decode())


def die_once_after(data: bytes, number: int, program: int) -> bytes:
    """Kill the worker at the first call of a number, and return at the second."""
    mark = Path(tempfile.gettempdir()) / f"died-{program}-{number}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    mark.unlink()
    return data


class Counted(Plane):
    """A plane that knows how often it was opened in this process."""

    opened = 0

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        type(self).opened += 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Counted, (pickle.PickleBuffer(self.data),)


def show(value: Any) -> str:
    held = value.data if isinstance(value, Plane) else value
    data = held if isinstance(held, bytes | bytearray | memoryview) else repr(held).encode()
    return f"{type(value).__name__} {digest(data)}"


def show_second(first: int, second: Any) -> str:
    return show(second)


def show_deep(value: Any) -> str:
    return show(value["deep"][0])


def opened(value: Counted) -> tuple[int, int, bool]:
    return os.getpid(), Counted.opened, not memoryview(value.data).readonly


def sleep_and_show(seconds: float, value: Any) -> str:
    time.sleep(seconds)
    return show(value)


def sleep_and_show_with_parent(pair: tuple[float, Any]) -> tuple[str, int]:
    return sleep_and_show(*pair), os.getppid()


def files_of_objects(*_: Any) -> int:
    return _objects_of(os.getpid())


def files_of_objects_in_family(_: int) -> int:
    """Return how many objects this worker and its node have open or mapped."""
    return _objects_of(os.getpid()) + _objects_of(os.getppid())


def _objects_of(pid: int) -> int:
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    maps = Path(f"/proc/{pid}/maps").read_text()
    return sum("zmqtasks-object" in link for link in links) + maps.count("zmqtasks-object")


def die_once_with(value: bytes, number: int, program: int) -> int:
    die_once_after(b"", number + 1000, program)
    return len(value)

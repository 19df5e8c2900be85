"""Functions that tests have workers run."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def nothing(_: object) -> None:
    return None


def double(value: int) -> int:
    return 2 * value


def add(left: int, right: int = 0) -> int:
    return left + right


def pid_of_worker(_: object) -> int:
    return os.getpid()


def fail_on_odd(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


def raise_it(error: BaseException) -> None:
    raise error


def raise_what_is_one(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


class ExplodesWhenLoaded:
    """Pickles here, and cannot be loaded there."""

    def __reduce__(self) -> Any:
        return fail_to_load, ()


def fail_to_load() -> None:
    raise RuntimeError("cannot be loaded")


def leave(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type]


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def stop_iteration(_: object) -> None:
    raise StopIteration("enough")


def recurse(_: object) -> None:
    recurse(None)


def generate(count: int) -> Any:
    return (number for number in range(count))


class Awaitable:
    """Something to await, which cannot be pickled."""

    def __await__(self) -> Iterator[None]:
        yield

    def __reduce__(self) -> str:
        raise TypeError("not to be pickled")


def unawaited(_: object) -> Awaitable:
    return Awaitable()


def make_bytes(count: int) -> bytes:
    return b"x" * count


class Explosive:
    """Pickles like a bomb."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def make_explosive(error: BaseException | None) -> Any:
    return Explosive(error) if error is not None else 0


def spend(duration_s: float) -> float:
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        pass
    return duration_s


def hang(path: str) -> None:
    """Tell that it runs, then never return."""
    Path(path).write_text(str(os.getpid()))
    while True:
        signal.pause()


def die_by(number: int) -> None:
    os.kill(os.getpid(), number)


def die_on(value: int, bad: int) -> int:
    if value == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    spend(0.006)
    return value


def segfault(_: object) -> None:
    ctypes.string_at(0)


def exit_hard(code: int) -> None:
    os._exit(code)


def say(text: str) -> None:
    print(text)


def say_and_die(text: str) -> None:
    print(text)
    if text != "first":
        print(text + ", again", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)


def say_partial(text: str) -> None:
    print(text, end="")


def say_much(count: int) -> None:
    line = "x" * 99 + "\n"
    for _ in range(count // len(line)):
        sys.stdout.write(line)


def complain(text: str) -> None:
    print(text, file=sys.stderr)


def read_stdin(_: object) -> str:
    return sys.stdin.read()


def facts(_: object) -> dict[str, Any]:
    return {
        "session": os.getsid(0),
        "pid": os.getpid(),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
        "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("__")),
        "path": list(sys.path),
        "cwd": os.getcwd(),
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "fds": open_files(),
    }


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0])
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(found)


def imported(name: str) -> bool:
    return name in sys.modules


def write_at_exit(path: str) -> None:
    atexit.register(Path(path).write_text, "bye")


def hang_at_exit(_: object) -> None:
    atexit.register(signal.pause)


def fork_and_return(_: object) -> str:
    pid = os.fork()
    if pid == 0:
        return "the copy"
    os.waitpid(pid, 0)
    return "the original"


def thread_ids(_: object) -> tuple[int, int]:
    """Return the id of this thread as the kernel knows it, and as the C library does (bits of its clock's name)."""
    import threading

    clock = time.pthread_getcpuclockid(threading.get_ident())
    return threading.get_native_id(), ~(clock >> 3)


def fork_beside_a_thread(_: object) -> tuple[int, bool]:
    """Return how many threads a process has that was forked beside one, and whether any thread can use logging."""
    import logging
    import threading

    ended = threading.Event()
    other = threading.Thread(target=ended.wait, daemon=True)
    other.start()
    pid = os.fork()
    if pid == 0:
        os._exit(threading.active_count())
    ended.set()
    logger = threading.Thread(target=logging.getLogger, args=("of a thread",), daemon=True)
    logger.start()
    logger.join(10)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), not logger.is_alive()


def start_child(path: str, how: str) -> None:
    """Leave a process behind that writes its pid to `path` and stays."""
    code = f"import os, signal; open({path!r} + '.new', 'w').write(str(os.getpid()))\n"
    code += f"os.rename({path!r} + '.new', {path!r}); signal.pause()"
    if how == "large":  # it takes the kernel a while to take it apart
        code = f"held = bytearray(300_000_000); {code}"
    command = [sys.executable, "-c", code]
    if "double fork" in how:
        command = [sys.executable, "-c", f"import os\nif os.fork(): os._exit(0)\nos.setsid()\n{code}"]
    bare = how.startswith("bare")  # neither session nor environment tell where it comes from
    process = subprocess.Popen(command, start_new_session=bare or how == "setsid", env={} if bare else None)
    process.returncode = 0  # nobody waits for it
    wait_for_file(path)


def fork_child(path: str) -> None:
    """Leave a forked, not executed, process behind in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        Path(path + ".new").write_text(str(os.getpid()))
        os.rename(path + ".new", path)
        signal.pause()
        os._exit(0)
    wait_for_file(path)


def wait_for_file(path: str) -> None:
    deadline = time.monotonic() + 10
    while not os.path.exists(path):
        assert time.monotonic() < deadline, f"{path} does not appear"


def set_flag(path: str) -> None:
    Path(path).write_text("ready")


def refuse() -> None:
    raise RuntimeError("no licence")


def scribble(_: object) -> None:
    """Write to the socket of the worker."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.write(int(name), b"\xff" * 64)
        except OSError:
            continue


def spin(_: object) -> None:
    while True:
        pass


def variable(name: str) -> str | None:
    return os.environ.get(name)

"""What only the kernel can do for us: ties between processes that Python has no name for.

Owns the calls of prctl(2) and the reading of /proc. Decides nothing. On other systems `AVAILABLE` is False, and only
the functions that say so may be called. Zygote, worker and workforce call it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from zmqtasks.options import MIB

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_PR_GET_TID_ADDRESS = 40
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Source: glibc's malloc.h."""
_CLONE_PARENT = 0x8000
_CLONE_CHILD_CLEARTID = 0x200000
_CLONE_CHILD_SETTID = 0x1000000
_MACHINE = os.uname().machine if hasattr(os, "uname") else ""
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
"""Source: the kernel's unistd.h of each architecture."""
_SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_GLOBAL_EXPEDITED, _REGISTER_GLOBAL_EXPEDITED = 1 << 1, 1 << 2
"""Source: linux/membarrier.h."""
_PF_EXITING = 0x4
"""Source: include/linux/sched.h."""
_ADOPTION_S = 5.0
_ADOPTION_POLL_S = 0.0001


class Stat(NamedTuple):
    """A process as /proc/PID/stat shows it."""

    name: str
    state: str
    parent: int
    session: int
    exiting: bool = False
    """Past the point of no return: it shows its environment no more, and is soon a zombie."""


def _available() -> bool:
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an older kernel, or a sandbox that does not know the call
        return False
    return True


AVAILABLE = _available()
"""Whether this is a Linux that can fork workers from a zygote and watch them by pidfd."""


@functools.cache  # the zygote makes it; for each worker it would cost as much as the rest of its first steps
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int | ctypes.c_void_p) -> None:
    argument = ctypes.c_ulong(value) if isinstance(value, int) else value
    if _libc().prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def keep_freed_memory() -> None:
    """Have malloc keep up to 16 MiB of what is freed, here and in what is forked from here.

    Else each large argument and result takes new pages, and to find and clear one costs ten times what copying does.
    """
    if hasattr(_libc(), "mallopt"):
        _libc().mallopt(_M_MMAP_THRESHOLD, 8 * MIB)
        _libc().mallopt(_M_TRIM_THRESHOLD, 16 * MIB)


def take_part_in_fences() -> None:
    """Let `fence` reach this process; best called while it has one thread, or it takes a while."""
    _membarrier(_REGISTER_GLOBAL_EXPEDITED)


def fence() -> bool:
    """Have every processor that runs a process that takes part see memory in order; return whether that was done.

    What such a process stored before is seen by what we load after, and what we stored before by what it loads after.
    So it needs no fences of its own, which Python does not have. About 2 us. Source: membarrier(2).
    """
    return _membarrier(_GLOBAL_EXPEDITED)


def _membarrier(command: int) -> bool:
    number = _SYS_MEMBARRIER.get(_MACHINE)
    if not AVAILABLE or number is None:
        return False
    return bool(_libc().syscall(number, command, 0, 0) == 0)


def adopt_orphans(wanted: bool = True) -> bool:
    """Make this process the parent of every descendant whose own parent has died, or no longer; return what held."""
    before = ctypes.c_int()
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.cast(ctypes.byref(before), ctypes.c_void_p))
    _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))
    return bool(before.value)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies; return once `parent` is the parent.

    The signal belongs to the parent at the time, so this waits until an intermediate one has gone. Anywhere, not only
    on Linux, it ends this process where `parent` has died already.
    """
    if os.getppid() != parent:
        _await_parent(parent)
    if AVAILABLE:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _await_parent(parent: int) -> None:
    deadline = time.monotonic() + _ADOPTION_S
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            os._exit(0)
        time.sleep(_ADOPTION_POLL_S)


def fork_sibling() -> int:
    """Fork as `os.fork()` does, but a child of our parent; return its pid here, and 0 there.

    Half the price of forking twice, the other way to give a process to its grandparent. Only for a process with one
    thread. Source: clone(2), and what fork(3) of glibc passes to it.

    Raises:
        NotImplementedError: not on this machine.
        OSError: no process to be had.
    """
    before, clone, in_child, in_parent = _steps_of_a_fork()
    before()
    pid = clone()
    if pid == 0:
        in_child()
        return 0
    in_parent()
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid


@functools.cache  # all of it is looked up before: each new process would pay for what it looks up itself
def _steps_of_a_fork() -> tuple[Callable[[], Any], Callable[[], int], Callable[[], Any], Callable[[], Any]]:
    """Return what is called before a fork, the fork, and what is called after it, in the child and in the parent."""
    number, address = _SYS_CLONE.get(_MACHINE), _tid_address()
    if not AVAILABLE or number is None or address is None:
        raise NotImplementedError
    flags = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | signal.SIGCHLD
    place = (address, 0) if _MACHINE == "x86_64" else (0, address)
    clone = functools.partial(_kernel().syscall, *map(ctypes.c_long, (number, flags, 0, 0, *place)))
    python = ctypes.pythonapi
    return python.PyOS_BeforeFork, clone, python.PyOS_AfterFork_Child, python.PyOS_AfterFork_Parent


@functools.cache  # a library is a class with cycles: one a fork would fill the zygote, where nothing is collected
def _kernel() -> ctypes.PyDLL:
    """Return the system calls, made without letting go of the interpreter lock."""
    return ctypes.PyDLL(None, use_errno=True)


@functools.cache
def _tid_address() -> int | None:
    """Return where the C library keeps the id of this thread, which a new process has to fill in; None if unknown."""
    address = ctypes.c_void_p()
    try:
        _prctl(_PR_GET_TID_ADDRESS, ctypes.cast(ctypes.byref(address), ctypes.c_void_p))
    except OSError:  # a kernel without CONFIG_CHECKPOINT_RESTORE
        return None
    return address.value


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    if AVAILABLE:
        _prctl(_PR_SET_PDEATHSIG, 0)


def raise_oom_score(score: int) -> None:
    """Let the kernel shoot this process rather than its supervisor when memory runs out. Source: proc(5)."""
    # Here and below without a file object or a context: a worker that was just forked pays for each page it touches.
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # not Linux: the limits of the supervisor still hold
        return
    try:
        if int(os.read(fd, 32)) < score:
            os.pwrite(fd, b"%d" % score, 0)
    except OSError:  # not allowed
        pass
    finally:
        os.close(fd)


def set_process_name(name: str) -> None:
    """Set the name that ps and top show; at most 15 characters. Inherited by fork, lost at exec."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # not Linux
        return
    try:
        os.write(fd, name.encode())
    finally:
        os.close(fd)


def count_threads() -> int:
    """Return how many threads this process has, those of C libraries included."""
    return os.stat("/proc/self/task").st_nlink - 2  # the folder itself, and what it is listed in; proc(5)


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process, zombies included; none where it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:  # the process or the thread has ended
        pass
    return found


def stat_of(pid: int) -> Stat | None:
    """Return what a process is, or None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, tail = file.read().rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    return Stat(head.partition("(")[2], fields[0], int(fields[1]), int(fields[3]), bool(int(fields[6]) & _PF_EXITING))


def environment_of(pid: int, name: str) -> str | None:
    """Return a variable of the environment a process was executed with, or None."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:  # it has ended, or is not ours to look at
        return None
    prefix = name.encode() + b"="
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)

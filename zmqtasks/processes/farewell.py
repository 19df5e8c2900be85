"""How a worker ends in order: finalizer, exit handlers, last words, all within a given time.

Owns what runs after the last task, and which exit handlers are the worker's own. Never returns to the code that calls
it. `worker.py` calls it, and `zygote.py` in each process it has forked.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import traceback
from typing import Any, NoReturn

from zmqtasks.processes import streams
from zmqtasks.wire import payload

_LAST_RESORTS = 2
"""Handlers of logging that write where nothing is set up: the standard library's, and the one of `streams.py`."""


def disown_exit_handlers() -> None:
    """Drop the exit handlers of the process that forked this one: its temporary folders, say, are not ours to remove.

    What serves any process stays: that logging is flushed, and children of multiprocessing are waited for. Source:
    multiprocessing.popen_fork does the same.
    """
    atexit._clear()
    modules: Any = sys.modules  # not a copy: to count references to each would cost more than all the rest
    if (weakref := modules.get("weakref")) is not None:
        for info in weakref.finalize._registry.values():
            info.atexit = False
        weakref.finalize._registered_with_atexit = False  # the next one made here registers anew
    if (logging := modules.get("logging")) is not None:
        atexit.register(logging.shutdown)
    if (util := modules.get("multiprocessing.util")) is not None:
        atexit.register(util._exit_function)


def _nothing_may_hang() -> bool:
    """Return whether no exit handler is left but logging's own, and that has nothing to flush but its last resorts."""
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return atexit._ncallbacks() == 0
    return atexit._ncallbacks() <= 1 and len(logging._handlerList) <= _LAST_RESORTS


def say_farewell(finalizer: bytes, timeout_s: float) -> NoReturn:
    """Call the finalizer and what was registered with `atexit`, and end; threads that are left do not hold the process.

    What hangs is cut short by a thread that needs no interpreter lock: it prints the stacks and ends the process. A
    thread costs more than all the rest, so there is none where nothing is called that could hang.

    Args:
        finalizer: encoded function without arguments, or nothing; what it raises is printed.
        timeout_s: how long all of it may take.
    """
    if not finalizer and _nothing_may_hang():
        flush_streams()
        os._exit(0)
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=2)
    if finalizer:
        try:
            payload.unpack_function(finalizer)()
        except BaseException:  # even sys.exit(): the exit handlers have a right to run
            traceback.print_exc()
    atexit._run_exitfuncs()
    flush_streams()
    os._exit(0)


def flush_streams() -> None:
    """Let half a line appear, too; a task may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    streams.mend()

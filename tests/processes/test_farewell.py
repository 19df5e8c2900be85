"""How a worker ends in order, and whose exit handlers it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import atexit, logging.handlers, os, sys, tempfile, weakref
from zmqtasks.processes.farewell import disown_exit_handlers, say_farewell

class Thing: pass

zygotes = tempfile.TemporaryDirectory()
thing = Thing()
weakref.finalize(thing, print, "finalized by the zygote's")
atexit.register(print, "handler of the zygote")
target = logging.StreamHandler(sys.stdout)
target.terminator = ""
logging.getLogger().addHandler(logging.handlers.MemoryHandler(99, target=target))
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    disown_exit_handlers()
    own = tempfile.TemporaryDirectory()
    print(own.name, flush=True)
    other = Thing()
    weakref.finalize(other, print, "finalized by the worker's")
    atexit.register(print, "handler of the worker")
    logging.getLogger().warning("logged at last\\n")
    say_farewell(b"", 20.0)
os.waitpid(pid, 0)
print(zygotes.name, os.path.isdir(zygotes.name), flush=True)
"""


def test_handlers_of_the_zygote_are_not_run_by_a_worker() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    workers, *worker, zygote, last = done.stdout.splitlines()[:6]
    assert not Path(workers).exists()
    assert worker == ["handler of the worker", "finalized by the worker's", "logged at last"]
    assert zygote.endswith(" True")
    assert last == "handler of the zygote"


def test_a_worker_with_nothing_to_call_needs_no_thread_that_could_end_it() -> None:
    program = """if True:
        import atexit, logging
        from zmqtasks.processes import farewell, streams
        farewell.disown_exit_handlers()
        streams.log_to_stderr("INFO")
        print(farewell._nothing_may_hang())
        handler = logging.FileHandler("/dev/null")
        print(farewell._nothing_may_hang())
        handler.close()
        del handler
        print(farewell._nothing_may_hang())
        atexit.register(print)
        print(farewell._nothing_may_hang())
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "False", "True", "False"]

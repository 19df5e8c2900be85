"""The mark that processes cannot lose, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zmqtasks.processes import linux

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux")

PROGRAM = "from zmqtasks.processes import brand; import os, sys\n"


def outcome(code: str, **options: object) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM + code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_it_is_inherited_through_fork_exec_session_and_an_empty_environment() -> None:
    look = "from zmqtasks.processes import brand; import os; print(brand.worker_of(os.getpid(), 'node-1'))"
    code = (
        "assert brand.put('node-1', 77)\n"
        "if os.fork(): os.wait(); os._exit(0)\n"
        "os.setsid(); open('/proc/self/comm', 'w').write('other')\n"
        f"os.execve(sys.executable, [sys.executable, '-c', {look!r}], {{}})"
    )
    assert outcome(code) == ["77"]


def test_of_whom_it_tells_and_of_whom_not() -> None:
    code = (
        "me = os.getpid(); print(brand.worker_of(me, 'node-1')); brand.put('node-1', 5)\n"
        "print(brand.worker_of(me, 'node-1'), brand.worker_of(me, 'node-2'), brand.worker_of(2**22 + 1, 'node-1'))\n"
        "brand.put('node-2'); print(brand.worker_of(me, 'node-1'), brand.worker_of(me, 'node-2'))"
    )
    assert outcome(code) == ["None", "5", "None", "None", "None", "0"]


def test_where_it_cannot_be_there_is_none() -> None:
    code = (
        "import resource; resource.setrlimit(10, (5, 5))\n"
        "print(brand.put('node-1', 5), brand.worker_of(os.getpid(), 'node-1'))"
    )
    assert outcome(code) == ["False", "None"]


def test_it_changes_nothing_else() -> None:
    code = (
        "import fcntl, resource; brand.put('node-1', 5); file = open('/dev/null', 'w')\n"
        "assert resource.getrlimit(10)[1] == -1\n"
        "fcntl.flock(file, fcntl.LOCK_EX); print('locked')"
    )
    assert outcome(code) == ["locked"]

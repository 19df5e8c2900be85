"""The zygote: a small process with one thread that forks workers on request (Linux).

Owns its control socket and nothing else: a request carries the descriptors of one worker, the answer its pid. It never
runs a task and knows no job. The worker becomes a child of the supervisor, which watches it.
When the supervisor is gone it kills what carries the mark of the workforce, removes the node's folder, and ends. The
warden, a child of it that does nothing else, does so in its place where both were killed at once. Started by
`zygote_spawner.py`.

    settings   JSON: supervisor, mark, sys_path, worker, has_functions, preload, cleanup_dir, owner_dir, cgroup;
               the descriptor of the progress memory                        -> {} or {"error": text}
    request    number of the slot, names of modules whose code is worth remembering, a line feed, and a TASKS message
               that has jobs, or nothing;
               descriptors of channel, stdout, stderr                       -> {"pid": n} or {"error": text}
    farewell   "E": the supervisor ends in order

One packet (SOCK_SEQPACKET) a message; the next request is sent when the last is answered.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

from zmqtasks.processes import brand, linux
from zmqtasks.processes.brand import MARK_VARIABLE as MARK_VARIABLE
from zmqtasks.processes.mould import Mould
from zmqtasks.processes.worker import Settings

PACKET_BYTES = 128 * 1024
FAREWELL = b"E"
"""A request without descriptors: the supervisor ends in order, and sees to its owner's folder itself."""
_FDS = struct.Struct("3i")
_SWEEP_S = 10.0
"""So long a chain of processes that fork and end is hunted where it was quicker than us, as on a busy machine."""
_STUCK_S = 2.0
"""What was killed so long ago, and nothing new beside it, is held by the kernel. Less than `FAREWELL_S` of the node."""
_SWEEP_POLL_S = 0.001
_LINGER_S = 0.5
_TOGETHER_S = 1.0
"""A supervisor that ends so soon after the zygote was killed with it."""
_OWNER_POLL_S = 0.01
_OWNER_S = 1.0
"""How long after its node an owner may die, and have its folder removed by us."""


def main(control_fd: int) -> NoReturn:
    """Serve requests until the supervisor is gone."""
    os.set_inheritable(control_fd, False)
    control = socket.socket(fileno=control_fd)
    packet, (*progress,), _, _ = socket.recv_fds(control, PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    settings = json.loads(packet or b"null")
    if settings is not None:
        linux.set_process_name("zmqtasks-zygote")
        brand.put(settings["mark"])
        os.environ[MARK_VARIABLE] = settings["mark"]  # it is there already, unless the node forked us
        if os.getppid() != settings["supervisor"]:  # it was killed before we had begun
            _end(settings, in_order=False)
            os._exit(0)
        warden = _fork_warden(control, settings)
        error = _prepare(settings)
        in_order = _refuse(control, error) if error else _serve(control, _make_mould(control, settings, *progress))
        _end(settings, in_order=in_order, spared=warden)
        os.kill(warden, signal.SIGKILL)  # last: until here we may be killed ourselves
        os.waitpid(warden, 0)
    os._exit(0)


def _fork_warden(control: socket.socket, settings: dict[str, Any]) -> int:
    """Fork the process that sees to the end where supervisor and zygote are killed at once; before any import."""
    zygote = os.getpid()
    brand.put(settings["mark"], brand.WARDEN)  # before it begins: whoever loses us now knows it by that
    pid = os.fork()
    if pid:
        brand.put(settings["mark"])
        return pid
    control.close()
    linux.set_process_name("zmqtasks-warden")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        keep_watch(settings, zygote)
    finally:
        os._exit(0)


def keep_watch(settings: dict[str, Any], zygote: int) -> None:
    """Wait for the end of a zygote, and see to that of the workforce if its supervisor has ended, too.

    Where it has not, it has killed or lost its zygote and has another: all the workers live on.
    """
    supervisor_gone, zygote_gone = _poll_of(settings["supervisor"]), _poll_of(zygote)
    if zygote_gone is not None and os.getppid() == zygote:
        zygote_gone.poll()
    if supervisor_gone is None or supervisor_gone.poll(_TOGETHER_S * 1000):
        _end(settings, in_order=False)


def _poll_of(pid: int) -> select.poll | None:
    """Return what tells of the end of a process; None where that has come already."""
    poll = select.poll()
    try:
        poll.register(os.pidfd_open(pid), select.POLLIN)
    except ProcessLookupError:
        return None
    return poll


def _end(settings: dict[str, Any], *, in_order: bool, spared: int = 0) -> None:
    """Kill and remove all that is left of the workforce."""
    if settings["cgroup"]:
        from pathlib import Path

        from zmqtasks.processes import cgroup

        cgroup.destroy(Path(settings["cgroup"]))
    kill_marked(settings["mark"], spared=spared)
    _clean_up(settings["cleanup_dir"], None)
    if not in_order:  # nobody waits for us
        kill_marked(settings["mark"], _LINGER_S, spared)
        _clean_up(None, settings["owner_dir"])


def _clean_up(cleanup_dir: str | None, owner_dir: str | None) -> None:
    """Remove the node's folder, and that of the program that launched it where this has died at the same time."""
    import shutil  # at the end, rather than into the memory of every worker
    from pathlib import Path

    from zmqtasks.processes.folder import remove_if_abandoned

    if cleanup_dir:
        shutil.rmtree(cleanup_dir, ignore_errors=True)
    if owner_dir:
        deadline = time.monotonic() + _OWNER_S
        while not remove_if_abandoned(Path(owner_dir)) and time.monotonic() < deadline:
            time.sleep(_OWNER_POLL_S)


def _prepare(settings: dict[str, Any]) -> str:
    """Import what workers shall find imported; return why that is not possible, or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = settings["sys_path"]
    # An import may take long or hang: it must not survive the supervisor, which later shows by the end of the socket.
    linux.die_with_parent(settings["supervisor"])
    try:
        for name in settings["preload"]:
            importlib.import_module(name)
            if (threads := linux.count_threads()) > 1:
                return f"cannot preload {name}: importing it started {threads - 1} threads, which do not survive a fork"
    except Exception as error:  # the user's module
        return f"cannot preload {name}: {type(error).__name__}: {error}"
    linux.outlive_parent()
    linux.keep_freed_memory()
    return ""


def _refuse(control: socket.socket, error: str) -> bool:
    """Tell why there can be no workers, and wait for the supervisor to draw its conclusion; return False."""
    with contextlib.suppress(OSError):  # it is gone
        control.send(json.dumps({"error": error}).encode())
        control.recv(PACKET_BYTES)
    return False


def _make_mould(control: socket.socket, settings: dict[str, Any], progress_fd: int) -> Mould:
    workers = Settings.unpack(settings["worker"].encode())
    return Mould(control, workers, progress_fd, has_functions=settings["has_functions"])


def _serve(control: socket.socket, mould: Mould) -> bool:
    """Fork workers until the supervisor is gone; return whether it said farewell."""
    room = socket.CMSG_SPACE(_FDS.size)
    answer = b"{}"
    while True:
        try:
            control.send(answer)
        except OSError:  # the supervisor is gone
            return False
        try:
            packet, ancillary, _, _ = control.recvmsg(PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return False
        if packet in (b"", FAREWELL):
            return packet == FAREWELL
        fds = _FDS.unpack(ancillary[0][2])
        words, _, jobs = packet.partition(b"\n")
        slot, *modules = words.decode().split()
        mould.learn(modules, jobs)
        answer = mould.fork(int(slot), fds)
        for fd in fds:
            os.close(fd)


def kill_marked(mark: str, linger_s: float = 0.0, spared: int = 0) -> None:
    """Kill all that came from a zygote of this workforce, whatever it fled to, and wait until it is gone.

    Args:
        mark: of the workforce.
        linger_s: look on for so long after the last was seen: one that forks on and on may hide from a look.
        spared: a process that is left alone.
    """
    begun_s = seen_s = new_s = time.monotonic()
    strangers = {spared}  # looked at once: then a look is quicker than a fork
    killed: set[int] = set()
    while time.monotonic() - begun_s < _SWEEP_S:
        pids = [pid for pid in _all_pids() if pid not in strangers]
        ours = [pid for pid in pids if _kill_if_ours(pid, mark)]
        strangers.update(set(pids).difference(ours))
        if ours:
            seen_s = time.monotonic()
        elif time.monotonic() - seen_s >= linger_s:
            return
        if not killed.issuperset(ours):  # look again at once: it may be about to fork
            new_s = time.monotonic()
        elif time.monotonic() - new_s >= _STUCK_S:
            return
        else:
            time.sleep(_SWEEP_POLL_S)
        killed.update(ours)


def _kill_if_ours(pid: int, mark: str) -> bool:
    """Kill a process of this workforce; return whether there was one, and not dead already.

    What had gone before it could be looked at counts as well: it may have forked before.
    """
    if brand.worker_of(pid, mark) is None and linux.environment_of(pid, MARK_VARIABLE) != mark:
        return not os.path.exists(f"/proc/{pid}")
    _kill(pid)
    stat = linux.stat_of(pid)
    return stat is not None and stat.state != "Z"


def _all_pids() -> list[int]:
    """Return all processes but this, the youngest first: they are the ones that may fork the next."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted((pid for pid in pids if pid != os.getpid()), reverse=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:  # it was quicker, or belongs to somebody else now
        return

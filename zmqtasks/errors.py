"""Every exception of zmqtasks, as one tree, split by who must act.

Owns the classes and their texts; raises nothing itself. Everybody imports it.

    ZmqtasksError
    ├── TaskError                   what became of one task; its neighbours are not concerned
    │   ├── WorkerCrashed           the process that ran it died, or it called sys.exit()
    │   ├── TaskTimeout             it ran longer than its limit        (also a TimeoutError)
    │   ├── MemoryLimitExceeded     it took more memory than its limit  (also a MemoryError)
    │   ├── TaskLost                at-most-once, and nobody can tell whether it ran
    │   ├── NodeKiller              every node that ran it died
    │   ├── TaskExpired             it had not begun when its `expires` was over
    │   ├── RetriesExhausted        it asked to be run again more often than its `retries` allow
    │   ├── TooBig                  its arguments or its result exceed the largest message
    │   ├── SerializationError      its function, arguments or result cannot travel
    │   └── RemoteError             stands for an exception that could not travel itself
    ├── MeshError                   the mesh cannot do what was asked
    │   ├── NoNodes                 no node can be reached              (also a BrokenExecutor)
    │   ├── NotAuthorised           the other side does not know our key
    │   ├── IncompatibleVersion     the two sides share no protocol version
    │   ├── HomeLost                the program that owns this task cannot answer it any more
    │   ├── NestedTooDeep           so many tasks of a node wait for tasks of their own that no more may
    │   ├── BindError               an address is taken, malformed or not ours
    │   ├── KeyFileError            a key cannot be read, is none, or is open to all
    │   └── ClusterError            the hosts of a cluster cannot be started, or do not work together
    │       └── HostsFileError      their file is wrong
    ├── JournalError                a journal cannot be used: it is in use, of something else, newer, or damaged
    │   ├── JournalInUse            another program has it open
    │   └── JournalMismatch         the program, its function, its options or its input are not those of the journal
    └── ProtocolError               bytes or moves that the protocol does not allow
        ├── LocalProtocolError      ours: a defect in this program
        └── RemoteProtocolError     theirs: what the peer sent is malformed or out of place

What a running task says to its worker, or is told by it, is no error: `except Exception` does not catch it.

    ControlFlow (a BaseException)
    ├── TaskInterrupted             its time is up: clean up and go, within the task's `grace`
    ├── RetryRequested              `zmqtasks.retry()`: run this task again, counted
    ├── RequeueRequested            `zmqtasks.requeue()`: run this task again, uncounted
    ├── RespawnRequested            `zmqtasks.respawn()`: hand this task back, and replace this worker
    └── StopRequested               `zmqtasks.stop_node()`: let this node end what it has, and stop
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from typing import Any


class ZmqtasksError(Exception):
    """Root of everything zmqtasks raises on its own account."""

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call cls(*args) and lose what was given by keyword.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[ZmqtasksError], args: tuple[Any, ...], state: dict[str, Any]) -> ZmqtasksError:
    error = cls(*args)
    error.__dict__.update(state)
    return error


class TaskError(ZmqtasksError):
    """One task ended without a result of its own."""


class WorkerCrashed(TaskError):
    """The process that ran the task died, or the task called `sys.exit()`.

    Args:
        message: one sentence with the cause.
        signal: number of the signal that ended the process, or None.
        exit_code: exit code of the process, or None when a signal ended it.
        output: the last lines the task printed; what C code wrote before may come first.
        stack: where it was, as text, when that is known.
        peak_bytes: the most resident memory the process ever had, or 0.
        node: peer id of the node.
        pid: of the process, on that node.
    """

    def __init__(
        self,
        message: str = "the worker process died",
        *,
        signal: int | None = None,
        exit_code: int | None = None,
        output: str = "",
        stack: str = "",
        peak_bytes: int = 0,
        node: str = "",
        pid: int | None = None,
    ) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = exit_code
        self.output = output
        self.stack = stack
        self.peak_bytes = peak_bytes
        self.node = node
        self.pid = pid

    def __str__(self) -> str:
        return _with_evidence(super().__str__(), self.output, self.stack)


def _with_evidence(text: str, output: str, stack: str = "") -> str:
    """Return the text of an error, with what the worker printed last and where it was below it."""
    parts = [text]
    if output:
        parts.append(f"last output:\n{output.rstrip()}")
    if stack:
        parts.append(f"stack:\n{stack.rstrip()}")
    return "\n".join(parts)


class TaskTimeout(TaskError, TimeoutError):
    """The task ran longer than its `timeout`, or showed no progress for its `stall_timeout`.

    Args:
        message: one sentence with the limit.
        stack: where it was, as text, when that is known.
        output: the last lines the task printed; what C code wrote before may come first.
        node: peer id of the node.
        pid: of the process, on that node.
    """

    def __init__(
        self,
        message: str = "the task ran longer than its limit",
        *,
        stack: str = "",
        output: str = "",
        node: str = "",
        pid: int | None = None,
    ) -> None:
        super().__init__(message)
        self.stack = stack
        self.output = output
        self.node = node
        self.pid = pid

    def __str__(self) -> str:
        return _with_evidence(super().__str__(), self.output, self.stack)


class MemoryLimitExceeded(TaskError, MemoryError):
    """The task took more memory than its `max_memory`, or than its node has.

    Args:
        message: one sentence with the limit.
        peak_bytes: the most that was seen, of the worker and all it started.
        output: the last lines the task printed; what C code wrote before may come first.
        node: peer id of the node.
        pid: of the process, on that node.
    """

    def __init__(
        self,
        message: str = "the task took more memory than its limit",
        *,
        peak_bytes: int = 0,
        output: str = "",
        node: str = "",
        pid: int | None = None,
    ) -> None:
        super().__init__(message)
        self.peak_bytes = peak_bytes
        self.output = output
        self.node = node
        self.pid = pid

    def __str__(self) -> str:
        return _with_evidence(super().__str__(), self.output)


class TaskLost(TaskError):
    """An at-most-once task (`retry=False`) was aboard a node that was lost: it may have run, or not."""


class NodeKiller(TaskError):
    """Each of several nodes died with this as its only task; it is not tried on another."""


class TaskExpired(TaskError):
    """The task had not begun when its `expires` was over, and never will."""


class RetriesExhausted(TaskError):
    """The task asked to be run again, by `zmqtasks.retry()`, more often than its `retries` allow."""


class TooBig(TaskError):
    """The encoded arguments or result of the task exceed the largest message of the mesh."""


class SerializationError(TaskError):
    """A function, an argument or a result cannot be encoded or decoded; the cause says why."""


class RemoteError(TaskError):
    """Stands for an exception of the task that could not travel: unpicklable, or of a class unknown here.

    Args:
        message: what `str()` gave for the original.
        type_name: `module.QualifiedName` of the original's class.
        traceback: the remote traceback as text.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.type_name}: {text}" if self.type_name else text


class RemoteTraceback(Exception):
    """The traceback of a task in its worker, as text; the `__cause__` of the exception a task raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class MeshError(ZmqtasksError):
    """The mesh cannot do what was asked."""


class NoNodes(MeshError, BrokenExecutor):
    """No node can be reached; nothing that was submitted can run."""


class NotAuthorised(MeshError):
    """The other side refused our key, or we refused theirs."""


class IncompatibleVersion(MeshError):
    """The two sides share no version of the protocol."""


class BindError(MeshError):
    """An address cannot be bound: it is taken, malformed, or not one of this host."""


class KeyFileError(MeshError):
    """The file of a key is missing, in the way, no key, or readable for everybody."""


class HomeLost(MeshError):
    """What a task asked of the program that owns it is lost: that was started again, or has forgotten this task."""

    def __init__(self, message: str = "the program that owns this task was started again, or has given it up") -> None:
        super().__init__(message)


class ClusterError(MeshError):
    """The hosts of a cluster cannot be started, or do not work together; the text says why."""


class HostsFileError(ClusterError):
    """A file of hosts is wrong; the text names line and key."""


class NestedTooDeep(MeshError):
    """So many tasks of this node wait for tasks of their own that no further worker may be started for this one."""

    def __init__(
        self,
        message: str = (
            "as many tasks of this node wait for tasks of their own as its max_waiting allows, each in a process; "
            "push_many() waits for nothing, submitting less at once keeps fewer waiting, max_waiting= allows more"
        ),
    ) -> None:
        super().__init__(message)


class JournalError(ZmqtasksError):
    """A journal cannot be used; the text says why, and what helps."""


class JournalInUse(JournalError):
    """Another program has the journal open: one at a time may go on with it."""


class JournalMismatch(JournalError):
    """What a program does now is not what the journal has of it: another function, other options, other input."""


class ProtocolError(ZmqtasksError):
    """Bytes or moves that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """This side made a move that is not legal in its state: a defect of zmqtasks, please report it."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something malformed, too large, or out of place."""


class ControlFlow(BaseException):
    """Passes between a running task and its worker; `except Exception` does not catch it, and none should."""


class TaskInterrupted(ControlFlow):
    """Raised inside a task whose time is up: what it does until its `grace` is over, it may; then it is killed."""


class RetryRequested(ControlFlow):
    """Raised by `zmqtasks.retry()`.

    Args:
        delay_s: how long to wait before the next run.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s


class RequeueRequested(ControlFlow):
    """Raised by `zmqtasks.requeue()`.

    Args:
        delay_s: how long to wait before the next run.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s


class RespawnRequested(ControlFlow):
    """Raised by `zmqtasks.respawn()`."""


class StopRequested(ControlFlow):
    """Raised by `zmqtasks.stop_node()`.

    Args:
        hand_back: whether the task goes to another node; otherwise it ends with None.
    """

    def __init__(self, hand_back: bool = False) -> None:
        super().__init__(hand_back)
        self.hand_back = hand_back

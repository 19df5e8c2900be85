"""Settings as frozen values, and the only reader of the environment and of configuration files.

Owns defaults, units ("2 GiB", "1.5 s") and their checks. Knows no socket and no process.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from zmqtasks.records import Value, amend, field_names, replace

if TYPE_CHECKING:
    from datetime import datetime

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"k": KIB, "m": MIB, "g": GIB, "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024 * GIB}
_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: int | float | str) -> int:
    """Return a size in bytes: a number, or text such as "512 MiB", "2 GB" or "64k".

    Raises:
        ValueError: not a size, or negative.
    """
    return int(_quantity(text, _BYTES, 'a size such as "512 MiB" or "2 GB"'))


def parse_duration(text: float | str) -> float:
    """Return a duration in seconds: a number, or text such as "250 ms", "1.5 s" or "2 h".

    Raises:
        ValueError: not a duration, or negative.
    """
    return _quantity(text, _SECONDS, 'a duration such as "250 ms", "1.5 s" or "2 h"')


def _quantity(value: float | str, units: dict[str, Any], wanted: str) -> float:
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        unit = units.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError(f"{value!r} is not {wanted}")
        return float(match[1]) * float(unit)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0 or math.isinf(value):
        raise ValueError(f"{value!r} is not {wanted}")
    return value


def amounts(given: Mapping[str, float] | Iterable[tuple[str, float]], what: str) -> tuple[tuple[str, float], ...]:
    """Return amounts by name, in the order of their names.

    Raises:
        ValueError: a name is none, or an amount is not a number above 0.
    """
    pairs = _pairs(given, what)
    for name, amount in pairs:
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < math.inf:
            raise ValueError(f"{what}: {name} must be a number above 0, not {amount!r}")
    return pairs


def labelled(given: Mapping[str, str] | Iterable[tuple[str, str]], what: str) -> tuple[tuple[str, str], ...]:
    """Return values by name, in the order of their names.

    Raises:
        ValueError: a name or a value is no text, or empty.
    """
    pairs = _pairs(given, what)
    for name, value in pairs:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{what}: {name} must be a text, not {value!r}")
    return pairs


def _pairs(given: Any, what: str) -> tuple[tuple[str, Any], ...]:
    if not given:
        return ()
    pairs = given.items() if isinstance(given, Mapping) else given
    if isinstance(pairs, str) or not all(len(pair) == 2 and isinstance(pair[0], str) and pair[0] for pair in pairs):
        raise ValueError(f"{what} must map names, as in {{'gpu': 1}}, not be {given!r}")
    return tuple(sorted((name, value) for name, value in pairs))


class Limits(Value):
    """What a peer takes in one message.

    Args:
        message_bytes: largest frame, header and bodies together.
        header_bytes: largest msgpack header.
        items: most entries of any one list in a header.
    """

    message_bytes: int = 512 * MIB
    header_bytes: int = 16 * MIB
    items: int = 1_000_000


HIGH = 1_000_000_000
"""Priority of calls that go to the head of the queue: before all others, and the latest of them first."""
NORMAL = 0
"""Priority of calls that nobody says otherwise of: they go to the tail."""


AT_HOME = frozenset({"delay", "not_before", "expires", "queue", "where"})
"""Options that a ventilator goes by, and that no node need know: they do not travel."""
DEFAULT_QUEUE = "default"


class Moment(Value):
    """A point of time on the monotonic clock of this process: clocks that are set do not move it."""

    monotonic_s: float

    @classmethod
    def of(cls, when: datetime | float | Moment) -> Moment:
        """Return the moment of a wall-clock time: a `datetime` (local where it is naive), or a Unix time.

        Rounded to hundredths of a second: calls for the same time are then calls with the same options.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(when, Moment):
            return when
        unix_s = when.timestamp() if hasattr(when, "timestamp") else when
        if isinstance(unix_s, bool) or not isinstance(unix_s, int | float) or not math.isfinite(unix_s):
            raise ValueError(f"not_before must be a datetime or a Unix time in seconds, not {when!r}")
        return cls(round(time.monotonic() + unix_s - time.time(), 2))


class TaskOptions(Value):
    """What holds for each task of a job.

    Args:
        timeout: seconds a task may run, or None for what its node allows; enforced from outside the worker.
        max_memory: bytes that a worker and all it started may hold while it runs a task, or None for what its node
            allows.
        retries: how often a task that failed (exception, timeout, memory) is run again.
        backoff: seconds before the first retry; doubled for each further one.
        jitter: up to this part of a pause is added to it, so that what failed together does not come back together.
        retry_on: which failures are worth a retry: exception types, or a function of an exception; None for all.
        priority: higher goes first among the calls of one client; `zmqtasks.HIGH` goes before all others, the latest
            first.
        retry: False makes each task at-most-once: it is never run twice, and may end as `TaskLost`.
        crash_limit: how many worker deaths one task may cause before it ends as `WorkerCrashed`.
        serializer: "pickle", or "msgpack" (functions decorated with `@task`, plain data, no pickle anywhere).
        compression: "auto" (lz4 for large bodies that leave this host), "none", "lz4", "zlib", "gzip", "bzip2", "lzma".
        grace: seconds between the end of a task's time, which `TaskInterrupted` tells it, and the kill; None kills it
            at once.
        stall_timeout: seconds a task may go without calling `zmqtasks.progress`, or None.
        output: whether what its workers print while they run it is sent to the client as well.
        delay: seconds after its submission before which a task does not begin.
        not_before: time before which no task begins: a `datetime`, or a Unix time; it becomes a duration at once.
        expires: seconds after its submission by which a task has to have begun; else it ends as `TaskExpired`.
        queue: its tasks run on nodes that serve this queue.
        needs: how much of the resources of its node a task takes while it runs, such as {"gpu": 1}.
        where: labels that a node has to have, such as {"zone": "a"}.
    """

    timeout: float | None = None
    max_memory: int | None = None
    retries: int = 0
    backoff: float = 0.0
    priority: int = 0
    retry: bool = True
    crash_limit: int = 3
    serializer: str = "pickle"
    compression: str = "auto"
    grace: float | None = None
    stall_timeout: float | None = None
    output: bool = False
    delay: float = 0.0
    not_before: Moment | None = None
    expires: float | None = None
    jitter: float = 0.25
    retry_on: Any = None
    queue: str = DEFAULT_QUEUE
    needs: tuple[tuple[str, float], ...] = ()
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("timeout", "grace", "stall_timeout", "expires"):
            if getattr(self, name) is not None:
                amend(self, name, parse_duration(getattr(self, name)))
                if getattr(self, name) == 0:
                    raise ValueError(f"{name} must be above 0 seconds; leave it out for none")
        if self.max_memory is not None:
            amend(self, "max_memory", parse_bytes(self.max_memory))
        for name in ("backoff", "delay"):
            amend(self, name, parse_duration(getattr(self, name)))
        if self.not_before is not None:
            amend(self, "not_before", Moment.of(self.not_before))
        if self.expires is not None and self.expires <= self.delay:
            raise ValueError(f"expires ({self.expires:g} s) must be above delay ({self.delay:g} s)")
        amend(self, "needs", amounts(self.needs, "needs"))
        amend(self, "where", labelled(self.where, "where"))
        if not self.queue or not isinstance(self.queue, str):
            raise ValueError(f"queue must be a name, not {self.queue!r}")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be from 0 to 1, not {self.jitter!r}")
        parts = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        if self.retry_on is not None and not all(callable(part) or isinstance(part, str) for part in parts):
            raise ValueError(f"retry_on must be exception types, or a function of an exception, not {self.retry_on!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")
        if self.crash_limit < 1:
            raise ValueError(f"crash_limit must be 1 or more, not {self.crash_limit}")
        if self.serializer not in SERIALIZERS:
            raise ValueError(f"serializer must be one of {', '.join(SERIALIZERS)}, not {self.serializer!r}")
        if self.compression not in COMPRESSIONS:
            raise ValueError(f"compression must be one of {', '.join(COMPRESSIONS)}, not {self.compression!r}")

    def within(self, node: NodeOptions) -> TaskOptions:
        """Return these options with the limits of a node where they have none."""
        timeout = node.timeout if self.timeout is None else self.timeout
        max_memory = node.max_memory if self.max_memory is None else self.max_memory
        if (timeout, max_memory) == (self.timeout, self.max_memory):
            return self
        return replace(self, timeout=timeout, max_memory=max_memory)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            TypeError: no such option; the message lists those there are.
            ValueError: a value out of range.
        """
        unknown = changes.keys() - set(field_names(self))
        if unknown:
            known = ", ".join(field_names(self))
            raise TypeError(f"no such task option: {', '.join(sorted(unknown))}; there are {known}")
        return replace(self, **changes)


class NodeOptions(Value):
    """How a node works.

    Args:
        workers: how many worker processes; None for one a core this process may use.
        threads: tasks that each worker runs at once, in threads.
        concurrency: tasks that each worker runs at once as coroutines on one event loop; only `async def` functions
            gain by it.
        standby: how many more stand ready to take over.
        max_waiting: how many tasks may wait at once for tasks of their own, or for a lock, each in a worker beside
            those that serve meanwhile.
        max_tasks_per_worker: replace a worker after about so many tasks, 1 meaning exactly one; 0 for never.
        max_worker_age: replace a worker about so many seconds after its start; None for never.
        recycle_memory: replace a worker that holds more than so many bytes after a task; None for never.
        timeout: of tasks that have none of their own, in seconds.
        max_memory: of tasks that have none of their own, in bytes.
        memory: bytes that all workers together may hold; None for what this host, or our part of it, has.
        memory_pause: above this part of `memory`, no new task is started while others run.
        memory_stop: above this part of it, the youngest task that may be run again is stopped, and run again later.
        start_timeout: seconds that a worker's initializer may take.
        end_timeout: seconds that a worker's finalizer and exit handlers may take.
        drain_timeout: seconds that a drain gives what runs; then that is stopped and handed back. None for no bound.
        walltime: seconds after its start by which the node has ended; None for no bound.
        log_level: of the root logger in workers: "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL".
        log_format: of what workers log: "text", or "json" for a line of JSON a record (extra `logs`).
        label_output: whether each line that workers print is passed on with the names of worker and task.
        window_tasks: most tasks held for one client, queued or running.
        window_bytes: most bytes of arguments held for all clients together, in equal parts, and of results that sinks
            have not acknowledged.
        put_bytes: most bytes of objects that clients have put here, all together.
        preload: modules that workers shall find imported.
        only: modules, and packages with all in them, whose `@task` functions may be called; none for any function.
        no_pickle: open no pickle of others: only tasks with `serializer="msgpack"` are run.
        method: how workers are started: "auto", "zygote" (Linux) or "spawn".
        queues: it runs tasks of these queues.
        resources: how much there is of what tasks may need, such as {"gpu": 2}.
        labels: what is said of it, such as {"zone": "a"}.
    """

    workers: int | None = None
    threads: int = 1
    concurrency: int = 1
    standby: int = 1
    max_waiting: int = 100
    max_tasks_per_worker: int = 0
    max_worker_age: float | None = None
    recycle_memory: int | None = None
    timeout: float | None = None
    max_memory: int | None = None
    memory: int | None = None
    memory_pause: float = 0.8
    memory_stop: float = 0.95
    start_timeout: float = 300.0
    end_timeout: float = 5.0
    drain_timeout: float | None = None
    walltime: float | None = None
    log_level: str = "WARNING"
    log_format: str = "text"
    label_output: bool = False
    window_tasks: int = 1_000_000
    window_bytes: int = 256 * MIB
    put_bytes: int = 4 * GIB
    preload: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    no_pickle: bool = False
    method: str = "auto"
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    resources: tuple[tuple[str, float], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.workers is not None and (isinstance(self.workers, bool) or self.workers < 1):
            raise ValueError(f"workers must be 1 or more, not {self.workers}")
        amend(self, "only", (self.only,) if isinstance(self.only, str) else tuple(self.only))
        for name in ("threads", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.threads > 1 and self.concurrency > 1:
            raise ValueError("a worker has threads, or concurrency on one event loop, and not both")
        if self.lanes > 1 and self.max_tasks_per_worker == 1:
            raise ValueError("max_tasks_per_worker=1 gives each task a process, which has no threads or concurrency")
        amend(self, "queues", (self.queues,) if isinstance(self.queues, str) else tuple(self.queues))
        amend(self, "resources", amounts(self.resources, "resources"))
        amend(self, "labels", labelled(self.labels, "labels"))
        if not self.queues or not all(isinstance(queue, str) and queue for queue in self.queues):
            raise ValueError(f"queues must be names, one at least, not {self.queues!r}")
        for name in ("standby", "max_waiting", "max_tasks_per_worker"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("max_worker_age", "timeout", "start_timeout", "end_timeout", "walltime"):
            if getattr(self, name) is not None:
                amend(self, name, parse_duration(getattr(self, name)))
                if getattr(self, name) == 0:
                    raise ValueError(f"{name} must be above 0 seconds")
        if self.drain_timeout is not None:
            amend(self, "drain_timeout", parse_duration(self.drain_timeout))
        for name in ("recycle_memory", "max_memory", "memory"):
            if getattr(self, name) is not None:
                amend(self, name, parse_bytes(getattr(self, name)))
        amend(self, "put_bytes", parse_bytes(self.put_bytes))
        if self.memory == 0:
            raise ValueError("memory must be above 0 bytes")
        if not 0 < self.memory_pause <= self.memory_stop <= 1:
            raise ValueError(
                "memory_pause and memory_stop must be parts of 1, and the first not above the second, not "
                f"{self.memory_pause} and {self.memory_stop}"
            )
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, not {self.log_level!r}")
        if self.log_format not in LOG_FORMATS:
            raise ValueError(f"log_format must be one of {', '.join(LOG_FORMATS)}, not {self.log_format!r}")
        if self.method not in ("auto", "zygote", "spawn"):
            raise ValueError(f'method must be "auto", "zygote" or "spawn", not {self.method!r}')

    def worker_count(self) -> int:
        """Return how many workers that is on this machine."""
        return self.workers or available_cores()

    @property
    def lanes(self) -> int:
        """How many tasks a worker runs at once."""
        return max(self.threads, self.concurrency)


def cgroups_wanted() -> bool:
    """Return whether workers shall get cgroups of their own: where the environment says ZMQTASKS_CGROUPS=1."""
    return os.environ.get("ZMQTASKS_CGROUPS", "0") == "1"


def key_file(given: str | os.PathLike[str] | None) -> str | None:
    """Return the file of the mesh's key: what was given, else what the environment says in ZMQTASKS_KEY, else None.

    An empty name is none as well: so one command can do without what the environment says.
    """
    return (os.environ.get("ZMQTASKS_KEY", "") if given is None else os.fspath(given)) or None


def state_folder() -> Path:
    """Return the folder where this user's programs keep what they want to find again."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "zmqtasks"


LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SERIALIZERS = ("pickle", "msgpack")
COMPRESSIONS = ("auto", "none", "lz4", "zlib", "gzip", "bzip2", "lzma")


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, cut by a cgroup's CPU quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, math.ceil(_cgroup_cores() or affinity)))


def _cgroup_cores() -> float | None:
    """Return quota / period of the CFS bandwidth limit, or None. Source: kernel docs, cgroup-v2 cpu.max."""
    for reader in (_cgroup2_cores, _cgroup1_cores):
        try:
            return reader()
        except (OSError, ValueError, IndexError):
            continue
    return None


def _cgroup2_cores() -> float | None:
    with open("/proc/self/cgroup") as table:
        path = next(line.strip().split(":", 2)[2] for line in [*table, "0::/"] if line.startswith("0::"))
    with open(f"/sys/fs/cgroup{path.rstrip('/')}/cpu.max") as file:
        quota, period = file.read().split()
    return None if quota == "max" else int(quota) / int(period)


def _cgroup1_cores() -> float | None:
    with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
        quota = int(file.read())
    with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
        period = int(file.read())
    return quota / period if quota > 0 else None

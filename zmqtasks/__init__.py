"""A task mesh without a broker: many calls of a Python function, on one machine or twenty, over ZeroMQ.

    with zmqtasks.Client() as client:
        print(sum(client.map(abs, range(-1000, 1000))))

Public names are loaded when they are first used: a worker process starts without importing ZeroMQ.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zmqtasks.aio import AsyncClient as AsyncClient
    from zmqtasks.client import Client as Client
    from zmqtasks.cluster.cluster import Cluster as Cluster
    from zmqtasks.control import Task as Task
    from zmqtasks.control import current_task as current_task
    from zmqtasks.control import progress as progress
    from zmqtasks.control import requeue as requeue
    from zmqtasks.control import respawn as respawn
    from zmqtasks.control import retry as retry
    from zmqtasks.control import stop_node as stop_node
    from zmqtasks.current import current_client as current_client
    from zmqtasks.embedded.futures import info as info
    from zmqtasks.embedded.futures import kill as kill
    from zmqtasks.embedded.info import TaskInfo as TaskInfo
    from zmqtasks.embedded.info import TaskState as TaskState
    from zmqtasks.embedded.output import OutputLine as OutputLine
    from zmqtasks.embedded.periodic import Periodic as Periodic
    from zmqtasks.embedded.queues import PulledCall as PulledCall
    from zmqtasks.embedded.queues import Queue as Queue
    from zmqtasks.errors import BindError as BindError
    from zmqtasks.errors import ClusterError as ClusterError
    from zmqtasks.errors import HomeLost as HomeLost
    from zmqtasks.errors import HostsFileError as HostsFileError
    from zmqtasks.errors import IncompatibleVersion as IncompatibleVersion
    from zmqtasks.errors import JournalError as JournalError
    from zmqtasks.errors import JournalInUse as JournalInUse
    from zmqtasks.errors import JournalMismatch as JournalMismatch
    from zmqtasks.errors import KeyFileError as KeyFileError
    from zmqtasks.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from zmqtasks.errors import NestedTooDeep as NestedTooDeep
    from zmqtasks.errors import NodeKiller as NodeKiller
    from zmqtasks.errors import NoNodes as NoNodes
    from zmqtasks.errors import NotAuthorised as NotAuthorised
    from zmqtasks.errors import RemoteError as RemoteError
    from zmqtasks.errors import RemoteTraceback as RemoteTraceback
    from zmqtasks.errors import RetriesExhausted as RetriesExhausted
    from zmqtasks.errors import SerializationError as SerializationError
    from zmqtasks.errors import TaskError as TaskError
    from zmqtasks.errors import TaskExpired as TaskExpired
    from zmqtasks.errors import TaskInterrupted as TaskInterrupted
    from zmqtasks.errors import TaskLost as TaskLost
    from zmqtasks.errors import TaskTimeout as TaskTimeout
    from zmqtasks.errors import TooBig as TooBig
    from zmqtasks.errors import WorkerCrashed as WorkerCrashed
    from zmqtasks.errors import ZmqtasksError as ZmqtasksError
    from zmqtasks.metrics import Metrics as Metrics
    from zmqtasks.metrics import Moments as Moments
    from zmqtasks.observe.hooks import Hooks as Hooks
    from zmqtasks.observe.logs import logstash_handler as logstash_handler
    from zmqtasks.observe.meter import Meter as Meter
    from zmqtasks.options import HIGH as HIGH
    from zmqtasks.options import NORMAL as NORMAL
    from zmqtasks.options import NodeOptions as NodeOptions
    from zmqtasks.options import TaskOptions as TaskOptions
    from zmqtasks.options import parse_bytes as parse_bytes
    from zmqtasks.options import parse_duration as parse_duration
    from zmqtasks.task_class import LogEvents as LogEvents
    from zmqtasks.task_class import Worker as Worker
    from zmqtasks.task_class import WorkerConfig as WorkerConfig
    from zmqtasks.tasks import task as task
    from zmqtasks.wire.references import Reference as Reference

_HOMES = {
    "AsyncClient": "aio",
    "Client": "client",
    "Hooks": "observe.hooks",
    "Meter": "observe.meter",
    "Metrics": "metrics",
    "Moments": "metrics",
    "Cluster": "cluster.cluster",
    "NodeOptions": "options",
    "current_client": "current",
    "OutputLine": "embedded.output",
    "Reference": "wire.references",
    "TaskInfo": "embedded.info",
    "TaskOptions": "options",
    "TaskState": "embedded.info",
    "info": "embedded.futures",
    "Periodic": "embedded.periodic",
    "PulledCall": "embedded.queues",
    "Queue": "embedded.queues",
    "kill": "embedded.futures",
    "logstash_handler": "observe.logs",
    "parse_bytes": "options",
    "parse_duration": "options",
    "task": "tasks",
}
_HOMES |= dict.fromkeys(("HIGH", "NORMAL"), "options")
_HOMES |= dict.fromkeys(("LogEvents", "Worker", "WorkerConfig"), "task_class")
_HOMES |= dict.fromkeys(("Task", "current_task", "progress", "requeue", "respawn", "retry", "stop_node"), "control")
_HOMES |= dict.fromkeys(
    (
        "BindError",
        "HomeLost",
        "ClusterError",
        "HostsFileError",
        "IncompatibleVersion",
        "JournalError",
        "JournalInUse",
        "JournalMismatch",
        "KeyFileError",
        "MemoryLimitExceeded",
        "NestedTooDeep",
        "NoNodes",
        "NodeKiller",
        "NotAuthorised",
        "RemoteError",
        "RemoteTraceback",
        "RetriesExhausted",
        "SerializationError",
        "TaskError",
        "TaskExpired",
        "TaskInterrupted",
        "TaskLost",
        "TaskTimeout",
        "TooBig",
        "WorkerCrashed",
        "ZmqtasksError",
    ),
    "errors",
)

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zmqtasks' has no attribute {name!r}")
    value = getattr(import_module(f"zmqtasks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

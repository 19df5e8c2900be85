"""Where a program's tasks run and its results go, as its loop's thread is told."""

from __future__ import annotations

from zmqtasks.embedded.finding import NodeSource
from zmqtasks.embedded.output import OnOutput, print_line
from zmqtasks.embedded.watching import Watching
from zmqtasks.options import NodeOptions
from zmqtasks.processes.launch import Launched
from zmqtasks.records import Value
from zmqtasks.waits import CONNECT_S, LEASE_S, LEAST_LEASE_S


class Where(Value):
    """Where tasks run, and where results go.

    Args:
        addresses: of nodes that run already, "tcp://host:port"; none starts a node of our own.
        node: how the node of our own works.
        initializer: encoded function that each of its workers runs first, or nothing.
        finalizer: encoded function that each of its workers runs last, or nothing.
        output: where its workers print: "inherit" for our stdout and stderr, "stderr" for both there.
        sink: address of a standalone sink, or None to collect the results here.
        bind: where our inbox is bound for other hosts; None finds out from `addresses`.
        advertise: what others shall connect to instead.
        key: file of the mesh's key, or None.
        insecure: whether other hosts may connect without one.
        connect_s: how long the first node may take to answer.
        lease_s: how long nodes keep what we gave them while they hear nothing of us; they grant 60 seconds at most.
        on_output: gets each line that workers print over jobs that ask for it, in a thread of its own.
        ahead: the process of a node of our own that was launched already, and waits for its settings; or None.
        journal: file of the journal, or None for none.
        watching: those who watch this client, or None.
        source: knows of nodes that come and go, beside or in place of `addresses`; or None.

    Raises:
        ValueError: a lease below `LEAST_LEASE_S`.
    """

    addresses: tuple[str, ...] = ()
    node: NodeOptions = NodeOptions()
    initializer: bytes = b""
    finalizer: bytes = b""
    output: str = "inherit"
    sink: str | None = None
    bind: tuple[str, ...] | None = None
    advertise: tuple[str, ...] = ()
    key: str | None = None
    insecure: bool = False
    connect_s: float = CONNECT_S
    lease_s: float = LEASE_S
    on_output: OnOutput = print_line
    ahead: Launched | None = None
    journal: str | None = None
    watching: Watching | None = None
    source: NodeSource | None = None

    def __post_init__(self) -> None:
        if self.lease_s < LEAST_LEASE_S:
            raise ValueError(
                f"lease must be {LEAST_LEASE_S:g} seconds or more, not {self.lease_s:g}: we speak each second"
            )

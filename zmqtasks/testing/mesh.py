"""Real nodes on this machine, for as long as a test needs them.

Owns their processes. They speak TCP on loopback, on ports the kernel draws, and end with the `with` block, or with this
process, however it dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from zmqtasks.embedded.launching import MODULE
from zmqtasks.embedded.own_node import READY_S, NodeSettings
from zmqtasks.errors import NoNodes
from zmqtasks.options import NodeOptions
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.processes.launch import Launched, launch

LOOPBACK = "tcp://127.0.0.1:0"


@contextmanager
def local_mesh(nodes: int = 1, workers: int = 1, options: NodeOptions | None = None) -> Iterator[tuple[str, ...]]:
    """Start nodes on this machine, yield their addresses, and end them.

        with local_mesh(nodes=2) as addresses, zmqtasks.Client(*addresses) as client:
            assert client.submit(pow, 2, 10).result() == 1024

    Workers can import what this process can, and print where it prints.

    Args:
        nodes: how many.
        workers: worker processes of each.
        options: of each node, in place of `workers`.

    Raises:
        NoNodes: one could not be started; the text says why.
        ValueError: fewer than one node or worker.
    """
    if nodes < 1:
        raise ValueError(f"nodes must be 1 or more, not {nodes}")
    settings = options or NodeOptions(workers=workers)
    with ExitStack() as stack:
        folder = PrivateFolder()
        stack.callback(folder.close)
        config = NodeSettings(settings, b"", str(folder.path), "inherit").as_config() | {"bind": [LOOPBACK]}
        launched = [stack.enter_context(launch(MODULE, config)) for _ in range(nodes)]
        yield tuple(_address_of(node) for node in launched)


def _address_of(node: Launched) -> str:
    """Wait until a node is ready, and return where."""
    try:
        report = node.report(READY_S)
    except TimeoutError as error:
        raise NoNodes(f"a node of the local mesh was not ready in time: {error}") from error
    if not report["ok"]:
        raise NoNodes(f"a node of the local mesh cannot be started: {report['error']}")
    return str(report["endpoints"][0])

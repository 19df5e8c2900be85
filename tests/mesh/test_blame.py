"""Who is to blame when nodes die: the one task that kills them, and nobody else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import zmqtasks
from tests.mesh import functions
from tests.mesh.nodes import Phoenix
from zmqtasks.processes.flight_recorder import identity_of, path_of, tmpfs_folder


def has_recorder(node: Phoenix) -> bool:
    folder = tmpfs_folder()
    return folder is not None and path_of(folder, identity_of([node.tcp])).exists()


def test_a_task_that_kills_its_nodes_ends_as_their_killer_and_the_others_succeed(tmp_path: Path) -> None:
    """Its nodes are started again at once, and tell what they ran: 3 deaths where it was alone, a few more if not."""
    ledger = tmp_path / "ledger"
    with (
        Phoenix(tmp_path / "a") as first,
        Phoenix(tmp_path / "b") as second,
        zmqtasks.Client(first.tcp, second.tcp) as client,
    ):
        good = [client.submit(functions.note, i, str(ledger)) for i in range(30)]
        bad = client.submit(functions.kill_the_node)
        good += [client.submit(functions.note, i, str(ledger)) for i in range(30, 60)]
        assert isinstance(bad.exception(120), zmqtasks.NodeKiller)
        assert [future.result(60) for future in good] == list(range(60))
        deaths = first.deaths + second.deaths
        assert has_recorder(first)
        assert has_recorder(second)
    assert 3 <= deaths <= 7
    assert max(Counter(ledger.read_text().split()).values()) <= 1 + deaths
    assert not has_recorder(first), "nothing is left behind"
    assert not has_recorder(second)


def test_a_task_that_kills_the_node_of_its_client_ends_and_the_client_goes_on(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with zmqtasks.Client(workers=1) as client:
        good = [client.submit(functions.note, i, str(ledger)) for i in range(30)]
        bad = client.submit(functions.kill_the_node)
        good += [client.submit(functions.note, i, str(ledger)) for i in range(30, 60)]
        assert isinstance(bad.exception(120), zmqtasks.NodeKiller)
        assert [future.result(60) for future in good] == list(range(60))

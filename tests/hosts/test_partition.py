"""Real nodes on other hosts: the way to them breaks for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import mesh, netns


def test_a_partition_of_two_seconds_loses_nothing(tmp_path: Path) -> None:
    """Long enough that connections are given up and made anew; results go on, and each comes once."""
    if reason := netns.missing():
        pytest.skip(reason)
    with netns.Hosts(2) as network:
        client, *nodes = network.hosts
        with mesh.nodes_on(nodes, tmp_path) as endpoints, mesh.load_on(client, endpoints, tmp_path) as load:
            network.part(client, nodes[0])
            mesh.pause(2.0)
            network.heal()
            healed_at = mesh.pause(0.0)
            load.want_result()
            load.wait_for_result()
            judgement = load.stop()
    assert (judgement.lost, judgement.doubled) == (0, 0)
    assert judgement.last_at > healed_at, judgement

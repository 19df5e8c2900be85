"""Real nodes on other hosts: the way to them breaks for a while."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.hosts import mesh, netns
from tests.mesh.chaos.roles import ROOT, Role

BROKEN_S = 2.5
"""Longer than connections are kept where nobody acknowledges: they are given up, and made anew."""


def test_a_partition_loses_nothing(tmp_path: Path) -> None:
    if reason := netns.missing():
        pytest.skip(reason)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    roles: list[Role] = []

    def make_role(name: str, line: list[str], takes_input: bool) -> Role:
        roles.append(Role(name, line, tmp_path, environment, takes_input))
        return roles[-1]

    try:
        with netns.Hosts(2) as network:
            client, node = network.hosts
            mesh.start_nodes([node], make_role, workers=1)
            load = mesh.Load(client, [node], make_role)
            network.part(client, node)
            time.sleep(BROKEN_S)  # the fault takes its time
            network.heal()
            healed_at = time.monotonic()
            load.want_result()
            load.wait_for_result()
            judgement = load.stop()
    finally:
        for role in reversed(roles):
            role.end()
    assert (judgement.lost, judgement.doubled) == (0, 0)
    assert judgement.last_at > healed_at - 1.0, judgement

"""A cluster over ssh through tunnels: a short form of `python -m tests.hosts.cluster`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.hosts import cluster


def test_hosts_come_and_go_and_every_result_is_right() -> None:
    if reason := cluster.missing():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="zmqtasks-stage-") as folder,  # its paths are short enough for sockets
        cluster.stage(Path(folder), tunnel=True) as played,
    ):
        cluster.play(played, 1000, cut_s=1.0)

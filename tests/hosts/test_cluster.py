"""A cluster over ssh through tunnels: a short form of `python -m tests.hosts.cluster`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import cluster


@pytest.fixture(scope="module")
def played() -> Iterator[cluster.Stage]:
    if reason := cluster.missing():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="zmqtasks-stage-") as folder,  # its paths are short enough for sockets
        cluster.stage(Path(folder), tunnel=True) as made,
    ):
        yield made


def test_hosts_come_and_go_and_every_result_is_right(played: cluster.Stage) -> None:
    cluster.play(played, 1000, cut_s=1.0)


def test_the_command_says_so_when_its_cluster_is_gone_and_nothing_is_left(played: cluster.Stage) -> None:
    cluster.play_command(played, 200)

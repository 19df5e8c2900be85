"""Code by value goes to nodes of the same Python, names go to all; where no node can read it, the error says why."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import READY, environment
from tests.waiting import wait_until

OTHER = """
import platform, sys
platform.python_version = lambda: "3.99.1"
from zmqtasks.cli import main
main()
"""
"""A node that says that its Python is another one."""


def test_a_node_of_another_python_gets_names_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open(log, "w") as errors:
        node = subprocess.Popen(
            [sys.executable, "-c", OTHER, "worker", "--bind", "127.0.0.1:0", "--workers", "1"],
            stderr=errors,
            env=environment(),
        )
    try:
        found = wait_until(lambda: READY.search(log.read_text()), log.read_text)
        with zmqtasks.Client(found[1]) as client:
            assert list(client.map(abs, range(-3, 0))) == [3, 2, 1]
            wanted = rf"code of Python {platform.python_version()}, .*: {found[1]} has 3.99.1; use nodes of the same"
            with pytest.raises(zmqtasks.IncompatibleVersion, match=wanted):
                client.submit(lambda: 1).result(20.0)
            with pytest.raises(zmqtasks.IncompatibleVersion, match=wanted):
                list(client.map(lambda number: number, range(10)))
    finally:
        node.terminate()
        node.wait(10.0)

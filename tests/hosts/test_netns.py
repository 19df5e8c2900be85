"""The hosts themselves: what is cut is cut, what is healed is whole, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import netns
from tests.hosts.netns import Host, Hosts

LISTEN = "import socket; s = socket.create_server(('', 7000)); print('up', flush=True); [s.accept() for _ in range(99)]"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 7000), 0.3).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := netns.missing():
        pytest.skip(reason)
    with Hosts(2) as made:
        yield made


def attempt(source: Host, target: Host) -> str:
    command = source.command(sys.executable, "-S", "-c", CONNECT, target.address)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


def test_each_fault_is_what_it_says_until_it_is_healed(hosts: Hosts) -> None:
    one, other = hosts.hosts
    with subprocess.Popen(other.command(sys.executable, "-S", "-c", LISTEN), stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"up\n"
        hosts.drop(other, one)
        assert attempt(one, other) == "TimeoutError"
        hosts.heal()
        hosts.lose(one, other, 0)
        hosts.narrow(one, 50)
        assert attempt(one, other) == "open"
        hosts.reset(one, other)
        assert attempt(one, other) == "ConnectionRefusedError"
        hosts.heal()
        assert attempt(one, other) == "open"
        listener.kill()


def test_what_a_killed_run_has_left_is_removed_and_what_runs_in_it_ended(hosts: Hosts) -> None:
    program = (
        "import os, subprocess, sys, time; from tests.hosts.netns import Hosts\n"
        "made = Hosts(1).__enter__()\n"
        f"child = subprocess.Popen(made.hosts[0].command({sys.executable!r}, '-S', '-c', 'input()'), stdin=-1)\n"
        "print(made.hosts[0].name, child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    name = run.stdout.split()[0]
    # Another run that starts in this moment may have removed it already.
    netns.clean_up()
    assert not Path("/run/netns", name).exists()
    assert Path("/run/netns", hosts.hosts[0].name).exists()


def test_a_network_has_a_bounded_number_of_hosts() -> None:
    with pytest.raises(ValueError, match="1 to 16 hosts, not 17"):
        Hosts(17)

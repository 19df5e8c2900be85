"""The file of hosts: what it says, what it leaves out, and how a slip is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqtasks.cluster.hosts import read_hosts
from zmqtasks.errors import HostsFileError


def test_the_least_is_a_list_of_hosts_and_all_goes_through_ssh(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text('hosts = ["node1", "me@10.0.0.8"]\n')
    plan = read_hosts(tmp_path / "hosts.toml")
    assert [(host.name, host.ssh, host.workers) for host in plan.hosts] == [
        ("node1", "node1", None),
        ("me@10.0.0.8", "me@10.0.0.8", None),
    ]
    assert plan.tunnel
    assert plan.grace_s == 30.0


def test_a_host_may_say_otherwise_than_all(tmp_path: Path) -> None:
    (tmp_path / "ssh_config").touch()
    (tmp_path / "hosts.toml").write_text("""
        hosts = ["plain"]
        venv = "work/venv"
        workers = 4
        env = { OMP_NUM_THREADS = "1", TERM = "dumb" }
        source = "src"
        key = "mesh.key"
        grace = "1 min"
        options = ["--preload", "numpy"]
        ssh_options = ["-F", "ssh_config", "-4"]

        [[host]]
        ssh = "big"
        name = "large"
        python = "/opt/python3"
        workers = 64
        env = { TERM = "xterm" }
        options = []
        bind = "10.0.0.9:7700"
    """)
    plan = read_hosts(tmp_path / "hosts.toml")
    plain, large = plan.hosts
    assert (plain.venv, plain.python, plain.workers, plain.options) == ("work/venv", None, 4, ("--preload", "numpy"))
    assert plain.source == large.source == str(tmp_path / "src")
    assert (large.name, large.venv, large.python, large.workers) == ("large", None, "/opt/python3", 64)
    assert large.env == {"OMP_NUM_THREADS": "1", "TERM": "xterm"}
    assert (large.options, large.bind) == ((), "10.0.0.9:7700")
    assert plan.ssh_options == ("-F", str(tmp_path / "ssh_config"), "-4")
    assert plan.key == str(tmp_path / "mesh.key")
    assert not plan.tunnel, "who has a key needs no tunnel"
    assert plan.grace_s == 60.0
    assert plan.host("large") is large


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('hosts = ["a"]\nwrokers = 3', "line 2: there is no 'wrokers'; there are hosts, host, python"),
        ('[[host]]\nssh = "a"\n[[host]]\nssh = "b"\nworkers = "3"', r"line 5: host\[1\].workers: expected `int"),
        ('[[host]]\nssh = "a"\n\n[[host]]\nworkers = 3', r"line 4: host\[1\]: object missing required field `ssh`"),
        ('[[host]]\nssh = "a"\nport = 3', r"line 3: host\[0\]: there is no 'port'; there are ssh, name"),
        ('hosts = ["a", 3]', r"line 1: hosts\[1\]: expected `str`"),
        ('hosts = ["a"]\nworkers = four', "is not TOML: .*line 2"),
        ("workers = 3", r"it names no host; write hosts ="),
        ('hosts = ["a", "a"]', "'a' is there twice"),
        ('hosts = ["-oProxyCommand=x"]', "is no host that ssh could connect to"),
        ('hosts = ["a"]\nworkers = 0', "a: workers must be 1 or more, not 0"),
        ('[[host]]\nssh = "a"\npython = "p"\nvenv = "v"', "python and venv exclude each other"),
        ('hosts = ["a"]\ntunnel = false', 'say key = "mesh.key", or insecure = true'),
        ('hosts = ["a"]\ngrace = "long"', "grace: 'long' is not a duration"),
    ],
)
def test_a_slip_is_told_with_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    with pytest.raises(HostsFileError, match=complaint):
        read_hosts(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostsFileError, match=r"cannot read .*nothing.toml: No such file"):
        read_hosts(tmp_path / "nothing.toml")

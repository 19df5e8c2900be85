"""`zmqtasks cluster`: the nodes of a file of hosts, started, looked at and ended.

Owns the command lines and what they print. What is done with hosts is done by the keeper (`zmqtasks.cluster`), which
`up` starts and leaves running. Imports the mesh only when it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, Refusal, count, say

if TYPE_CHECKING:
    from zmqtasks.cluster.cluster import HostStatus

F = TypeVar("F", bound=Callable[..., Any])
LAST_LINES = 20
END_S = 10.0
"""How long the keeper may take to end when all its hosts have."""


@click.group(no_args_is_help=True)
def cluster() -> None:
    """Start, watch and end nodes on other hosts, through ssh.

    HOSTS is a file in TOML; the least it can say is: hosts = ["node1", "node2"]

    \b
      zmqtasks cluster up hosts.toml
      zmqtasks run package.module:fit cases.jsonl -o results.db --hosts hosts.toml
      zmqtasks cluster down hosts.toml
    """


_hosts = click.argument("hosts", type=click.Path(dir_okay=False))
_names = click.option("--host", "names", multiple=True, metavar="NAME", help="Only this one; repeatable.")


@cluster.command()
@_hosts
@click.option("--timeout", type=options.SECONDS, default="100 s", show_default=True, help="Hosts may take so long.")
def up(hosts: str, timeout: float) -> int:
    """Start a node on each host, and leave them running; of a cluster that runs, start what is new in the file.

    A small process stays behind here, which holds a connection with each host: `cluster down` ends it. Where it or the
    connection dies, the nodes end by themselves. Hosts that are no more in the file are drained, and end.

    Exit code 4 where a host is not up in time; the others stay up, and those are tried on that could not be reached.
    """
    from zmqtasks.cluster.cluster import reasons, settle, start_keeper
    from zmqtasks.cluster.records import ClusterRecord

    running = ClusterRecord(hosts).running()
    control = running["control"] if running else start_keeper(hosts, detached=True)[1]
    seen: dict[str, str] = {}
    statuses: list[HostStatus] = []
    for statuses in settle(control, timeout, again=running is not None):
        _tell_changes(statuses, seen)
    missing = [host for host in statuses if host.state != "up"]
    if len(missing) == len(statuses):
        _stop(control, None, now=True, silent=True)
        raise Refusal(Exit.CONNECT, f"no host is up: {reasons(statuses)}")
    say(f"{count(len(statuses) - len(missing), 'host')} up; end them with: zmqtasks cluster down {hosts}")
    return Exit.CONNECT if missing else Exit.OK


@cluster.command()
@_hosts
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each host.")
def status(hosts: str, as_json: bool) -> int:
    """Tell how the hosts of a cluster are, and where their nodes can be reached from this machine.

    Exit code 4 where one is not up.
    """
    from zmqtasks.cli.status import print_table
    from zmqtasks.cluster.cluster import host_statuses
    from zmqtasks.cluster.conversation import ask
    from zmqtasks.records import as_dict

    statuses = host_statuses(next(ask(_running(hosts), {"ask": "status"}, 30.0)))
    rows = [as_dict(host) for host in statuses]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        print_table(rows)
    return Exit.OK if all(host.state == "up" for host in statuses) else Exit.CONNECT


@cluster.command()
@_hosts
@_names
@click.option("--now", is_flag=True, help="Stop what runs, too.")
def down(hosts: str, names: tuple[str, ...], now: bool) -> int:
    """End the nodes of a cluster: nothing new begins, what runs ends, for at most `grace` (30 s).

    With --host, only these; the others go on, and `cluster up` starts them again. Nothing stays behind on any host;
    logs are here, see `cluster logs`.
    """
    from zmqtasks.cluster.records import ClusterRecord

    record = ClusterRecord(hosts)
    running = record.running()
    if running is None:
        say(f"no cluster of {hosts} is up")
        return Exit.OK
    _stop(running["control"], list(names) or None, now=now)
    if not names:
        record.await_release(END_S)
    return Exit.OK


@cluster.command()
@_hosts
@_names
@click.option("-n", "--lines", type=click.IntRange(0), default=LAST_LINES, show_default=True, help="Of each host.")
def logs(hosts: str, names: tuple[str, ...], lines: int) -> int:
    """Show the last lines that came from each host, also after the cluster has ended.

    They are kept on this machine, one file a host; `--lines 0` tells where.
    """
    from zmqtasks.cluster.hosts import read_hosts
    from zmqtasks.cluster.records import ClusterRecord

    record = ClusterRecord(hosts)
    known = [host.name for host in read_hosts(hosts).hosts]
    if unknown := sorted(set(names) - set(known)):
        raise Refusal(Exit.USAGE, f"no host {unknown[0]} in {hosts}; there are {', '.join(known)}")
    for name in names or known:
        file = record.log_of(name)
        if not file.exists():
            say(f"{name}: nothing has come from there")
            continue
        click.echo(f"==> {name}: {file}")
        with open(file, encoding="utf-8", errors="replace") as text:
            for line in text.readlines()[-lines:] if lines else ():
                click.echo(line.rstrip("\n"))
    return Exit.OK


def _running(hosts: str) -> str:
    from zmqtasks.cluster.records import ClusterRecord

    running = ClusterRecord(hosts).running()
    if running is None:
        raise Refusal(Exit.CONNECT, f"no cluster of {hosts} is up; start it with: zmqtasks cluster up {hosts}")
    return str(running["control"])


def _stop(control: str, names: list[str] | None, *, now: bool, silent: bool = False) -> None:
    from zmqtasks.cluster.cluster import host_statuses
    from zmqtasks.cluster.conversation import ask

    seen: dict[str, str] = {}
    for said in ask(control, {"ask": "stop", "names": names, "now": now}):
        if silent:
            continue
        _tell_changes([host for host in host_statuses(said) if names is None or host.host in names], seen)


def _tell_changes(statuses: list[HostStatus], seen: dict[str, str]) -> None:
    """Say what has become of each host since the last time."""
    for host in statuses:
        state = f"{host.host}: {host.state}" + (f" at {host.node}" if host.state == "up" else "")
        state += f" ({host.reason})" if host.reason and host.state in ("waiting", "broken") else ""
        if seen.get(host.host) != state:
            seen[host.host] = state
            say(state)

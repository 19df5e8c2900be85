"""The file of a cluster's hosts (`hosts.toml`): read, checked, and its defaults filled in.

Owns the words of the file; docs/clusters.md has them all. Starts nothing. Called by `cluster.py` and `keeper.py`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from zmqtasks.errors import HostsFileError
from zmqtasks.options import parse_duration
from zmqtasks.records import Value, field, read_plain, replace


class Host(Value, forbid_unknown_fields=True, kw_only=True):
    """What a table `[[host]]` may say; what it leaves out is as the file says for all hosts.

    Args:
        ssh: what one would say to ssh: "node1", "user@10.0.0.8"; ~/.ssh/config has the rest.
        name: by which it is told of; that of `ssh` if empty.
        python: the interpreter there, by its path from the home folder; "python3" if nothing is said.
        venv: folder of a virtual environment there, in place of `python`.
        workers: how many; one a core if None.
        folder: where workers run, from the home folder; the copy of the source, or the home folder, if None.
        env: environment variables of node and workers.
        source: folder here that is copied there, and removed again.
        options: further options of `zmqtasks worker`.
        bind: where its node listens; at the address where ssh arrives if None. Not with tunnels.
        advertise: what others connect to instead.
    """

    ssh: str
    name: str = ""
    python: str | None = None
    venv: str | None = None
    workers: int | None = None
    folder: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    options: tuple[str, ...] | None = None
    bind: str | None = None
    advertise: str | None = None


class ClusterFile(Value, forbid_unknown_fields=True, kw_only=True):
    """What the file says.

    Args:
        hosts: those of which nothing else is to be said.
        host: the others.
        key: file of the key of the mesh; a copy is kept there while the node runs.
        tunnel: whether all traffic goes through ssh; by default where there is neither a key nor `insecure`.
        insecure: whether nodes may be open to the network without a key.
        bind: where programs of this machine listen for the nodes; where this machine looks from there if None.
        ssh_options: of the command ssh, such as ["-F", "ssh_config"].
        grace: how long what runs may take to end when a node is stopped.
    """

    hosts: tuple[str, ...] = ()
    host: tuple[Host, ...] = ()
    python: str | None = None
    venv: str | None = None
    workers: int | None = None
    folder: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    options: tuple[str, ...] = ()
    key: str | None = None
    tunnel: bool | None = None
    insecure: bool = False
    bind: str | None = None
    ssh_options: tuple[str, ...] = ()
    grace: str | float = 30.0


class ClusterPlan(Value):
    """A file of hosts with all defaults filled in; paths of this machine are absolute."""

    path: str
    hosts: tuple[Host, ...]
    key: str | None
    tunnel: bool
    insecure: bool
    bind: str | None
    ssh_options: tuple[str, ...]
    grace_s: float

    def host(self, name: str) -> Host:
        """Return the host of this name."""
        return next(host for host in self.hosts if host.name == name)


_INHERITED = ("python", "venv", "workers", "folder", "source", "options")


def read_hosts(path: str | Path) -> ClusterPlan:
    """Return what a file of hosts says.

    Raises:
        HostsFileError: it cannot be read, or something in it is wrong; the text names line and key.
    """
    try:
        text = Path(path).read_text()
        given = read_plain(tomllib.loads(text), ClusterFile)
    except OSError as error:
        raise HostsFileError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise HostsFileError(f"{path} is not TOML: {error}") from error
    except ValueError as error:
        raise HostsFileError(f"{path}{_line_of(text, str(error))}: {_explain(str(error))}") from error
    return _filled_in(Path(path).absolute(), given)


def _filled_in(path: Path, given: ClusterFile) -> ClusterPlan:
    entries = [*(Host(ssh=name) for name in given.hosts), *given.host]
    hosts = tuple([_host(path.parent, given, entry) for entry in entries])
    names = [host.name for host in hosts]
    if not names:
        raise HostsFileError(f'{path}: it names no host; write hosts = ["node1", "node2"]')
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HostsFileError(f"{path}: {twice[0]!r} is there twice; give one of the two another name = ...")
    tunnel = given.tunnel if given.tunnel is not None else not (given.key or given.insecure)
    if not tunnel and not given.key and not given.insecure:
        raise HostsFileError(
            f'{path}: without tunnels, nodes are open to the network; say key = "mesh.key", or insecure = true '
            "where the network is yours alone"
        )
    try:
        grace_s = parse_duration(given.grace)
    except ValueError as error:
        raise HostsFileError(f"{path}: grace: {error}") from error
    return ClusterPlan(
        path=str(path),
        hosts=hosts,
        key=given.key and str(path.parent / Path(given.key).expanduser()),
        tunnel=tunnel,
        insecure=given.insecure,
        bind=given.bind,
        ssh_options=tuple([_local(path.parent, word) for word in given.ssh_options]),
        grace_s=grace_s,
    )


def _host(folder: Path, given: ClusterFile, entry: Host) -> Host:
    if entry.ssh.startswith("-") or not entry.ssh.strip():
        raise HostsFileError(f"{entry.ssh!r} is no host that ssh could connect to")
    changes: dict[str, Any] = {name: getattr(given, name) for name in _INHERITED if getattr(entry, name) is None}
    if entry.python or entry.venv:  # one takes the place of the other
        changes |= {"python": entry.python, "venv": entry.venv}
    host = replace(entry, **changes, name=entry.name or entry.ssh, env={**given.env, **entry.env})
    if host.source:
        host = replace(host, source=str(folder / Path(host.source).expanduser()))
    if host.workers is not None and host.workers < 1:
        raise HostsFileError(f"{host.name}: workers must be 1 or more, not {host.workers}")
    if host.python and host.venv:
        raise HostsFileError(f"{host.name}: python and venv exclude each other")
    return host


def _local(folder: Path, word: str) -> str:
    """Return an option of ssh; one that names a file beside the file of hosts as its path."""
    return str(folder / word) if not word.startswith(("-", "/")) and (folder / word).is_file() else word


_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")


def _explain(message: str) -> str:
    path = _AT.search(message)
    place = f"{path['path']}: " if path and path["path"] else ""
    text = _AT.sub("", message)
    if unknown := _UNKNOWN.search(text):
        owner = Host if place.startswith("host[") else ClusterFile
        return f"{place}there is no {unknown['name']!r}; there are {', '.join(owner.__struct_fields__)}"
    return place + text[:1].lower() + text[1:]


def _line_of(text: str, message: str) -> str:
    """Return ", line N" of what a message of msgspec is about, or nothing where that cannot be told."""
    place = _AT.search(message)
    path = place["path"] if place else ""
    table = re.match(r"host\[(\d+)\]\.?(.*)", path)
    wanted, key = (int(table[1]), table[2]) if table else (-1, path)
    unknown = _UNKNOWN.search(message)
    key = unknown["name"] if unknown else re.split(r"[.\[]", key)[0]
    number, at = -1, 0
    for line, content in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*host\s*\]\]", content):
            number += 1
            at = line if number == wanted else at
        elif number == wanted and key and re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}\b", content):
            return f", line {line}"
    return f", line {at}" if at else ""

"""Kinds of values on the command line, and the options that several commands share.

Owns their names, units and help. Decides nothing about the mesh but which address may be bound. Called by the commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from zmqtasks import doors
from zmqtasks.errors import BindError, MeshError
from zmqtasks.options import (
    COMPRESSIONS,
    HIGH,
    LOG_FORMATS,
    LOG_LEVELS,
    NORMAL,
    SERIALIZERS,
    amounts,
    key_file,
    parse_bytes,
    parse_duration,
)
from zmqtasks.waits import LEAST_LEASE_S

F = TypeVar("F", bound=Callable[..., Any])

NODE_PORT = 7700
SINK_PORT = 7710


class _Parsed(click.ParamType):  # type: ignore[type-arg]
    """Text that a function understands, which raises ValueError where it does not."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _address(text: str) -> str:
    """Return "tcp://HOST:PORT"; the protocol may be left out."""
    full = text if "://" in text else f"tcp://{text}"
    match = doors.ENDPOINT.fullmatch(full)
    if match is None or not match["port"].isdecimal() or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address such as tcp://127.0.0.1:{NODE_PORT} or [::1]:{NODE_PORT}")
    return full


def _inbox(text: str) -> str:
    """Return an address to listen at: its port may be a range."""
    full = text if "://" in text else f"tcp://{text}"
    match = doors.ENDPOINT.fullmatch(full)
    if match is None or "-" not in match["port"]:
        return _address(text)
    _ports(match["port"])
    return full


def _ports(text: str) -> str:
    try:
        doors.candidates(f"tcp://localhost:{text}")
        ports = [int(port) for port in text.split("-")]
    except (BindError, ValueError):
        ports = []
    if len(ports) not in (1, 2) or max(ports) > doors.MOST_PORT:
        raise ValueError(f"{text!r} is not a port, or a range of ports such as {NODE_PORT}-{NODE_PORT + 20}")
    return text


def _way(text: str) -> str:
    """Return an address that is connected to: that of a Unix socket as well, a file of addresses, the local network."""
    return text if text.startswith(("unix:///", "file:", "lan:")) else _address(text)


def _mesh(text: str) -> str:
    """Return the name of a mesh on the local network."""
    if not re.fullmatch(r"[\w.-]{1,64}", text, re.ASCII):
        raise ValueError(f"{text!r} is no name: letters, digits, - . and _, 64 at most")
    return text


def _function(text: str) -> str:
    module, colon, path = text.partition(":")
    if module.endswith(".py") or "/" in module:
        name = module.removesuffix(".py").replace("/", ".").strip(".")
        raise ValueError(f"{text!r} names a file; write it as a module, {name}:{path or 'FUNCTION'}")
    if not (module and colon and path):
        raise ValueError(f"{text!r} is not MODULE:FUNCTION, such as package.module:function")
    return text


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"{text!r} is not NAME=VALUE, such as zone=a")
    return name, value


def _amount(text: str) -> tuple[str, float]:
    name, value = _label(text)
    try:
        return amounts([(name, float(value))], "resource")[0]
    except ValueError:
        raise ValueError(f"{text!r} is not NAME=NUMBER, such as gpu=2") from None


def _priority(text: str) -> int:
    named = {"high": HIGH, "normal": NORMAL}.get(text.lower())
    try:
        return int(text) if named is None else named
    except ValueError:
        raise ValueError(f"{text!r} is not a priority: a whole number, high or normal") from None


def _positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError(f"{text!r} must be above 0 seconds")
    return seconds


def _lease(text: str) -> float:
    """Return a lease in seconds.

    Raises:
        ValueError: not a duration, or hardly longer than the beat of a healthy program.
    """
    lease_s = parse_duration(text)
    if lease_s < LEAST_LEASE_S:
        raise ValueError(f"must be {LEAST_LEASE_S:g} s or more")
    return lease_s


ADDRESS = _Parsed("addr", _address)
INBOX = _Parsed("addr", _inbox)
PORTS = _Parsed("ports", _ports)
WAY = _Parsed("addr", _way)
MESH = _Parsed("name", _mesh)
FUNCTION = _Parsed("module:function", _function)
SECONDS = _Parsed("duration", parse_duration)
POSITIVE_SECONDS = _Parsed("duration", _positive_duration)
PRIORITY = _Parsed("priority", _priority)
AMOUNT = _Parsed("name=number", _amount)
LABEL = _Parsed("name=value", _label)
LEASE = _Parsed("duration", _lease)
BYTES = _Parsed("size", parse_bytes)


def check_bind(bind: str, advertise: str | None, *, insecure: bool, key: str | None) -> None:
    """Refuse to listen where strangers may connect, unless that was asked for; then say so in red.

    Raises:
        click.UsageError: see `doors.check`.
    """
    if insecure and key is not None:
        raise click.UsageError(f"--insecure is for a mesh without a key, and there is one: {key}")
    try:
        doors.check((bind,), () if advertise is None else (advertise,), key=key, insecure=insecure)
    except MeshError as error:
        raise click.UsageError(str(error)) from None
    if insecure and not doors.is_local(bind):
        text = f"zmqtasks: INSECURE: whoever can connect to {bind} can run code as this user"
        click.secho(text, fg="red", bold=True, err=True)


def inbox_for(partners: Sequence[str], given: dict[str, Any]) -> tuple[str, ...]:
    """Return where to listen so that these partners can answer.

    Args:
        partners: addresses of nodes and sinks.
        given: what `inbox_options` were given.

    Raises:
        click.UsageError: one is on another machine, and there is no key; or see `check_bind`.
    """
    from zmqtasks.seeds import expand

    bind, key, insecure = given["bind"], given["key"], given["insecure"]
    try:
        chosen = (bind,) if bind is not None else doors.choose(expand(partners), key=key, insecure=insecure)
    except MeshError as error:
        raise click.UsageError(str(error)) from None
    inbox = tuple(doors.at_ports(endpoint, given["ports"]) for endpoint in chosen)
    for endpoint in inbox:
        check_bind(endpoint, given["advertise"], insecure=insecure, key=key)
    return inbox


def python_path(command: F) -> F:
    """Add where modules are looked for before the current folder."""
    return click.option(
        "--python-path",
        "folders",
        multiple=True,
        type=click.Path(exists=True, file_okay=False),
        help="Look for modules here first, then in the current folder; repeatable.",
    )(command)


def function_and_input(command: F) -> F:
    """Add MODULE:FUNCTION, INPUT and how INPUT is read."""
    for decorate in (
        click.argument("function", type=FUNCTION, metavar="MODULE:FUNCTION"),
        click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
        python_path,
        click.option("--lines", is_flag=True, help="INPUT is plain text: a line is the argument."),
        click.option("--paths", is_flag=True, help="INPUT are the arguments: paths; of a folder, all files below it."),
        click.option("--match", metavar="PATTERN", help='Of a folder with --paths, only such names: "*.py".'),
        click.option("--spread", is_flag=True, help="An array, or a row of CSV, is *args."),
        click.option("--kwargs", is_flag=True, help="An object, or a row of CSV, is **kwargs."),
        click.option("--keep-going", is_flag=True, help="Report input that cannot be read, and go on; exit code 1."),
    )[::-1]:
        command = decorate(command)
    return command


def task_options(command: F) -> F:
    """Add what holds for each task."""
    for decorate in (
        click.option("--timeout", type=SECONDS, help='A task may run so long, such as "1.5 s" or "2 min".'),
        click.option("--max-memory", type=BYTES, help='A worker may hold so much, such as "2 GiB".'),
        click.option("--grace", type=SECONDS, help="Interrupt a task at its limit of time, kill it so much later."),
        click.option("--stall-timeout", type=SECONDS, help="A task may go so long without zmqtasks.progress()."),
        click.option("--retries", type=click.IntRange(0), help="Run a task that failed so often again."),
        click.option("--backoff", type=SECONDS, help="Pause before the first retry; doubled for each further one."),
        click.option("--priority", type=PRIORITY, help="Higher goes first; high: before all others, the latest first."),
        click.option("--queue", metavar="NAME", help="Run on nodes that serve this queue; default."),
        click.option(
            "--needs", multiple=True, type=AMOUNT, help="A task takes so much while it runs: gpu=1; repeatable."
        ),
        click.option("--where", multiple=True, type=LABEL, help="Run on nodes with this label: zone=a; repeatable."),
        click.option("--delay", type=SECONDS, help='No task begins before so long after it was read: "10 min".'),
        click.option(
            "--expires", type=POSITIVE_SECONDS, help="A task that has not begun by then never does, and fails."
        ),
        click.option(
            "--jitter", type=click.FloatRange(0, 1), help="Add up to this part of the pause; 0.25 by default."
        ),
        click.option(
            "--retry-on",
            multiple=True,
            type=FUNCTION,
            metavar="MODULE:TYPE",
            help="Only such exceptions are worth a retry: builtins:OSError; repeatable.",
        ),
        click.option("--no-retry", is_flag=True, help="Never run a task twice, even when its node is lost."),
        click.option("--trace-id", default="", help="Goes with each task, and into the log records that it makes."),
        click.option("--show-output", is_flag=True, help="Show what workers print, wherever they are, as it comes."),
        click.option("--serializer", type=click.Choice(SERIALIZERS), help="How arguments and results travel."),
        click.option("--compression", type=click.Choice(COMPRESSIONS), help="Of large arguments and results."),
    )[::-1]:
        command = decorate(command)
    return command


def recycling_options(command: F) -> F:
    """Add when a worker is replaced, and how many may wait."""
    for decorate in (
        click.option(
            "--max-tasks-per-worker", type=click.IntRange(0), help="Replace a worker after about so many tasks."
        ),
        click.option("--max-worker-age", type=SECONDS, help='Replace a worker about so long after its start: "1 h".'),
        click.option(
            "--max-waiting", type=click.IntRange(0), help="So many tasks may wait for tasks of their own at once; 100."
        ),
        click.option("--recycle-memory", type=BYTES, help='Replace a worker that holds more after a task: "500 MiB".'),
    )[::-1]:
        command = decorate(command)
    return command


def log_level(command: F) -> F:
    """Add from which level on workers log."""
    kind = click.Choice(LOG_LEVELS, case_sensitive=False)
    return click.option("--log-level", type=kind, help="Workers log from this level on; WARNING by default.")(command)


def log_format(command: F) -> F:
    """Add in which form this program and its workers log."""
    text = "Of this program's log and of what workers log; json: a line each (pip install 'zmqtasks[logs]')."
    return click.option("--log-format", type=click.Choice(LOG_FORMATS), default="text", show_default=True, help=text)(
        command
    )


def inbox_options(command: F) -> F:
    """Add where this program listens for answers from other machines."""
    for decorate in (
        click.option("--bind", type=INBOX, help="Listen here for other programs, such as far nodes; port 0: any."),
        ports_option,
        click.option("--advertise", type=ADDRESS, help="Address that others shall connect to instead."),
        door_options,
    )[::-1]:
        command = decorate(command)
    return command


def ports_option(command: F) -> F:
    """Add from which ports one is taken."""
    text = f"Listen at the first of these that is free: {NODE_PORT}-{NODE_PORT + 20}."
    return click.option("--ports", type=PORTS, metavar="FIRST-LAST", help=text)(command)


def door_options(command: F) -> F:
    """Add who may connect: whoever has the key, or anybody."""
    key = click.option(
        "--key",
        metavar="FILE",
        callback=lambda context, option, value: key_file(value),
        help="Key of the mesh, made by keygen; else as the environment says in ZMQTASKS_KEY.",
    )
    insecure = click.option(
        "--insecure",
        is_flag=True,
        help="Listen without a key where other machines can connect: they can run code here.",
    )
    return key(insecure(command))


def journal_option(command: F) -> F:
    """Add where a command remembers what it has done."""
    text = "Remember here what is done: after a kill, the same command goes on. Needs -o FILE, or a sink."
    return click.option("--journal", metavar="FILE", help=text)(command)


def patience_options(command: F) -> F:
    """Add how long we wait for nodes, and they for us."""
    wait = click.option(
        "--connect-timeout", type=SECONDS, default="10 s", show_default=True, help="Wait so long for an answer."
    )
    lease = click.option("--lease", type=LEASE, help="A node that hears nothing of us so long stops our tasks; 60 s.")
    return wait(lease(command))


def changed_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return those fields of `TaskOptions` that the command line sets; the rest is left to the function."""
    names = [
        "timeout",
        "max_memory",
        "retries",
        "backoff",
        "jitter",
        "serializer",
        "compression",
        "grace",
        "stall_timeout",
    ]
    names += ["priority", "delay", "expires", "queue"]
    changes = {name: given[name] for name in names if given[name] is not None}
    changes |= {name: given[name] for name in ("needs", "where") if given[name]}
    changes |= {"output": True} if given["show_output"] else {}
    changes |= {"retry_on": given["retry_on"]} if given["retry_on"] else {}
    return changes | ({"retry": False} if given["no_retry"] else {})

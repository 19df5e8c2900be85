"""`zmqtasks worker`: a node, until it is told to end.

Owns the command line. What it means is done in `node_program.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from zmqtasks import doors
from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit
from zmqtasks.cli.logs import log_as_json
from zmqtasks.cli.systemd import unit

PART = click.FloatRange(0, 1, min_open=True)


@click.command()
@click.option(
    "--bind",
    type=options.INBOX,
    default=f"tcp://127.0.0.1:{options.NODE_PORT}",
    show_default=True,
    help="Listen here; port 0 for any that is free.",
)
@options.ports_option
@click.option("--advertise", type=options.ADDRESS, help="Address that others shall connect to instead.")
@click.option("--local", is_flag=True, help="Open no port: only this user's programs on this machine connect.")
@click.option(
    "--tunnels",
    type=click.Path(file_okay=False, path_type=Path),
    hidden=True,
    help="Folder of sockets that lead to clients.",
)
@click.option("--join", multiple=True, type=options.WAY, help="Of another node: who knows one finds both; repeatable.")
@click.option(
    "--beacon",
    type=options.MESH,
    is_flag=False,
    flag_value="zmqtasks",
    metavar="[NAME]",
    help="Announce this node on the local network, where --node lan: finds it.",
)
@options.door_options
@click.option("--workers", type=click.IntRange(1), help="Worker processes; one a core by default.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Tasks at once in each worker.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="The same, for `async def` functions, on one event loop.",
)
@click.option("--standby", type=click.IntRange(0), default=1, show_default=True, help="Idle processes to step in.")
@options.recycling_options
@click.option(
    "--initializer", type=options.FUNCTION, help="Called in each worker before its first task; one that fails is told."
)
@click.option("--finalizer", type=options.FUNCTION, help="Called in each worker when it ends in order.")
@click.option(
    "--start-timeout", type=options.SECONDS, default="300 s", show_default=True, help="Of the initializer, then killed."
)
@click.option(
    "--end-timeout",
    type=options.SECONDS,
    default="5 s",
    show_default=True,
    help="Of the finalizer and exit handlers together, then killed.",
)
@click.option(
    "--drain-timeout", type=options.SECONDS, help='Of a drain: what runs longer is stopped and handed back: "30 s".'
)
@click.option(
    "--walltime",
    type=options.POSITIVE_SECONDS,
    help='End within this time: no task begins that cannot be expected to end: "2 h".',
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Run tasks of this queue; repeatable: default.")
@click.option("--resource", "resources", multiple=True, type=options.AMOUNT, help="What there is: gpu=2; repeatable.")
@click.option("--label", "labels", multiple=True, type=options.LABEL, help="What it is: zone=a; repeatable.")
@click.option("--drain-file", metavar="PATH", help="Drain as soon as this file exists, as after a notice.")
@click.option("--summary", metavar="FILE", help="Write an account of the run at its end, as JSON; - for stdout.")
@click.option("--timeout", type=options.POSITIVE_SECONDS, help='Of tasks that have none of their own, such as "2 min".')
@click.option("--max-memory", type=options.BYTES, help='Of tasks that have none of their own, such as "2 GiB".')
@click.option(
    "--memory", type=options.BYTES, help='All workers may hold so much, "8 GiB"; what the host has by default.'
)
@click.option("--memory-pause", type=PART, default=0.8, show_default=True, help="Part of it above which none is begun.")
@click.option(
    "--memory-stop", type=PART, default=0.95, show_default=True, help="Part of it above which one is stopped."
)
@click.option(
    "--put-bytes",
    type=options.BYTES,
    default="4 GiB",
    show_default=True,
    help="Kept of objects that clients put, at most.",
)
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it once, for all workers; repeatable.")
@options.python_path
@click.option("--only", multiple=True, metavar="MODULE", help="Call @task functions of this module only; repeatable.")
@click.option("--no-pickle", is_flag=True, help="Run tasks with --serializer msgpack only: no pickle is opened.")
@options.log_level
@options.log_format
@click.option(
    "--label-output/--no-label-output", default=True, help="Whether lines of workers name worker and task; they do."
)
@click.option("--systemd", is_flag=True, help="Print a unit for systemd with these options, and do nothing else.")
def worker(
    bind: str,
    ports: str | None,
    advertise: str | None,
    local: bool,
    tunnels: Path | None,
    join: tuple[str, ...],
    beacon: str | None,
    insecure: bool,
    key: str | None,
    folders: tuple[str, ...],
    drain_file: str | None,
    summary: str | None,
    systemd: bool,
    **own: Any,
) -> int:
    """Be a node: run the tasks that clients and ventilators send, in worker processes.

    Workers look for functions in the current folder, then among what is installed. Ctrl-C or SIGTERM once: the node
    takes nothing new, hands back what has not begun, finishes the rest and ends with exit code 0; twice: at once.
    A task that calls zmqtasks.stop_node() does the same as Ctrl-C once, and so does `zmqtasks drain`. After
    --drain-timeout what still runs is stopped and handed back, too.

    \b
    Examples:
      zmqtasks worker
      zmqtasks worker --bind 127.0.0.1:0 --workers 4 --preload numpy
      zmqtasks worker --workers 2 --concurrency 100
      zmqtasks worker --bind 10.0.0.7:7700 --key mesh.key
      zmqtasks worker --bind 10.0.0.7:7700 --key mesh.key --only package.tasks --no-pickle
      zmqtasks worker --drain-timeout "30 s" --walltime "2 h" --drain-file /run/spot-notice
      zmqtasks worker --bind 10.0.0.8:7700 --key mesh.key --join 10.0.0.7:7700
      zmqtasks worker --queue mail --queue default --resource gpu=2 --label zone=a
      zmqtasks worker --bind 10.0.0.7:7700 --key /etc/mesh.key --systemd > /etc/systemd/system/zmqtasks.service
      zmqtasks worker --bind 10.0.0.8:7700 --key mesh.key --beacon
      zmqtasks worker --initializer package.module:open_database --finalizer package.module:close_database
    """
    if local:
        given = click.get_current_context().get_parameter_source("bind")
        if advertise is not None or ports is not None or given is not ParameterSource.DEFAULT:
            raise click.UsageError("--local opens no port; leave out --bind, --ports and --advertise")
    else:
        bind = doors.at_ports(bind, ports)
        options.check_bind(bind, advertise, insecure=insecure, key=key)
    if own["threads"] > 1 and own["concurrency"] > 1:
        raise click.UsageError("give --threads or --concurrency, not both")
    if own["memory"] == 0:
        raise click.UsageError("--memory must be above 0")
    if own["memory_pause"] > own["memory_stop"]:
        raise click.UsageError("--memory-pause must not be above --memory-stop")
    if systemd:
        click.echo(unit(sys.argv[1:], own["drain_timeout"]), nl=False)
        return Exit.OK
    if own["log_format"] == "json":
        log_as_json()
        own["label_output"] = False
    from zmqtasks.cli.node_program import Surroundings, be_node
    from zmqtasks.place import Place

    advertised = () if advertise is None else (advertise,)
    place = Place((), tunnels=tunnels) if local else Place((bind,), advertised, key=key)
    return be_node(place, folders, own, Surroundings(join, beacon, drain_file, summary))

"""`zmqtasks sink`: record results until told to end; started again with the same file, go on where it was.

Owns the command line. What it means is done in `sink_program.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

import click

from zmqtasks import doors
from zmqtasks.cli import options


@click.command()
@click.option(
    "--bind",
    type=options.INBOX,
    default=f"tcp://127.0.0.1:{options.SINK_PORT}",
    show_default=True,
    help="Listen here; port 0 for any that is free.",
)
@options.ports_option
@click.option("--advertise", type=options.ADDRESS, help="Address that others shall connect to instead.")
@options.door_options
@click.option("-o", "--output", required=True, metavar="OUT", help="A file; .db, .sqlite: SQLite; else JSON lines.")
def sink(bind: str, ports: str | None, advertise: str | None, insecure: bool, key: str | None, output: str) -> int:
    """Record results in OUT, and acknowledge them once they are stored.

    A file that is there is taken up: what it has is not recorded again. Ctrl-C or SIGTERM writes what has come and ends
    with exit code 0; nodes keep what was not acknowledged, and send it when a sink is back at the same address.

    \b
    Examples:
      zmqtasks sink -o results.db
      zmqtasks sink --bind 10.0.0.5:7710 --key mesh.key -o results.jsonl
    """
    bind = doors.at_ports(bind, ports)
    options.check_bind(bind, advertise, insecure=insecure, key=key)
    from zmqtasks.cli.sink_program import be_sink
    from zmqtasks.place import Place

    return be_sink(Place((bind,), () if advertise is None else (advertise,), key=key), output)

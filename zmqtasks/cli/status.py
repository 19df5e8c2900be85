"""`zmqtasks status`: ask nodes and sinks how they are.

Owns the command line and the table. The asking is done in `asking.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, say
from zmqtasks.options import MIB

if TYPE_CHECKING:
    from zmqtasks.messages import Status


@click.command()
@click.option(
    "--node", "nodes", multiple=True, required=True, type=options.ADDRESS, help="Of a node or a sink; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each that answers.")
@click.option("--timeout", type=options.SECONDS, default="3 s", show_default=True, help="Wait so long for an answer.")
@options.inbox_options
def status(
    nodes: tuple[str, ...], as_json: bool, timeout: float, bind: str | None, advertise: str | None, insecure: bool
) -> int:
    """Tell how nodes and sinks are: state, workers, tasks waiting and done since they were started.

    \b
    Examples:
      zmqtasks status --node 127.0.0.1:7700
      zmqtasks status --node 127.0.0.1:7700 --node 127.0.0.1:7710 --json

    Exit code 4 where one did not answer.
    """
    from zmqtasks.cli.asking import ask

    inbox = options.inbox_for(nodes, bind, advertise, insecure=insecure)
    answers = ask(nodes, inbox, () if advertise is None else (advertise,), timeout)
    rows = [_row(node, answers[node]) for node in nodes if not isinstance(answers[node], str)]
    _print_json(rows) if as_json else _print_table(rows)
    refused = [f"{node} {answers[node]}" for node in nodes if isinstance(answers[node], str)]
    for line in refused:
        say(f"error: {line}")
    return Exit.CONNECT if refused else Exit.OK


def _row(address: str, answer: Status | str) -> dict[str, Any]:
    """Return what the table shows of one peer."""
    assert not isinstance(answer, str)
    load = answer.load
    return {
        "address": address,
        "role": "node" if load.workers else "sink",
        "state": answer.state.value,
        "workers": load.workers,
        "busy": load.busy,
        "queued": load.queued,
        "done": load.done,
        "failed": load.failed,
        "lost": load.lost,
        "memory": load.memory_bytes,
        "peer": answer.address.peer,
    }


def _print_json(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(json.dumps(row))


def _show(name: str, value: Any) -> str:
    """Return a cell: memory in MiB, all else as it is."""
    return f"{value / MIB:.0f} MiB" if name == "memory" else str(value)


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print aligned columns, numbers to the right; in a pipe the same as on a terminal."""
    if not rows:
        return
    shown = [dict(zip(rows[0], rows[0], strict=True)), *({k: _show(k, v) for k, v in row.items()} for row in rows)]
    widths = {name: max(len(row[name]) for row in shown) for name in rows[0]}
    for row in shown:
        cells = (
            f"{row[name]:>{width}}" if isinstance(rows[0][name], int) else f"{row[name]:<{width}}"
            for name, width in widths.items()
        )
        click.echo("  ".join(cells).rstrip())

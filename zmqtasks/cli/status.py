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
    from zmqtasks.place import Place


@click.command()
@click.option("--node", "nodes", multiple=True, type=options.WAY, help="Of a node or a sink; repeatable.")
@click.option("--file", "files", multiple=True, metavar="FILE", help="Of results; may be in use; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each that answers.")
@click.option("--timeout", type=options.SECONDS, default="3 s", show_default=True, help="Wait so long for an answer.")
@options.inbox_options
def status(
    nodes: tuple[str, ...],
    files: tuple[str, ...],
    as_json: bool,
    timeout: float,
    **inbox: Any,
) -> int:
    """Tell how nodes and sinks are: state, workers, tasks waiting and done since they were started.

    With --file, what a file of results has of each job; it is only read, and may be written meanwhile.

    \b
    Examples:
      zmqtasks status --node 127.0.0.1:7700
      zmqtasks status --node 127.0.0.1:7700 --node 127.0.0.1:7710 --json
      zmqtasks status --file results.db

    Exit code 4 where one did not answer, 2 where a file cannot be read.
    """
    if not nodes and not files:
        raise click.UsageError("name nodes and sinks with --node, or files of results with --file")
    code = _tell_files(files, as_json=as_json)
    if not nodes:
        return code
    from zmqtasks.place import Place

    advertise = () if inbox["advertise"] is None else (inbox["advertise"],)
    place = Place(options.inbox_for(nodes, inbox), advertise, key=inbox["key"])
    return _tell_peers(nodes, place, timeout, as_json=as_json) or code


def _tell_files(files: tuple[str, ...], *, as_json: bool) -> int:
    """Print what is in files of results."""
    if not files:
        return Exit.OK
    from zmqtasks.store.reading import summary

    code: int = Exit.OK
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            rows += [{"file": file, **job._asdict()} for job in summary(file)]
        except (OSError, ValueError) as error:
            say(f"error: cannot read {file}: {error}")
            code = Exit.USAGE
    _print_json(rows) if as_json else print_table(rows)
    return code


def _tell_peers(nodes: tuple[str, ...], place: Place, timeout: float, *, as_json: bool) -> int:
    from zmqtasks.cli.asking import ask

    answers = ask(nodes, place, timeout)
    told = {node: answer for node in nodes if not isinstance(answer := answers[node], str)}
    rows = [_row(node, answer) for node, answer in told.items()]
    if as_json:
        figures = [answer.metrics for answer in told.values()]
        _print_json(
            [row | {"metrics": each.to_json() if each else None} for row, each in zip(rows, figures, strict=True)]
        )
    else:
        print_table(rows)
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
        "trouble": answer.reason,
    }


def _print_json(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(json.dumps(row))


def _show(name: str, value: Any) -> str:
    """Return a cell: memory in MiB, nothing where nothing is known, all else as it is."""
    return f"{value / MIB:.0f} MiB" if name == "memory" else "" if value is None else str(value)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print aligned columns, numbers to the right; in a pipe the same as on a terminal. No trouble, no such column."""
    if not rows:
        return
    if not any(row.get("trouble") for row in rows):
        rows = [{name: value for name, value in row.items() if name != "trouble"} for row in rows]
    shown = [dict(zip(rows[0], rows[0], strict=True)), *({k: _show(k, v) for k, v in row.items()} for row in rows)]
    widths = {name: max(len(row[name]) for row in shown) for name in rows[0]}
    for row in shown:
        cells = (
            f"{row[name]:>{width}}" if isinstance(rows[0][name], int) else f"{row[name]:<{width}}"
            for name, width in widths.items()
        )
        click.echo("  ".join(cells).rstrip())

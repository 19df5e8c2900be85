"""`zmqtasks ventilator`: hand the input to nodes that run, and leave the results to a sink.

Owns the command line. What it means is done in `job.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

from typing import Any

import click

from zmqtasks.cli import options


@click.command()
@options.function_and_input
@click.option("--node", "nodes", multiple=True, required=True, type=options.WAY, help="A running node; repeatable.")
@click.option("--sink", type=options.ADDRESS, help="The running sink that records the results.")
@click.option("-o", "--output", metavar="OUT", help="Without --sink: where results go, as with run.")
@click.option("--append", is_flag=True, help="OUT may hold results of other jobs; add to them.")
@click.option("--overwrite", is_flag=True, help="Remove OUT first.")
@click.option("--only-failed", is_flag=True, help="Run again what failed in OUT; INPUT may be left out.")
@options.task_options
@options.journal_option
@options.patience_options
@options.inbox_options
def ventilator(**given: Any) -> int:
    """Hand a call of MODULE:FUNCTION for each argument in INPUT to nodes, and wait until all are recorded.

    INPUT is as with run. Nodes have to find the function: start them in the same folder, or have it installed there.
    Without --sink, results are written here, as with run.

    \b
    Examples:
      seq 1000 | zmqtasks ventilator math:factorial --node 127.0.0.1:7700 --sink 127.0.0.1:7710
      zmqtasks ventilator package.module:fit cases.jsonl --node 127.0.0.1:7700 --node 127.0.0.1:7701 -o results.db

    Ctrl-C once finishes what runs, twice stops at once. Exit codes are those of run.
    """
    from zmqtasks.cli.start import run_on_nodes

    return run_on_nodes(given)

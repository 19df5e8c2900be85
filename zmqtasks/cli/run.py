"""`zmqtasks run`: a function, its input and its results in one command.

Owns the command line. What it means is done in `job.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

from typing import Any

import click

from zmqtasks.cli import options


@click.command()
@options.function_and_input
@click.option("-o", "--output", metavar="OUT", help="A file; .db, .sqlite, .sqlite3: SQLite; else JSON lines.")
@click.option("--append", is_flag=True, help="OUT may hold results of other jobs; add to them.")
@click.option("--overwrite", is_flag=True, help="Remove OUT first.")
@click.option("--only-failed", is_flag=True, help="Run again what failed in OUT; INPUT may be left out.")
@options.task_options
@click.option("--workers", type=click.IntRange(1), help="Worker processes; one a core by default.")
@options.recycling_options
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it once, for all workers; repeatable.")
@options.log_level
@click.option("--node", "nodes", multiple=True, type=options.WAY, help="Use this running node; repeatable.")
@click.option("--hosts", metavar="FILE", help="Use the nodes of this file of hosts, and start them if need be.")
@options.journal_option
@click.option(
    "--every", type=options.POSITIVE_SECONDS, help='Run it all again each "5 min", until Ctrl-C; OUT is added to.'
)
@options.patience_options
@options.inbox_options
def run(**given: Any) -> int:
    """Call MODULE:FUNCTION once for each argument in INPUT, and write the results.

    INPUT is files, or - for standard input: lines of JSON, a line being the argument; CSV where the name ends in .csv,
    a row being a dict. Without --node, the calls are made by workers on this machine.

    \b
    Examples:
      seq 10 | zmqtasks run math:factorial
      zmqtasks run package.module:convert --paths photos/ --match '*.jpg' -o results.db
      zmqtasks run package.module:fit --kwargs cases.jsonl --timeout "2 min" --max-memory "2 GiB" > results.jsonl
      zmqtasks run package.module:convert --paths --only-failed -o results.db
      zmqtasks run math:pow --spread pairs.jsonl --node 127.0.0.1:7700
      zmqtasks run package.module:fit cases.jsonl -o results.db --hosts hosts.toml

    Ctrl-C once finishes what runs, twice stops at once. Exit codes: 0 all succeeded, 1 a task failed, 2 usage or input,
    3 cannot import, 4 cannot bind or connect, 130 interrupted.
    """
    from zmqtasks.cli.start import run_here

    return run_here(given)

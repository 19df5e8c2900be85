"""The commands; the only importer of click and rich.

Owns the list of commands and how a command ends: its exit code, and one line where it cannot do what was asked. Each
command is a module of its own, and imports the mesh only when it runs: `--help` answers at once.

    app          the list of commands
    exits        exit codes, errors in one line
    options      kinds of values, and the options that commands share
    functions    MODULE:FUNCTION
    reading, inputs              INPUT: bytes, then arguments
    interrupts, tally, ahead     Ctrl-C; what has come of the tasks; how far reading runs ahead
    job, results                 `run` and `ventilator`: from arguments to results
    progress                     what a terminal shows meanwhile
"""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process, and exit."""
    from zmqtasks.cli.app import program

    program.main(prog_name="zmqtasks")

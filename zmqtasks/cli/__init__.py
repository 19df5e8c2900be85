"""The commands; the only importer of click and rich.

Owns the list of commands and how a command ends: its exit code, and one line where it cannot do what was asked. Each
command is a module of its own, and imports the mesh only when it runs: `--help` answers at once.

    app, exits                              the list of commands; exit codes, errors in one line
    options                                 kinds of values, and the options that commands share
    run, ventilator, worker, sink, status   the command lines
    cluster                                 `cluster up`, `status`, `logs`, `down`
    bench                                   `bench`: its command line, bars and table
    start, job, results                     `run` and `ventilator`: checks, arguments, results
    functions, reading, inputs, output      MODULE:FUNCTION, INPUT, OUT
    again                                   `--only-failed`: input and store of what failed
    ahead, tally                            how far reading runs ahead; what has come of the tasks
    node_program, sink_program, asking      `worker`, `sink`, `status`
    interrupts, progress                    Ctrl-C; what a terminal shows meanwhile
"""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process, and exit."""
    from zmqtasks.cli.app import program

    program.main(prog_name="zmqtasks")

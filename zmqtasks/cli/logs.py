"""The log of a command, as lines of JSON where that is asked for.

Owns nothing but that change. Called by commands that have `--log-format`.
"""

from __future__ import annotations

import logging

from zmqtasks.cli.exits import Exit, Refusal


def log_as_json() -> None:
    """Have what this program logs be a line of JSON each; what it says to people stays as it is.

    Raises:
        Refusal: the extra is not installed.
    """
    from zmqtasks.processes.streams import json_formatter

    try:
        formatter = json_formatter()
    except ValueError as error:
        raise Refusal(Exit.USAGE, str(error)) from error
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)

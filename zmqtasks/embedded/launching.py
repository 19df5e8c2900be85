"""The process of a node that a program starts for itself: begun at once, told later what it shall be.

Owns which module it runs. Imports little, so that the process can import its part while this program imports its own.
Called by `client.py` and `own_node.py`.
"""

from __future__ import annotations

from zmqtasks.processes.launch import Launched, launch

MODULE = "zmqtasks.beginning"


def launch_node() -> Launched:
    """Start the process; it waits for its settings.

    Raises:
        OSError: it cannot be started.
    """
    return launch(MODULE)


def launch_ahead() -> Launched | None:
    """Start it before it is needed; return None where that cannot be, and `launch_node` will tell why."""
    try:
        return launch_node()
    except OSError:
        return None

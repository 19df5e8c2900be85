"""What a worker does with the chunk it has: the word that worker, supervisor and machines share.

Owns no behaviour. A worker writes it into its progress slot (`processes/progress.py`), `watch.py` decides by it.
"""

from __future__ import annotations

from enum import IntEnum


class WorkPhase(IntEnum):
    """What a worker does with the chunk at hand."""

    IDLE = 0
    LOADING = 1
    """The initializer, or decoding arguments."""
    RUNNING = 2
    """In the function, for task `index`."""
    PACKING = 3
    """Encoding and sending results of tasks before `index`."""
    IMPORTING = 4
    """Importing or decoding the function, at its first chunk here."""

"""Those who run work: one small file each, used as its own documentation says is best. See `peers.peer`.

Owns the list of them: under which name a peer is asked for, where it is written, and what its environment needs.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ENVIRONMENTS = Path(__file__).parents[2] / ".venv-peers"


class Known(NamedTuple):
    """A peer that the bench knows.

    Args:
        place: module, and the name in it.
        package: what is imported; found means installed.
        requires: what pip installs into its environment; nothing where it runs in that of zmqtasks.
        program: what has to be on the machine besides.
    """

    place: str
    package: str
    requires: tuple[str, ...] = ()
    program: str = ""

    @property
    def module(self) -> str:
        """Return the name of the file."""
        return self.place.partition(".")[0]

    @property
    def environment(self) -> Path:
        """Return the folder of its virtual environment."""
        return ENVIRONMENTS / self.module

    def python(self) -> str | None:
        """Return the interpreter that has it, or None where it is not installed."""
        own = self.environment / "bin" / "python"
        if self.requires and (self.environment / ".installed").exists() and own.exists():
            return str(own)
        return sys.executable if find_spec(self.package) else None


KNOWN = {
    "zmqtasks": Known("mesh.PEER", "zmqtasks"),
    "zmqtasks, best chunksize": Known("mesh.BEST_CHUNKSIZE", "zmqtasks"),
    "zmqtasks, crash_limit=1": Known("mesh.NO_SECOND_TRY", "zmqtasks"),
    "zmqtasks, observed": Known("mesh.OBSERVED", "zmqtasks"),
    "concurrent.futures": Known("std_futures.PEER", "concurrent.futures"),
    "multiprocessing.Pool": Known("std_pool.PEER", "multiprocessing"),
    "bare pipe": Known("bare_pipe.PEER", "multiprocessing"),
    "bare pyzmq": Known("bare_zmq.PEER", "zmq"),
    "pebble": Known("pebble_pool.PEER", "pebble", ("Pebble>=5.1",)),
    "loky": Known("loky.PEER", "loky", ("loky",)),
    "mpire": Known("mpire.PEER", "mpire", ("mpire",)),
    "joblib": Known("joblib.PEER", "joblib", ("joblib",)),
    "executorlib": Known("executorlib.PEER", "executorlib", ("executorlib",)),
    "ipyparallel": Known("ipyparallel.PEER", "ipyparallel", ("ipyparallel",)),
    "parsl": Known("parsl.PEER", "parsl", ("parsl",)),
    "dask": Known("dask.PEER", "distributed", ("dask[distributed]",)),
    "ray": Known("ray.PEER", "ray", ("ray",)),
    "celery": Known("celery.PEER", "celery", ("celery[redis]",), program="redis-server"),
    "sergeant": Known("sergeant.PEER", "sergeant", ("sergeant",), program="redis-server"),
    "hyperqueue": Known("hyperqueue.PEER", "hyperqueue", ("hyperqueue",)),
}

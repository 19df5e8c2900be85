"""The command line of a Python process that runs one of our modules.

Owns how a child finds zmqtasks: the very copy that is running, wherever it lies, without putting its folder on the
child's module search path. Starts nothing itself; `spawn.py`, `zygote_spawner.py` and `launch.py` call it.
"""

from __future__ import annotations

import os
import sys

import zmqtasks

# -P: what lies in the current folder must not stand in for a module of the standard library.
_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); import zmqtasks; del sys.path[0]; "
    "from {module} import main; main({args})"
)


def python_command(module: str, *args: int) -> list[str]:
    """Return the arguments that start this interpreter and call `module.main(*args)`."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(zmqtasks.__file__)))
    program = _PROGRAM.format(root=root, module=module, args=", ".join(map(str, args)))
    return [sys.executable, "-P", "-c", program]

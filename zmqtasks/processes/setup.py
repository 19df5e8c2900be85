"""How a workforce stands: how many workers it may have, how they start, where their output goes, what ends with it.

Owns these settings. What each worker is told when it starts is not among them; that is `worker.Settings`. Made by
`serving.py`, read by `workforce.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from zmqtasks.processes.voice import OutputStyle
from zmqtasks.records import Value

Method = Literal["auto", "zygote", "spawn"]
TARGETS = {"inherit": (1, 2), "stderr": (2, 2)}
"""Descriptors that take what workers write to stdout and stderr."""


class Setup(Value):
    """See the module.

    Args:
        slots: how many workers there can be at once, those that cannot be ended included.
        method: "zygote" forks workers from a small process (Linux), "spawn" executes an interpreter for each, "auto"
            takes the best there is.
        preload: modules the zygote imports before it forks.
        cgroups: whether workers get a cgroup each, where that can be; None for what the environment says.
        output: where workers' output goes, "inherit" for stdout and stderr, or "stderr" for both.
        style: how it is passed on.
        cleanup_dir: folder to remove at the end, also when this process is killed (zygote only).
        owner_dir: folder of the program this one works for; removed where both are killed (zygote only).

    Raises:
        ValueError: no such output.
    """

    slots: int
    method: Method = "auto"
    preload: Sequence[str] = ()
    cgroups: bool | None = None
    output: Literal["inherit", "stderr"] = "inherit"
    style: OutputStyle = OutputStyle()
    cleanup_dir: str | None = None
    owner_dir: str | None = None

    def __post_init__(self) -> None:
        if self.output not in TARGETS:
            raise ValueError(f"output must be one of {', '.join(TARGETS)}, not {self.output!r}")

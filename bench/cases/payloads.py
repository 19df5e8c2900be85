"""Large arguments that come back as results: what is copied on the way.

Each task has an object of its own, because some peers remember what they have sent. All are on their way at once, up to
256 MiB of them. Megabytes are those of the arguments; as many come back.
"""

from __future__ import annotations

import time
from typing import Any

from bench.cases.case import FUTURES, LOCAL, MESH, Case, Figures, Reach, times
from bench.peers.peer import Cannot, Runner
from bench.work import same

RATE = "mb_a_second"
KIB, MIB = 2**10, 2**20
IN_FLIGHT = 256 * MIB
SIZES = {"64 KiB": 64 * KIB, "1 MiB": MIB, "64 MiB": 64 * MIB}
VARIANTS = tuple(f"{size} {kind}" for size in SIZES for kind in ("bytes", "numpy"))


def nbytes(variant: str) -> int:
    """Return the size of one argument."""
    return SIZES[variant.rpartition(" ")[0]]


def arguments(variant: str, number: int) -> list[Any]:
    """Return objects that differ."""
    if variant.endswith("bytes"):
        return [bytes([n % 251]) * nbytes(variant) for n in range(number)]
    import numpy as np

    return [np.full(nbytes(variant) // 8, n, np.float64) for n in range(number)]


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Send objects, and compare what came back with what went out."""
    sent = arguments(variant, size)
    started = time.perf_counter()
    try:
        results = runner.submit(same, sent)
    except Cannot:
        results = list(runner.map(same, sent, None))
    seconds = time.perf_counter() - started
    assert len(results) == size
    assert all(len(a) == len(b) and a[0] == b[0] and a[-1] == b[-1] for a, b in zip(sent, results, strict=True))
    return {"seconds": seconds, RATE: size * nbytes(variant) / seconds / 1e6}


def _reach(variant: str, least: float) -> Reach:
    return Reach(
        f"{variant}: {least:g} x concurrent.futures",
        lambda at: times(at(MESH, RATE, variant), at(FUTURES, RATE, variant)),
        least=least,
    )


CASE = Case(
    "W4",
    "payloads",
    "megabytes a second of arguments that come back as results",
    measure,
    RATE,
    peers=LOCAL,
    variants=VARIANTS,
    sizes={variant: (2, min(4096, IN_FLIGHT // nbytes(variant))) for variant in VARIANTS},
    reaches=(_reach("64 KiB bytes", 1.5), _reach("1 MiB bytes", 1.2), _reach("1 MiB numpy", 2.0)),
    quick=("64 KiB bytes", "1 MiB numpy"),
)

"""What is written of a measurement: figures with their spread, and where and when they were measured.

Owns the form of the records, one line of JSON each, and the file they are appended to. Measures nothing. Called by
`run.py` and `report.py`.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def surroundings() -> dict[str, Any]:
    """Return where and when this is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "time": time.strftime("%H:%M:%S"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "commit": _commit(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


@functools.cache
def _commit() -> str:
    """Return what is checked out; empty where that is not known."""
    command = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles, least and most."""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    figures = {
        "median": statistics.median(values),
        "quartile_1": lower,
        "quartile_3": upper,
        "least": min(values),
        "most": max(values),
    }
    return {name: significant(value) for name, value in figures.items()}


def significant(value: float) -> float:
    """Return a figure with as many digits as it is worth."""
    return float(f"{value:.4g}")


def append(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
    """Append records to a file, a line each."""
    with open(path, "a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return all records of a folder, the oldest first."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    found = [record for record in map(json.loads, lines) if "run" in record]
    return sorted(found, key=lambda record: (record["date"], record["time"]))

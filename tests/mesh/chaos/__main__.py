"""Run scenarios, tell each fault, and end with one record each.

    python -m tests.mesh.chaos SCENARIO ... [--times N] [--seconds S] [--seed K] [--out FILE]

Exit code 1 where a promise was broken; then the logs of all roles are kept, and the last lines tell where.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from typing import Any, NoReturn

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.registry import SCENARIOS, Amount, Scenario
from tests.mesh.chaos.together import run_together

ALL = "all"


def main() -> int:
    """Return the exit code."""
    wanted = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    names = list(SCENARIOS) if ALL in wanted.scenarios else wanted.scenarios
    records = []
    try:
        if wanted.together > 1:
            return run_together(names, _options(wanted), wanted.together)
        for name in names:
            records.append(_run(name, _amount(SCENARIOS[name], wanted), wanted.seed))
            _write(records[-1], wanted.out)
    except KeyboardInterrupt:
        print("interrupted: everything that was started has been ended", file=sys.stderr)
        return 130
    return 1 if any(record["broken"] for record in records) else 0


def _arguments() -> argparse.Namespace:
    what = "\n".join(f"  {name:12} {scenario.what}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.mesh.chaos",
        description="Make faults on real processes, and judge what is recorded.",
        epilog=f"scenarios:\n{what}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", choices=[*SCENARIOS, ALL])
    parser.add_argument("--times", type=int, help="so many faults, where the scenario is counted in faults")
    parser.add_argument("--seconds", type=float, help="so long, where the scenario lasts for a time")
    parser.add_argument("--quick", action="store_true", help="the amount that each commit is checked with")
    parser.add_argument("--together", type=int, default=1, help="so many scenarios at a time (1)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn by chance (0)")
    parser.add_argument("--out", help="append the records to this file")
    return parser.parse_args()


def _options(wanted: argparse.Namespace) -> list[str]:
    """Return the words of a command line that say the same of one scenario."""
    given = {"--times": wanted.times, "--seconds": wanted.seconds, "--seed": wanted.seed, "--out": wanted.out}
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return [*words, "--quick"] if wanted.quick else words


def _amount(scenario: Scenario, wanted: argparse.Namespace) -> Amount:
    usual = scenario.quick if wanted.quick else scenario.full
    return Amount(
        times=None if usual.times is None else wanted.times or usual.times,
        seconds=None if usual.seconds is None else wanted.seconds or usual.seconds,
    )


def _run(name: str, amount: Amount, seed: int) -> dict[str, Any]:
    scenario = importlib.import_module(f"tests.mesh.chaos.{SCENARIOS[name].module}")
    began = datetime.now(UTC)
    figures: dict[str, Any] = {}
    frame = Frame(name, amount, seed)
    try:
        with frame:
            figures = scenario.run(frame)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # it stands in the record as a broken promise
        frame.tell(f"ended by {error!r}")
    return {
        "scenario": name, "at": began.isoformat(timespec="seconds"), "seed": seed, "times": amount.times,
        "seconds": amount.seconds, "faults": frame.faults, "elapsed_s": round(frame.elapsed_s, 1), **figures,
        "late_s": round(frame.late_s, 2), "load": os.getloadavg()[0], "cores": os.cpu_count(),
        "python": platform.python_version(), "broken": frame.broken, "unjudged": frame.unjudged,
        "logs": str(frame.folder) if frame.broken else None,
    }  # fmt: skip


def _write(record: dict[str, Any], out: str | None) -> None:
    line = json.dumps(record)
    print(line, flush=True)
    if out:
        with open(out, "a") as file:
            file.write(line + "\n")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""The bench as a program: that it measures, compares, and names what it skips. Its figures are not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import cases, run
from bench.peers import KNOWN

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.run", "--quick", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    done = bench("--case", "W1", "--peer", "zmqtasks", "--peer", "concurrent.futures", "--out", str(out))
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    ours, theirs = ({r["peer"]: r for r in records}[name] for name in ("zmqtasks", "concurrent.futures"))
    assert ours["times_as_fast_as_concurrent_futures"]["median"] > 0
    assert theirs["times_as_fast_as_concurrent_futures"] is None
    assert ours["run"] == theirs["run"]
    assert len(ours["figures"]["tasks_a_second"]) == ours["repeats"] == 1
    assert {"date", "machine", "cores", "python", "versions", "load", "size"} <= ours.keys()
    assert "zmqtasks" in ours["versions"]


def test_one_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(KNOWN, "pebble", KNOWN["pebble"]._replace(package="no_such_package", place="absent.PEER"))
    assert not list(run.Bench(1, 0.01, ("pebble",)).run(cases.load("submit")))
    assert "submit: pebble is skipped: not installed; try: make bench-peers PEER=absent" in capsys.readouterr().err


def test_every_case_is_whole() -> None:
    for case in cases.asked(()):
        assert cases.load(case.name) is case
        assert all(case.size_of(variant)[0] <= case.size_of(variant)[1] for variant in case.variants)


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in ((["--peer", "nobody"], "no peer nobody"), (["--case", "W99"], "no case 'W99'")):
        with pytest.raises(SystemExit):
            run.parsed(words)
        assert expected in capsys.readouterr().err


class Answering:
    """A peer that takes so long for each task, and so long before the first."""

    peer, takes_chunks = "made up", False

    def __init__(self, a_task_s: float, before_s: float = 0.0) -> None:
        self._a_task_s, self._before_s = a_task_s, before_s

    def ask(self, **question: Any) -> dict[str, Any]:
        seconds = self._before_s + self._a_task_s * question["size"]
        return {"figures": {"seconds": seconds, "tasks_a_second": question["size"] / seconds}}


@pytest.mark.parametrize(
    ("a_task_s", "before_s", "least", "most"),
    [
        (1e-6, 0.0, 300_000, 300_000),  # the most there is
        (1e-5, 0.0, 25_000, 50_000),  # half a second of it
        (1e-1, 0.0, 20, 20),  # the least, which takes longer
        (1e-4, 1.0, 5000, 20_000),  # many enough that the second before them does not count
    ],
)
def test_work_is_as_much_as_a_peer_can_do(a_task_s: float, before_s: float, least: int, most: int) -> None:
    entry = run.Entry(Answering(a_task_s, before_s), 20)  # type: ignore[arg-type]
    run.Bench(1, 0.5, ())._size(cases.load("submit"), "", entry)
    assert least <= entry.size <= most

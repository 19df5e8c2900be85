"""What the report makes of records: the newest that can be compared, verdicts, tables and charts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import cases, records, report
from bench.cases.case import FUTURES, MESH


def record(peer: str, values: list[float], run: str, case: str = "submit", **more: Any) -> dict[str, Any]:
    return {
        "case": case,
        "variant": "",
        "peer": peer,
        "figure": "tasks_a_second",
        **records.spread(values),
        "times_as_fast_as_concurrent_futures": None if peer == FUTURES else records.spread([2.0]),
        "repeats": len(values),
        "size": 1000,
        "chunk": None,
        "figures": {"tasks_a_second": values, "seconds": [1.0]},
        "python": "3.11.7",
        "versions": {"pyzmq": "27"},
        "date": "2026-01-01",
        "time": run,
        "processor": "x",
        "machine": "y",
        "cores": 2,
        "run": run,
        **more,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    found = [
        record(MESH, [110_000, 120_000, 130_000], "10:00:00"),
        record(FUTURES, [10_000, 10_000, 10_000], "10:00:00"),
        record(MESH, [5.0], "11:00:00"),  # measured alone: it cannot be compared
    ]
    (tmp_path / "results").mkdir()
    records.append(tmp_path / "results" / "a.jsonl", found)
    return tmp_path / "results"


def test_what_is_compared_comes_from_one_run(results: Path) -> None:
    runs = report.grouped(records.read(results))
    case = cases.load("submit")
    assert [entry["median"] for entry in report.newest(runs, case, "")] == [120_000, 10_000]
    reach = case.reaches[0]
    answer = report.reached(runs, case, reach)
    assert answer is not None
    assert answer[0] == [11.0, 12.0, 13.0]
    assert report.row(runs, case, reach).endswith("| 12 x (11 to 13) | yes | 2026-01-01 10:00 |")
    assert "not measured" in report.row(runs, case, case.reaches[1])


def test_what_is_missed_is_told(results: Path) -> None:
    runs = report.grouped([record(MESH, [10.0], "1"), record(FUTURES, [10.0], "1")])
    case = cases.load("submit")
    assert "| **no** |" in report.row(runs, case, case.reaches[0])


def test_the_report_and_the_page(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    words = ["--results", str(results), "--out", str(tmp_path / "report"), "--page", str(page)]
    assert report.main(words) == 0
    assert page.read_text().startswith(f"before\n{report.BEGIN}| row |")
    assert page.read_text().endswith(f"{report.END}after\n")
    assert "old" not in page.read_text()
    written = (tmp_path / "report" / "README.md").read_text()
    assert "| zmqtasks | 120,000 | 110,000 to 130,000 | 2 x | 1,000 |  | pyzmq 27 |" in written
    chart = ET.parse(tmp_path / "report" / "submit.svg").getroot()
    assert len(chart.findall("{http://www.w3.org/2000/svg}rect")) == 3  # the ground, and a bar a peer


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="rows: begin"):
        report.put_rows(page, "text")

"""Files of results that were cut anywhere: what is whole is taken up, and what comes again is there once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.test_store import JOB, failed, ok, table, whole
from zmqtasks.messages import Outcome
from zmqtasks.store.jsonlines import START, JsonLinesFile
from zmqtasks.store.rows import Opener, Row, StoredJob, rows
from zmqtasks.store.sqlite import SqliteFile

GROUPS: list[list[Outcome]] = [
    [ok(0, ["first", {1, 2}]), failed(2, ValueError("line\nbreak"), 1)],
    [failed(2, ValueError("again"), 2), ok(3, [None], job="other:1")],
    [ok(2, ["\u2028 and \n"], 3), ok(5, [[5]]), failed(4, KeyError(), 1)],
]
CUT_BYTES = 1999
"""Between two cuts of a log: no divisor of its frames."""


def written(group: Iterable[Outcome]) -> list[Row]:
    return [row for record in whole(*group) for row in rows(record, {}, Opener(), "2026-11-22T00:00:00.000+00:00")]


def state(file: JsonLinesFile | SqliteFile) -> object:
    return [file.recorded(job) for job in (JOB, "other:1")]


def states(tmp_path: Path) -> list[object]:
    """Return what is recorded after no group, one group, ..."""
    file = SqliteFile(str(tmp_path / "model.db"))
    found = [state(file)]
    for group in GROUPS:
        file.write([], written(group))
        found.append(state(file))
    file.close()
    return found


def test_lines_that_were_cut_anywhere_are_taken_up(tmp_path: Path) -> None:
    model = tmp_path / "model.jsonl"
    file = JsonLinesFile(str(model))
    for group in GROUPS:
        file.write([], written(group))
    complete = state(file)
    file.close()
    content, path = model.read_bytes(), tmp_path / "x.jsonl"
    again = [row for group in GROUPS for row in written(group)]
    ends = [end for end, byte in enumerate(content) if byte == b"\n"[0]]
    near_ends = {end + by for end in ends for by in (-1, 0, 1)}
    # Each offset of how a line begins, each around its end; within, some: they are all the middle of JSON.
    for cut in sorted({*range(2 * len(START)), *near_ends, *range(0, len(content), 5)}):
        path.write_bytes(content[:cut])
        file = JsonLinesFile(str(path))
        lines = content[:cut].count(b"\n")
        assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:lines]), f"cut at {cut}"
        file.write([], again)
        assert state(file) == complete, f"cut at {cut}"
        file.close()
        entries = [json.loads(line) for line in path.read_bytes().splitlines()]
        successes = [(entry["job"], entry["task"]) for entry in entries if entry["ok"]]
        assert len(successes) == len(set(successes)), f"cut at {cut}"


def test_a_log_of_a_database_that_was_cut_anywhere_gives_whole_groups(tmp_path: Path) -> None:
    expected = states(tmp_path)
    file, logs = SqliteFile(str(tmp_path / "x.db")), []
    for group in GROUPS:
        file.write([StoredJob(JOB, "f")], written(group))
        logs.append((tmp_path / "x.db-wal").stat().st_size)
    for name in ("x.db", "x.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"kept-{name}")  # as a kill would leave them
    file.close()
    content, seen = (tmp_path / "kept-x.db-wal").read_bytes(), []
    cuts = sorted({*range(0, len(content), CUT_BYTES), *logs, *(size - 1 for size in logs)})
    for cut in cuts:
        for name in ("x.db-shm", "x.db-wal", "x.db"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "kept-x.db", tmp_path / "x.db")
        (tmp_path / "x.db-wal").write_bytes(content[:cut] + b"\0" * (CUT_BYTES if cut % 2 else 0))
        file = SqliteFile(str(tmp_path / "x.db"))
        seen.append(expected.index(state(file)))
        for group in GROUPS:
            file.write([], written(group))
        assert state(file) == expected[-1], f"cut at {cut}"
        file.close()
        assert [task for (task,) in table(tmp_path / "x.db", "task", "results")] == [0, 1, 2, 4, 5, 3]
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(GROUPS) + 1))
    assert seen[-1] == len(GROUPS)


def test_what_follows_a_cut_is_not_a_line_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"task": 0, "ok": tr\n{"task": 1, "ok": true, "value": 1, "job": "a:1"}\n')
    with pytest.raises(ValueError, match="line 1 is not a result"):
        JsonLinesFile(str(path))

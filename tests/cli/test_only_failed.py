"""`--only-failed`: failures of a file of results run again, and nothing else of it is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.programs import run
from tests.cli.test_run import numbers, rows
from tests.test_store import JOB, failed, keep, ok, statuses
from zmqtasks.cli.again import Again
from zmqtasks.cli.exits import Refusal
from zmqtasks.cli.inputs import Argument, Source, Unreadable
from zmqtasks.machines.collection import Record
from zmqtasks.messages import OutcomeKind
from zmqtasks.store import open_store


@pytest.mark.parametrize("output", ["x.db", "x.jsonl"])
def test_a_success_takes_the_place_of_the_failure(tmp_path: Path, output: str) -> None:
    for name in ("b", "d"):
        (tmp_path / name).touch()
    job = ("run", "chores:fail_once", "--lines", "--workers", "1", "-o", output)
    assert run(tmp_path, *job, stdin="a\nb\nc\nd\n").returncode == 1
    assert list(statuses(tmp_path / output).values()).count("error") == 2
    again = run(tmp_path, *job, "--only-failed")
    assert (again.returncode, again.stderr) == (0, "")
    assert statuses(tmp_path / output) == dict.fromkeys(range(4), "ok")
    if output == "x.db":
        assert rows(tmp_path / output, "SELECT task, input FROM results ORDER BY task") == list(enumerate("abcd"))
        assert rows(tmp_path / output, "SELECT COUNT(*), MAX(total) FROM jobs") == [(1, 4)]
    else:
        entries = list(map(json.loads, (tmp_path / output).read_text().splitlines()))
        assert {(entry["task"], entry["input"]) for entry in entries} == set(enumerate("abcd"))
    nothing = run(tmp_path, *job, "--only-failed")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == f"zmqtasks: nothing to do: no task of chores.fail_once has failed in {output}\n"


def test_a_failure_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    job = ("run", "chores:fail_on_odd", "--workers", "1", "-o", "x.db")
    assert run(tmp_path, *job, stdin=numbers(4)).returncode == 1
    before = dict(rows(tmp_path / "x.db", "SELECT task, attempt FROM results"))
    again = run(tmp_path, *job, "--only-failed")
    assert again.returncode == 1
    assert again.stderr.startswith("zmqtasks: 2 of 2 tasks failed; first: task ")
    assert "ValueError: 3 is odd" in again.stderr or "ValueError: 1 is odd" in again.stderr
    after = dict(rows(tmp_path / "x.db", "SELECT task, attempt FROM results"))
    assert {task: number > before[task] for task, number in after.items()} == {0: False, 1: True, 2: False, 3: True}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "needs -o OUT"),
        (("-o", "x.db"), "x.db: no such file"),
        (("-o", "x.db", "--append"), "leave out --append"),
    ],
)
def test_there_has_to_be_a_file(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, "run", "chores:double", "--only-failed", *options)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "x.db").exists()


@pytest.fixture(params=[".db", ".jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / f"x{request.param}")


def read(again: Again) -> list[Argument | Unreadable]:
    stop, wake = os.pipe()
    try:
        return list(again.read(stop, lambda: None))
    finally:
        os.close(stop)
        os.close(wake)


@pytest.mark.parametrize(
    ("source", "text", "item"),
    [
        (Source(()), '{"a": 1}', {"a": 1}),
        (Source((), lines=True), "[1]", "[1]"),
        (Source((), paths=True), "a.py", "a.py"),
        (Source((), spread=True), "[1, 2]", (1, 2)),
        (Source((), spread=True), '{"x": "1", "y": "2"}', ("1", "2")),
        (Source((), kwargs=True), '{"x": 1}', ((), {"x": 1})),
    ],
)
def test_an_argument_is_what_it_was(path: str, source: Source, text: str, item: object) -> None:
    with open_store(path) as store:
        store.remember_inputs(JOB, 5, [text])
        keep(store, failed(5, ValueError()))
        again = Again(store, path, "f", source)
        assert again
        assert again.form is source.form
        assert read(again) == [Argument(text, item)]
        assert again.number(0) == 5


def test_a_text_of_another_kind_is_told(path: str) -> None:
    with open_store(path) as store:
        store.remember_inputs(JOB, 5, ["plain"])
        keep(store, failed(5, ValueError()))
        (told,) = read(Again(store, path, "f", Source(())))
        assert isinstance(told, Unreadable)
        assert told.where.endswith("input of task 5")
        assert "such as --lines" in told.reason


def test_where_the_file_has_no_inputs_they_are_read_again(path: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("10\n\nno json\n11\n12\n13\n14\n")
    with open_store(path) as store:
        keep(store, ok(0, [1]), failed(3, ValueError()), failed(1, ValueError()))
        (told,) = read(Again(store, path, "f", Source(())))
        assert isinstance(told, Unreadable)
        assert "give the same INPUT again" in told.reason
        again = Again(store, path, "f", Source((str(tmp_path / "in"),)))
        assert [entry.item for entry in read(again) if isinstance(entry, Argument)] == [11, 13]
        assert [again.number(task) for task in (0, 1)] == [1, 3]
        (tmp_path / "in").write_text("10\n11\n")
        assert "ends before task 3" in str(read(Again(store, path, "f", Source((str(tmp_path / "in"),))))[-1])
        keep(store, failed(0, ValueError(), job="other:1"))
        with pytest.raises(Refusal, match="several jobs"):
            read(Again(store, path, "f", Source((str(tmp_path / "in"),))))


def test_jobs_of_another_function_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "x.db")
    with open_store(path) as store:
        store.note_job(JOB, "package.f")
        keep(store, failed(0, ValueError()))
        assert not Again(store, path, "package.g", Source(()))
        assert "1 failed task of other functions" in capsys.readouterr().err


def test_results_are_stored_under_the_numbers_that_tasks_have_in_the_file(path: str) -> None:
    with open_store(path) as store:
        texts = [str(n) for n in range(6)]
        for job in (JOB, "other:1"):
            store.remember_inputs(job, 0, texts)
            keep(store, *(failed(task, ValueError(), 9, job=job) for task in (1, 2, 4)), ok(0, ["kept"], job=job))
        again = Again(store, path, "f", Source(()))
        items = [entry.item for entry in read(again) if isinstance(entry, Argument)]
        assert items == [1, 2, 4, 1, 2, 4]
        again.note_job("new:1", "f")
        again.remember_inputs("new:1", 0, [str(item) for item in items])
        told: list[str] = []
        outcome = ok(0, items, 1, job="new:1")
        again.record([Record(outcome, 0, 2), Record(outcome, 2, 6)], lambda: told.append("stored"))
        store.flush(10)
        assert told == ["stored"]
        for job in (JOB, "other:1"):
            assert store.recorded(job).failed == {}
            assert list(store.recorded(job).ok) == [(0, 3), (4, 5)]
        assert {job.id for job in store.jobs()} == {JOB, "other:1"}
        store.close()
    if path.endswith(".db"):
        assert rows(Path(path), "SELECT task, value, attempt FROM results WHERE job = 'other:1' ORDER BY task") == [
            (0, '"kept"', 1), (1, "1", 10), (2, "2", 10), (4, "4", 10),
        ]  # fmt: skip
    else:
        told_last = {
            (e["job"], e["task"]): e.get("value") for e in map(json.loads, Path(path).read_text().splitlines())
        }
        assert told_last["other:1", 4] == 4


def test_a_new_failure_is_newer_than_any_in_the_file(path: str) -> None:
    with open_store(path) as store:
        store.remember_inputs(JOB, 3, ["3"])
        keep(store, failed(3, ValueError(), 9))
        again = Again(store, path, "f", Source(()))
        read(again)
        again.record([Record(failed(0, ValueError(), 1, OutcomeKind.CRASHED, job="new:1"), 0, 1)], lambda: None)
        again.close(10)
    with open_store(path) as store:
        assert store.recorded(JOB).failed == {3: (10, OutcomeKind.CRASHED)}

"""Retries: which failures are worth one, and how long each pause is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import asking
from zmqtasks.options import TaskOptions


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, retries=2) as client:
        client.submit(asking.who).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.mark.parametrize(
    ("retry_on", "worth"),
    [
        (None, "OSError ValueError Temporary"),
        (OSError, "OSError"),
        ((OSError, asking.Temporary), "OSError Temporary"),
        (asking.is_temporary, "OSError ValueError"),
        ((asking.Temporary, lambda error: isinstance(error, ValueError)), "Temporary ValueError"),
        (asking.badly_asked, ""),
        ("builtins:ValueError,tests.mesh.asking:Temporary", "Temporary ValueError"),
    ],
)
def test_only_what_is_worth_it_is_run_again(client: zmqtasks.Client, ledger: Path, retry_on: Any, worth: str) -> None:
    for error in ("OSError", "ValueError", "Temporary"):
        raised = client.options(retry_on=retry_on).submit(asking.fail, str(ledger), error).exception(30)
        assert type(raised).__name__ == error, "the last failure arrives as itself"
        assert ledger.read_text().count("run") == (3 if error in worth.split() else 1)
        ledger.unlink()


@pytest.mark.parametrize(("retry_on", "runs"), [(OSError, 3), (zmqtasks.TaskTimeout, 3), (ValueError, 1)])
@pytest.mark.parametrize("grace", [None, 5.0])
def test_limits_are_judged_like_the_exceptions_they_arrive_as(
    client: zmqtasks.Client, ledger: Path, retry_on: type, runs: int, grace: float | None
) -> None:
    limited = client.options(retry_on=retry_on, timeout=0.05, grace=grace)
    with pytest.raises(zmqtasks.TaskTimeout):
        limited.submit(asking.fail, str(ledger), "hang").result(30)
    assert ledger.read_text().count("run") == runs


def test_at_most_once_is_at_most_once(client: zmqtasks.Client, ledger: Path) -> None:
    with pytest.raises(OSError, match="temporary"):
        client.options(retry_on=OSError, retry=False).submit(asking.fail, str(ledger), "OSError").result(30)
    assert ledger.read_text().count("run") == 1


@pytest.mark.parametrize(("error", "told"), [("OSError", "on_retry on_retry on_max_retries"), ("ValueError", "")])
def test_a_class_hears_what_is_worth_it(client: zmqtasks.Client, ledger: Path, error: str, told: str) -> None:
    assert client.submit(asking.Retried, str(ledger), error).exception(30)
    assert [line for line in ledger.read_text().split() if line != "run"] == told.split()


def test_safe_mode_takes_types_by_name_and_no_pickle(client: zmqtasks.Client) -> None:
    safe = client.options(serializer="msgpack", retry_on=lambda error: True)
    with pytest.raises(zmqtasks.SerializationError, match="msgpack sends functions by name only"):
        safe.submit(zmqtasks.task(asking.who))


def test_a_pause_doubles_and_is_never_shorter(client: zmqtasks.Client, ledger: Path) -> None:
    began = time.monotonic()
    client.options(backoff=0.1).submit(asking.fail, str(ledger), "OSError").exception(30)
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    client.options(backoff=0.1, jitter=1.0, retry_on=OSError).submit(asking.fail, str(ledger), "OSError").exception(30)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("given", "text"),
    [({"jitter": 1.5}, "from 0 to 1"), ({"jitter": "much"}, "from 0 to 1"), ({"retry_on": 3}, "exception types")],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TaskOptions(**given)


def test_a_command_says_what_is_worth_it(tmp_path: Path, ledger: Path) -> None:
    call = ["run", "tests.mesh.asking:fail", "--spread", "--workers", "1", "--retries", "2", "--jitter", "0"]
    worth = ["--retry-on", "builtins:OSError", "--retry-on", "tests.mesh.asking:Temporary"]
    lines = f'["{ledger}", "ValueError"]\n["{ledger}", "Temporary"]\n'
    done = programs.run(tmp_path, *call, *worth, stdin=lines)
    assert done.returncode == 1, done.stderr
    assert ledger.read_text().count("run") == 1 + 3

"""Task classes: the order of their methods, what each may ask for, their state, their configuration."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import task_classes as classes
from tests.waiting import wait_until

LINES: list[zmqtasks.OutputLine] = []
"""What workers of the client that tests share have printed."""


def printed() -> str:
    return "\n".join(line.text for line in LINES)


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, log_level="INFO", output=True, on_output=LINES.append) as client:
        client.submit(print, "ready").result(30)
        wait_until(lambda: LINES)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


class Played:
    """What became of a task with a plan, and which methods were called."""

    def __init__(self, client: Any, ledger: Path, **plan: list[str]) -> None:
        future = client.submit(classes.Recorder, str(ledger), plan)
        self.error = future.exception(30)
        self.pid = None if self.error else future.result()
        self.calls = ledger.read_text().splitlines()


# The order of the methods


def test_a_task_that_succeeds(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client, ledger)
    assert played.calls == ["pre", "run 0", "post True NoneType", "on_success True"]
    assert played.error is None


def test_a_task_that_fails(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client, ledger, run=["raise"])
    assert played.calls == ["pre", "run 0", "post False IndexError", "on_failure IndexError"]
    assert isinstance(played.error, IndexError)
    assert "task_classes.py" in str(played.error.__cause__)
    assert "lifecycle.py" not in str(played.error.__cause__), "the stack begins with what is the user's"


def test_a_task_that_fails_is_run_again_as_often_as_its_retries_say(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client.options(retries=3), ledger, run=["raise"] * 5)
    runs = [f"run {run_count}" for run_count in range(4)]
    assert [call for call in played.calls if call.startswith("run")] == runs, "3 retries are 1 + 3 runs"
    assert played.calls.count("on_failure IndexError") == 4
    assert played.calls.count("on_retry") == 3
    assert played.calls[-1] == "on_max_retries"
    assert isinstance(played.error, IndexError)


def test_a_task_that_asks_for_it_is_run_again_as_often_as_its_retries_say(
    client: zmqtasks.Client, ledger: Path
) -> None:
    played = Played(client.options(retries=3), ledger, run=["retry"] * 5)
    assert [call for call in played.calls if call.startswith("run")] == [f"run {n}" for n in range(4)]
    assert (played.calls.count("on_retry"), played.calls.count("on_max_retries")) == (3, 1)
    assert "on_failure" not in "".join(played.calls)
    assert isinstance(played.error, zmqtasks.RetriesExhausted)


def test_a_requeue_is_no_retry(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client.options(retries=1), ledger, run=["requeue"] * 4)
    assert played.calls.count("run 0") == 5
    assert played.calls.count("on_requeue") == 4
    assert "on_retry" not in played.calls
    assert played.error is None


def test_a_task_whose_time_is_up_hears_of_it_within_its_grace(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client.options(timeout=0.2), ledger, run=["hang"])
    assert played.calls == ["pre", "run 0", "post False TaskInterrupted", "on_timeout"]
    assert isinstance(played.error, zmqtasks.TaskTimeout)


def test_each_part_of_a_task_has_its_timeout(client: zmqtasks.Client) -> None:
    assert client.submit(classes.Slow).result(30) == "in time"


def test_a_hook_that_hangs_is_cut_short(client: zmqtasks.Client, ledger: Path) -> None:
    played = Played(client.options(timeout=0.2), ledger, post=["hang"])
    assert played.calls == ["pre", "run 0", "post True NoneType", "on_success True"]
    assert played.error is None, "it had succeeded before"


# What each method may ask for


@pytest.mark.parametrize("action", ["retry", "requeue"])
@pytest.mark.parametrize(("plan", "handler"), [({"run": ["raise"]}, "on_failure"), ({"run": ["hang"]}, "on_timeout")])
def test_a_handler_of_failures_may_have_the_task_run_again(
    client: zmqtasks.Client, ledger: Path, plan: dict[str, list[str]], handler: str, action: str
) -> None:
    played = Played(client.options(timeout=0.3), ledger, **plan, **{handler: [action]})
    assert f"on_{action}" in played.calls
    assert [call for call in played.calls if call.startswith("run")] == ["run 0", f"run {int(action == 'retry')}"]
    assert played.error is None


@pytest.mark.parametrize("action", ["raise", "exit", "retry", "requeue"])
@pytest.mark.parametrize("method", ["post", "on_success"])
def test_what_is_raised_after_a_success_is_logged_and_changes_nothing(
    client: zmqtasks.Client, ledger: Path, method: str, action: str
) -> None:
    LINES.clear()
    played = Played(client, ledger, **{method: [action]})
    assert played.error is None
    assert played.calls.count("run 0") == 1
    name = {"post": "post_task"}.get(method, method)
    told = {"raise": f"{name} raised", "exit": f"{name} raised"}.get(action, f"{name} was cut short: it may not ask")
    wait_until(lambda: told in printed(), printed)


@pytest.mark.parametrize("action", ["raise", "exit"])
@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ({"pre": []}, None),
        ({"run": ["raise"], "on_failure": []}, IndexError),
        ({"run": ["raise"], "on_retry": []}, None),
    ],
)
def test_errors_of_hooks_and_handlers_change_nothing(
    client: zmqtasks.Client, ledger: Path, plan: dict[str, list[str]], error: type | None, action: str
) -> None:
    plan = {name: actions or [action] for name, actions in plan.items()}
    played = Played(client.options(retries=int("on_retry" in plan)), ledger, **plan)
    assert type(played.error) is (error or type(None))


@pytest.mark.parametrize("action", ["retry", "requeue", "respawn"])
def test_what_a_hook_before_the_run_asks_for_is_granted(client: zmqtasks.Client, ledger: Path, action: str) -> None:
    played = Played(client, ledger, pre=[action])
    assert [call for call in played.calls if call.startswith("run")] == [f"run {int(action == 'retry')}"]
    assert played.error is None


@pytest.mark.parametrize(
    ("plan", "runs"),
    [
        ({"post": ["respawn"]}, 1),
        ({"on_success": ["respawn"]}, 1),
        ({"run": ["retry"], "on_retry": ["respawn"]}, 2),
        ({"run": ["requeue"], "on_requeue": ["respawn"]}, 2),
        ({"run": ["raise"], "on_failure": ["respawn"]}, 1),
        ({"run": ["respawn"]}, 2),
    ],
)
def test_a_worker_is_replaced_and_the_task_ends_as_it_has(
    client: zmqtasks.Client, ledger: Path, plan: dict[str, list[str]], runs: int
) -> None:
    before, _ = client.submit(classes.Counter).result(30)
    played = Played(client, ledger, **plan)
    assert sum(call.startswith("run") for call in played.calls) == runs
    assert isinstance(played.error, IndexError if "on_failure" in plan else type(None))
    assert client.submit(classes.Counter).result(30)[0] != before


@pytest.mark.parametrize(
    "plan", [{"run": ["stop"]}, {"on_success": ["stop"]}, {"run": ["raise"], "on_failure": ["stop"]}]
)
def test_the_end_of_the_node_may_be_asked_for_anywhere(ledger: Path, plan: dict[str, list[str]]) -> None:
    with zmqtasks.Client(workers=1) as client:
        played = Played(client, ledger, **plan)
        assert isinstance(played.error, IndexError if "on_failure" in plan else type(None))
        assert ("on_stop" in played.calls) == ("on_failure" not in plan and "on_success" not in plan)
        with pytest.raises(zmqtasks.NoNodes, match="a task stopped the node"):
            client.submit(classes.Counter).result(30)


# State


def test_an_object_lives_as_long_as_its_worker(client: zmqtasks.Client) -> None:
    pid, before = client.submit(classes.Counter).result(30)
    told = list(client.map(classes.Counter, range(500)))
    assert told == [(pid, before + 1 + n) for n in range(500)], "one object, whatever the job"
    assert client.options(timeout=30).submit(classes.Counter).result(30) == (pid, before + 501)


def test_a_class_may_run_coroutines(client: zmqtasks.Client) -> None:
    assert client.submit(classes.Awaiting, a=1).result(30) == {"a": 1}


def test_a_class_of_the_main_program_travels_by_value(client: zmqtasks.Client) -> None:
    class Local(zmqtasks.Worker[int]):
        def initialize(self) -> None:
            self.total = 0

        def run(self, task: zmqtasks.Task) -> int:
            self.total += task.args[0]
            return self.total

    assert list(client.map(Local, range(5))) == [0, 1, 3, 6, 10]


def test_an_object_that_cannot_be_made_is_made_anew_for_the_next_task(client: zmqtasks.Client) -> None:
    with pytest.raises(OSError, match="not there yet"):
        client.submit(classes.Broken).result(30)
    assert client.submit(classes.Broken).result(30) == 2


def test_a_class_is_called_from_asyncio_in_the_same_words() -> None:
    async def ask() -> list[str]:
        async with zmqtasks.AsyncClient(workers=1) as client:
            return [await client.submit(classes.Shout, "a"), *[v async for v in client.map(classes.Shout, ["b", "c"])]]

    assert asyncio.run(ask()) == ["A", "B", "C"]


def test_a_task_is_begun_when_it_comes(client: zmqtasks.Client) -> None:
    took = []
    for _ in range(10):
        began = time.monotonic()
        client.submit(classes.Counter).result(30)
        took.append(time.monotonic() - began)
    assert min(took) < 0.2, "nobody polls"


def test_a_client_installs_no_signal_handler(client: zmqtasks.Client) -> None:
    assert client.submit(classes.Counter).result(30)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# Configuration


def test_a_configuration_is_frozen_and_gives_changed_copies(client: zmqtasks.Client) -> None:
    assert list(client.map(classes.Sized, [0])) == [(100, 20.0)]
    assert client.submit(classes.Wide).result(30) == (400, 60.0)
    with pytest.raises(AttributeError):
        classes.Wide.config.width = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="no such task option: colour"):
        zmqtasks.WorkerConfig().replace(colour="red")
    with pytest.raises(ValueError, match="is not a duration"):
        zmqtasks.WorkerConfig(starvation="long")


def test_a_configuration_may_be_found_out(tmp_path: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "config"
    monkeypatch.setenv("FOUND_CONFIG", str(place))
    place.write_text("2")
    with zmqtasks.Client(workers=1) as client, pytest.raises(ValueError, match="never good enough"):
        client.submit(classes.Found, str(ledger)).result(30)
    assert ledger.read_text().split() == ["2"] * 3


def test_what_is_wrong_with_a_class_is_told_where_it_is_submitted(client: zmqtasks.Client) -> None:
    with pytest.raises(TypeError, match=r"Lacking has no method run\(self, task\)"):
        client.submit(classes.Lacking)

    class Odd(classes.Shout):
        @classmethod
        def generate_config(cls) -> Any:
            return {"retries": 3}

    with pytest.raises(TypeError, match="must return a WorkerConfig, and returned dict"):
        client.map(Odd, [1])

    class Late(classes.Shout):
        async def on_success(self, task: zmqtasks.Task, value: str) -> None:  # type: ignore[override]
            pass

    with pytest.raises(TypeError, match="on_success must not be an async def; only run may be one"):
        client.submit(Late)
    with pytest.raises(TypeError, match="Shout is a task class: its options stand in its config"):
        zmqtasks.task(timeout=3)(classes.Shout)


def test_an_object_can_be_used_without_a_mesh() -> None:
    assert classes.Shout().run(zmqtasks.Task(args=("a",))) == "A"


def test_which_events_are_logged_is_said_by_a_switch_each(client: zmqtasks.Client, ledger: Path) -> None:
    def told(*patterns: str) -> bool:
        return all(re.search(pattern, printed()) for pattern in patterns)

    LINES.clear()
    client.submit(classes.Recorder, str(ledger), {"run": ["raise"]}).exception(30)
    wait_until(lambda: told(r"ERROR .*Recorder: task \S+#\d+ failed", "IndexError"), printed)
    assert "succeeded" not in printed()
    assert "lifecycle.py" not in printed()
    ledger.unlink()
    LINES.clear()
    client.submit(classes.Quiet, str(ledger), {"run": ["raise", "retry"]}).exception(30)
    client.submit(classes.Quiet, str(ledger), {"run": ["raise", "retry"]}).result(30)
    wait_until(lambda: told(r"INFO .*Quiet: task \S+ will be run again", r"INFO .*Quiet: task \S+ succeeded"), printed)
    assert "failed" not in printed()


# Nothing to do, and the end


def test_an_object_hears_that_there_is_no_task(client: zmqtasks.Client, ledger: Path) -> None:
    client.submit(classes.Starving, str(ledger), "nothing").result(30)
    wait_until(lambda: ledger.exists() and len(ledger.read_text().split()) == 2)
    first, second = map(float, ledger.read_text().split())
    assert 0.05 <= first < 1 <= second
    before = client.submit(classes.Starving, str(ledger), "respawn").result(30)
    count = len(ledger.read_text().split())
    wait_until(lambda: len(ledger.read_text().split()) > count)
    assert client.submit(classes.Starving, str(ledger), "nothing").result(30) != before


@pytest.mark.parametrize("action", ["nothing", "raise"])
def test_an_object_is_finalized_when_its_worker_ends(ledger: Path, action: str) -> None:
    with zmqtasks.Client(workers=1) as client:
        pid = client.submit(classes.Finalized, str(ledger), action).result(30)
    assert ledger.read_text().split() == [str(pid)]


def test_the_end_of_an_object_may_end_its_node(ledger: Path) -> None:
    with zmqtasks.Client(workers=1, max_tasks_per_worker=1) as client:
        client.submit(classes.Finalized, str(ledger), "stop").result(30)
        with pytest.raises(zmqtasks.NoNodes, match="a task stopped the node"):  # noqa: PT012
            while True:
                client.submit(classes.Counter).result(30)


# Commands


def test_a_class_is_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "shouting.py").write_text(
        "import zmqtasks\n\n"
        "class Shout(zmqtasks.Worker):\n"
        "    config = zmqtasks.WorkerConfig(serializer='msgpack')\n"
        "    def run(self, task):\n"
        "        return task.args[0].upper()\n"
    )
    path = ["--python-path", str(tmp_path / "lib")]
    done = programs.run(tmp_path, "run", "shouting:Shout", *path, "--workers", "1", stdin='"a"\n"b"')
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(json.loads(line)["value"] for line in done.stdout.splitlines()) == ["A", "B"]
    with programs.program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1", *path) as node:
        done = programs.run(tmp_path, "ventilator", "shouting:Shout", *path, "--node", node.address, stdin='"c"')
    assert json.loads(done.stdout)["value"] == "C"
    done = programs.run(tmp_path, "run", "shouting:Shout", stdin='"a"')
    assert done.returncode == 3

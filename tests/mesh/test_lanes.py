"""Several tasks at once in one worker: in threads, and as coroutines."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import program
from tests.mesh import awaited, side_by_side, task_classes
from tests.waiting import wait_until

Several = tuple[str, zmqtasks.Client]


@pytest.fixture(scope="module")
def threaded_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, standby=0, threads=4) as client:
        client.submit(side_by_side.sleep, 0.0).result(30)
        yield client


@pytest.fixture(scope="module")
def awaiting_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, standby=0, concurrency=4) as client:
        client.submit(side_by_side.sleep, 0.0).result(30)
        yield client


@pytest.fixture(params=["threads", "coroutines"])
def several(
    request: pytest.FixtureRequest, threaded_client: zmqtasks.Client, awaiting_client: zmqtasks.Client
) -> Several:
    """Return each of them in turn, with its name."""
    return request.param, {"threads": threaded_client, "coroutines": awaiting_client}[request.param]


@pytest.fixture
def threads(threaded_client: zmqtasks.Client) -> zmqtasks.Client:
    return threaded_client


@pytest.fixture
def coroutines(awaiting_client: zmqtasks.Client) -> zmqtasks.Client:
    return awaiting_client


def test_threads_run_tasks_side_by_side_in_one_process(threads: zmqtasks.Client) -> None:
    found = [future.result(30) for future in [threads.submit(side_by_side.meet, n) for n in range(4)]]
    assert [value for value, _, _ in found] == list(range(4))
    assert len({pid for _, pid, _ in found}) == 1
    assert len({ident for _, _, ident in found}) == 4


def test_coroutines_run_side_by_side_in_one_process(coroutines: zmqtasks.Client, tmp_path: Path) -> None:
    found = [
        future.result(30)
        for future in [coroutines.submit(side_by_side.meet_awaiting, n, str(tmp_path)) for n in range(4)]
    ]
    assert [value for value, _ in found] == list(range(4))
    assert len({pid for _, pid in found}) == 1


def test_each_form_of_call_gives_what_it_gives_elsewhere(several: Several) -> None:
    _, client = several
    assert list(client.map(awaited.double, range(300))) == [2 * n for n in range(300)]
    assert list(client.map(pow, range(300), [2] * 300)) == [n * n for n in range(300)]
    assert client.submit(awaited.double, 4, pause_s=0.0).result(30) == 8
    with pytest.raises(ValueError, match=r"^no$"):
        client.submit(awaited.fail, "no").result(30)
    ids = [client.submit(side_by_side.which) for _ in range(20)]
    assert [future.result(30) for future in ids] == [future.info().id for future in ids]


def test_a_coroutine_that_calls_exit_harms_nobody(coroutines: zmqtasks.Client) -> None:
    pid = coroutines.submit(side_by_side.asleep, 0.0).result(30)
    beside = coroutines.submit(side_by_side.asleep, 0.3)
    with pytest.raises(zmqtasks.WorkerCrashed) as caught:
        coroutines.submit(side_by_side.leave).result(30)
    assert caught.value.exit_code == 3
    assert beside.result(30) == pid


def test_a_coroutine_is_cancelled_at_its_limit_and_its_neighbours_go_on(
    coroutines: zmqtasks.Client, tmp_path: Path
) -> None:
    beside = coroutines.submit(side_by_side.asleep, 0.6)
    late = coroutines.options(timeout=0.1, grace=20).submit(side_by_side.wait_for_ever, str(tmp_path / "told"))
    with pytest.raises(zmqtasks.TaskTimeout, match="interrupted") as caught:
        late.result(30)
    assert "in wait_for_ever" in caught.value.stack
    assert (tmp_path / "told").exists()
    assert beside.result(30) == coroutines.submit(side_by_side.asleep, 0.0).result(30)


def test_a_limit_kills_the_worker_and_neighbours_run_again_unblamed(
    several: tuple[str, zmqtasks.Client], tmp_path: Path
) -> None:
    kind, client = several
    ledger = str(tmp_path / "ledger")
    client = client.options(crash_limit=1)
    if kind == "threads":
        beside = [client.submit(side_by_side.note_and_sleep, ledger, n, 0.5) for n in range(3)]
        wait_until(lambda: Path(ledger).exists() and len(Path(ledger).read_text().split()) == 3)
    else:
        beside = [client.submit(side_by_side.asleep, 0.5) for _ in range(3)]
    with pytest.raises(zmqtasks.TaskTimeout):
        client.options(timeout=0.1).submit(side_by_side.stand_still).result(30)
    assert len([future.result(30) for future in beside]) == 3
    if kind == "threads":
        assert Counter(Path(ledger).read_text().split()) == {"0": 2, "1": 2, "2": 2}


def test_a_thread_is_interrupted_at_its_limit_and_its_neighbours_go_on(
    threads: zmqtasks.Client, tmp_path: Path
) -> None:
    view = threads.options(timeout=0.1, grace=20)
    beside = threads.submit(side_by_side.sleep, 0.6)
    late = view.submit(side_by_side.clean_up, str(tmp_path / "told"))
    with pytest.raises(zmqtasks.TaskTimeout, match=r"timeout of 0\.1 s, and was interrupted") as caught:
        late.result(30)
    assert "in clean_up" in caught.value.stack
    assert (tmp_path / "told").exists()
    assert view.submit(side_by_side.answer_in_time).result(30) == "in time"
    assert beside.result(30) == threads.submit(side_by_side.sleep, 0.0).result(30)


def test_interruptions_of_threads_hit_no_other_task(threads: zmqtasks.Client, tmp_path: Path) -> None:
    view = threads.options(timeout=0.03, grace=20)
    durations = [(7 * n % 13) * 0.005 for n in range(120)]  # most of them near the limit
    paths = [str(tmp_path / str(number)) for number in range(120)]
    futures = [view.submit(side_by_side.nap, path, seconds) for path, seconds in zip(paths, durations, strict=True)]
    errors = [future.exception(60) for future in futures]
    # By their own clocks; one that was interrupted while it wrote that down was at its end.
    took = [float(Path(path).read_text() or "inf") for path in paths]
    assert all(error is None or isinstance(error, zmqtasks.TaskTimeout) for error in errors)
    assert [seconds for seconds, error in zip(took, errors, strict=True) if error is not None and seconds < 0.025] == []
    assert len({future.result() for future in futures if future.exception() is None}) == 1
    assert any(errors)


def test_who_dies_among_others_is_found_by_being_alone(threads: zmqtasks.Client, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    client = threads.options(crash_limit=1)
    beside = [client.submit(side_by_side.note_and_sleep, ledger, n, 0.3) for n in range(3)]
    guilty = client.submit(side_by_side.die_when, ledger, 3)
    with pytest.raises(zmqtasks.WorkerCrashed):
        guilty.result(60)
    assert [future.result(60) for future in beside] == [0, 1, 2]


def test_at_most_once_stays_so_among_others(threads: zmqtasks.Client, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    beside = threads.options(retry=False).submit(side_by_side.note_and_sleep, ledger, 0, 5.0)
    guilty = threads.options(crash_limit=1).submit(side_by_side.die_when, ledger, 1)
    with pytest.raises(zmqtasks.WorkerCrashed):
        guilty.result(60)
    with pytest.raises(zmqtasks.TaskLost):
        beside.result(60)
    assert Path(ledger).read_text().split() == ["0"]


def test_a_task_that_is_not_wanted_is_killed_and_its_neighbour_runs_again(
    threads: zmqtasks.Client, tmp_path: Path
) -> None:
    ledger = str(tmp_path / "ledger")
    beside = threads.submit(side_by_side.note_and_sleep, ledger, 0, 0.4)
    wait_until(lambda: Path(ledger).exists())
    unwanted = threads.submit(side_by_side.stand_still)
    wait_until(lambda: unwanted.running(), unwanted.info)
    time.sleep(0.05)
    assert zmqtasks.kill(unwanted)
    assert beside.result(30) == 0


def test_workers_with_lanes_are_replaced_and_end_in_order(tmp_path: Path) -> None:
    with zmqtasks.Client(workers=1, threads=2, max_tasks_per_worker=10) as client:
        futures = [client.submit(side_by_side.sleep, 0.002) for _ in range(80)]
        pids = {future.result(30) for future in futures}
    assert len(pids) > 2


def test_no_event_loop_is_in_debug_mode(threads: zmqtasks.Client, coroutines: zmqtasks.Client) -> None:
    assert not threads._registry.embedded.loop.get_debug()
    assert [client.submit(awaited.is_in_debug_mode).result(30) for client in (threads, coroutines)] == [False, False]


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"concurrency": -1}, {"threads": 2, "concurrency": 2}, {"threads": 2, "max_tasks_per_worker": 1}],
)
def test_what_cannot_be_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be 1 or more|not both|no threads"):
        zmqtasks.NodeOptions(**options)  # type: ignore[arg-type]


# Task classes


def test_threads_of_a_worker_share_the_object_of_a_class(threads: zmqtasks.Client) -> None:
    found = [future.result(30) for future in [threads.submit(side_by_side.Meeting) for _ in range(4)]]
    assert len({identity for identity, _ in found}) == 1
    assert len({thread for _, thread in found}) == 4


def test_coroutines_of_a_class_run_side_by_side_and_know_their_tasks(
    coroutines: zmqtasks.Client, tmp_path: Path
) -> None:
    ledger = tmp_path / "starved"
    found = [future.result(30) for future in [coroutines.submit(side_by_side.Patient, str(ledger)) for _ in range(4)]]
    assert len({identity for identity, _ in found}) == 1
    assert len({task for _, task in found}) == 4
    assert float(wait_until(lambda: ledger.exists() and ledger.read_text())) >= 0.3


def test_a_coroutine_of_a_class_hears_that_its_time_is_up(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with zmqtasks.Client(workers=1, standby=0, concurrency=2) as client, pytest.raises(zmqtasks.TaskTimeout):
        client.options(timeout=0.3).submit(side_by_side.Patient, str(ledger)).result(30)
    assert ledger.read_text() == "on_timeout"


def test_an_object_hears_that_the_time_of_a_thread_is_up(threads: zmqtasks.Client, tmp_path: Path) -> None:
    futures = [threads.submit(side_by_side.Busy, str(tmp_path / str(number))) for number in range(2)]
    assert [type(future.exception(30)) for future in futures] == [zmqtasks.TaskTimeout] * 2
    assert len({(tmp_path / str(number)).read_text() for number in range(2)}) == 2


def test_an_object_hears_that_no_thread_has_a_task(threads: zmqtasks.Client, tmp_path: Path) -> None:
    ledger = tmp_path / "starved"
    assert threads.submit(side_by_side.Hungry, str(ledger)).result(30) is False, "one thread was busy"
    assert float(wait_until(lambda: ledger.exists() and ledger.read_text())) >= 0.3


def test_what_an_object_asks_for_is_granted_in_each_lane(threads: zmqtasks.Client, tmp_path: Path) -> None:
    plans = [{"run": ["retry"]}, {"run": ["requeue"]}, {"run": ["raise"], "on_failure": ["retry"]}, {"pre": ["retry"]}]
    futures = [
        threads.submit(task_classes.Recorder, str(tmp_path / str(number)), plan) for number, plan in enumerate(plans)
    ]
    assert all(future.exception(30) is None for future in futures)
    runs = [(tmp_path / str(number)).read_text().count("run") for number in range(4)]
    assert runs == [2, 2, 2, 1]


def test_a_lane_may_ask_for_another_worker_and_the_others_finish(
    several: tuple[str, zmqtasks.Client], tmp_path: Path
) -> None:
    _, client = several
    beside = client.submit(side_by_side.note_and_await, str(tmp_path / "begun"), 0.3)
    wait_until((tmp_path / "begun").exists, beside.info)
    pid = client.submit(side_by_side.respawn_once, str(tmp_path / "pids")).result(30)
    first, second = map(int, (tmp_path / "pids").read_text().split())
    assert second == pid != first
    assert beside.result(30) == first


def test_a_worker_with_lanes_that_cannot_begin_is_told() -> None:
    with (
        zmqtasks.Client(workers=1, standby=0, threads=3, initializer=side_by_side.refuse) as client,
        pytest.raises(zmqtasks.WorkerCrashed, match="not here"),
    ):
        client.submit(side_by_side.sleep, 0.0).result(30)


@pytest.mark.parametrize("options", [{"threads": 2}, {"concurrency": 2}])
def test_workers_with_lanes_may_be_spawned(options: dict[str, int]) -> None:
    with zmqtasks.Client(workers=1, standby=0, method="spawn", **options) as client:
        assert list(client.map(awaited.double, range(20))) == [2 * n for n in range(20)]


@pytest.mark.parametrize("options", [("--threads", "2"), ("--concurrency", "2")])
def test_a_node_with_lanes_drains(tmp_path: Path, options: tuple[str, ...]) -> None:
    worker = ("worker", "--bind", "127.0.0.1:0", "--workers", "1", *options)
    with program(tmp_path, "node", *worker) as node, zmqtasks.Client(node.address) as client:
        marks = [tmp_path / "first", tmp_path / "second"]
        running = [client.submit(side_by_side.note_and_await, str(mark), 0.4) for mark in marks]
        wait_until(lambda: all(mark.exists() for mark in marks), lambda: running)
        node.process.send_signal(signal.SIGTERM)
        assert all(future.result(30) for future in running)
        wait_until(lambda: node.process.poll() is not None, lambda: node.stderr)
    assert node.process.returncode == 0
    assert "2 tasks done" in node.stderr

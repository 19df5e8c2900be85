"""Groups that the kernel kills as one: made, entered, removed, and swept up after a node that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew
from tests.waiting import wait_until
from zmqtasks.processes import cgroup, linux


def _possible() -> bool:
    group = cgroup.open_group("probe")
    if group is not None:
        group.close()
    return group is not None


needs_cgroup = pytest.mark.skipif(not _possible(), reason="no cgroup2 folder to write to")


@pytest.fixture
def group() -> Iterator[cgroup.NodeGroup]:
    made = cgroup.open_group(f"test-{os.getpid()}")
    assert made is not None
    yield made
    made.close()
    made.close()
    assert not made.path.exists()


def enter(group: cgroup.NodeGroup, code: str) -> subprocess.Popen[str]:
    """Start a process that enters the group, says so, and goes on with `code`."""
    start = f"from zmqtasks.processes import cgroup; cgroup.enter({str(group.path)!r}); print('in', flush=True)\n"
    command, pipe = [sys.executable, "-c", start + code], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


@needs_cgroup
def test_all_that_came_of_a_worker_is_killed_and_its_neighbour_is_not(group: cgroup.NodeGroup) -> None:
    forks = "import os, time\nfor _ in range(5):\n    if os.fork() == 0: os.setsid(); break\ntime.sleep(100)"
    with enter(group, forks) as one, enter(group, "input()") as other:
        procs = group.path / str(one.pid) / "cgroup.procs"
        wait_until(lambda: len(procs.read_text().split()) == 6, procs.read_text)
        group.kill(one.pid)
        assert one.wait(10) == -signal.SIGKILL
        assert other.poll() is None
        group.left(one.pid)
        wait_until(lambda: not (group.tidy() or (group.path / str(one.pid)).exists()))
        group.kill(one.pid)  # of one that is gone there is nothing to kill
        group.kill(other.pid)


@needs_cgroup
def test_one_that_forks_on_and_on_is_killed_at_once(group: cgroup.NodeGroup) -> None:
    """Bounded: it has 5,000 lives, some ten seconds, if nobody kills it."""
    hydra = "import os, time\nfor _ in range(5000):\n    if os.fork(): os._exit(0)\n    os.setsid(); time.sleep(0.001)"
    with enter(group, hydra) as process:
        process.wait(10)
        events = group.path / str(process.pid) / "cgroup.events"
        assert "populated 1" in events.read_text()
        group.kill(process.pid)
        wait_until(lambda: "populated 0" in events.read_text(), timeout_s=2)


@needs_cgroup
def test_an_abandoned_group_is_removed_by_the_next_node() -> None:
    code = (
        "from zmqtasks.processes import cgroup; import os, time\n"
        "group = cgroup.open_group('abandoned')\n"
        "if os.fork() == 0: os.close(1); os.close(group._lock); cgroup.enter(str(group.path)); time.sleep(100)\n"
        "while not [p for p in group.path.iterdir() if p.is_dir() and (p / 'cgroup.procs').read_text()]: pass\n"
        "print(group.path, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    left = Path(done.stdout.strip())
    assert left.name.startswith(cgroup.PREFIX)
    group = cgroup.open_group("next")
    assert group is not None
    group.close()
    wait_until(lambda: not left.exists())  # another node of this host may be at it


@needs_cgroup
def test_a_group_in_use_is_left_alone(group: cgroup.NodeGroup) -> None:
    other = cgroup.open_group("other")
    assert other is not None
    other.close()
    assert group.path.is_dir()


@needs_cgroup
def test_entering_costs_a_worker_little(group: cgroup.NodeGroup) -> None:
    code = (
        "import os, time\nfrom zmqtasks.processes import cgroup\ntimes = []\n"
        "for _ in range(20):\n"
        "    if (pid := os.fork()) == 0:\n"
        f"        begun = time.perf_counter(); cgroup.enter({str(group.path)!r})\n"
        "        os.write(1, f'{time.perf_counter() - begun}\\n'.encode()); os._exit(0)\n"
        "    os.waitpid(pid, 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    spent = sorted(map(float, done.stdout.split()))
    assert len(spent) == 20
    assert spent[10] < 0.1, "0.1 ms one after the other, 10 ms now and then"


def test_where_there_is_none_workers_do_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        monkeypatch.setattr(cgroup, "_own_folder", lambda folder=folder: folder)
        assert cgroup.open_group("x") is None
    cgroup.enter(str(tmp_path / "nowhere"))
    with Crew() as crew:
        crew.ready()
        assert crew.results(tasks.double, [4]) == {0: 8}


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux with pidfd")
@pytest.mark.parametrize("wanted", [True, False])
def test_the_switch(wanted: bool) -> None:
    with Crew(cgroups=wanted) as crew:
        pid = crew.ready()
        entered = cgroup.PREFIX in Path(f"/proc/{pid}/cgroup").read_text()
        assert entered == (wanted and _possible())

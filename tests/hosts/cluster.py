"""A cluster on hosts with a real sshd each, and what happens to it while a job runs.

    python -m tests.hosts.cluster --tasks 100000 [--tunnel]        the long form

One host is cut off and healed, one is killed, one is added, one is drained; then the cluster is ended, once in order
and once by the death of its keeper. The job is given from a Python program, and by the command. Every result has to be
right, and nothing may be left on any host.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hosts import netns, sshd
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SSH_PORT = 22
COMMAND_S = 1800.0
CHORE = """
import time

def square(number):
    time.sleep(0.004)
    return number * number

def hold(seconds):
    print("begun", flush=True)
    time.sleep(seconds)
"""
JOB = """
import sys
import zmqtasks
from chore import square

tasks = int(sys.argv[2])
sum_of_all = count = 0
with zmqtasks.Cluster(sys.argv[1]) as cluster, zmqtasks.Client(cluster) as client:
    for value in client.map(square, range(tasks), ordered=False):
        sum_of_all += value
        count += 1
        if count % (tasks // 100) == 0:
            print(count * 100 // tasks, flush=True)
assert count == tasks and sum_of_all == sum(n * n for n in range(tasks)), (count, sum_of_all)
print("right", flush=True)
"""


def missing() -> str:
    """Return why this cannot be played here, or nothing."""
    return netns.missing() or sshd.missing()


class Stage:
    """Four hosts, each with an sshd; the first is ours: commands and programs run there, and workers as well.

    Args:
        network: the hosts.
        servers: their sshd.
        folder: for what we write.
        tunnel: whether nothing but ssh passes between hosts.
    """

    def __init__(self, network: netns.Hosts, servers: sshd.Servers, folder: Path, *, tunnel: bool) -> None:
        self.network, self.servers, self.folder, self.tunnel = network, servers, folder, tunnel
        self.ours = network.hosts[0]
        self.mark = f"ZMQTASKS_STAGE={folder.name}"
        self.file = folder / "hosts.toml"
        source = folder / "source"
        source.mkdir()
        (source / "chore.py").write_text(CHORE)
        (source / "job.py").write_text(JOB)
        if not tunnel:
            self.expect("keygen", str(folder / "mesh.key"))
        for host in network.hosts:
            room = folder / f"h{host.number}"
            room.mkdir()
            environment = (f"TMPDIR={room}", f"PYTHONPATH={ROOT}", self.mark)
            servers.start(f"h{host.number}", host.address, SSH_PORT, host.command, environment)

    def list_hosts(self, *numbers: int) -> None:
        """Write the file of hosts."""
        names = json.dumps([f"h{number}" for number in numbers])
        self.file.write_text(
            f"hosts = {names}\npython = {sys.executable!r}\nworkers = 2\nsource = 'source'\ngrace = '2 s'\n"
            f"ssh_options = ['-F', {str(self.servers.config)!r}]\n" + ("" if self.tunnel else "key = 'mesh.key'\n")
        )

    def command(self, *args: str) -> list[str]:
        """Return a command of zmqtasks on our host."""
        return self.ours.command(sys.executable, "-m", "zmqtasks", *args)

    def environment(self) -> dict[str, str]:
        """Return the environment of what runs on our host."""
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of zmqtasks on our host to its end."""
        return subprocess.run(
            self.command(*args),
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder / "source",
            env=self.environment(),
            timeout=COMMAND_S,
            check=False,
        )

    def expect(self, *args: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command, and fail where it ends otherwise."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == code, f"{' '.join(args)}: {done.returncode}\n{done.stdout[-500:]}\n{done.stderr}"
        return done

    def left(self) -> list[str]:
        """Return what is on the hosts: processes, and files in their temporary folders."""
        files = [str(path) for host in self.network.hosts for path in (self.folder / f"h{host.number}").iterdir()]
        return [*map(str, sshd.programs_with(self.mark)), *files]

    def keeper(self) -> int:
        """Return the process that holds the cluster."""
        (published,) = (self.folder / "state").rglob("keeper.json")
        return int(json.loads(published.read_text())["pid"])

    def kill(self, number: int) -> None:
        """Kill the far program of a host."""
        room = f"TMPDIR={self.folder / f'h{number}'}"
        for pid, line in sshd.programs_with(room):
            if "cluster.far" in line and "bash" not in line:
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def stage(folder: Path, *, tunnel: bool) -> Iterator[Stage]:
    """Make the hosts, and remove all at the end."""
    with netns.Hosts(4) as network, sshd.Servers(folder / "ssh") as servers:
        if tunnel:
            network.wall(SSH_PORT)
        made = Stage(network, servers, folder, tunnel=tunnel)
        try:
            yield made
        finally:
            made.run("cluster", "down", str(made.file), "--now")
            for pid, _ in sshd.programs_with(made.mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def play(played: Stage, tasks: int, *, cut_s: float, say: Callable[[str], object] = lambda line: None) -> None:
    """Give a job from a program, during which hosts come and go; fail where something is not as it should be.

    Args:
        played: the hosts.
        tasks: of the job.
        cut_s: how long a host is cut off.
        say: told what happens.
    """
    hosts = str(played.file)
    _, one, two, _ = played.network.hosts
    played.list_hosts(0, 1, 2)
    say(played.expect("cluster", "up", hosts).stderr)
    with open(played.folder / "job.err", "w") as errors:
        job = subprocess.Popen(
            played.ours.command(sys.executable, "job.py", hosts, str(tasks)),
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=played.folder / "source",
            env=played.environment(),
            text=True,
        )
    try:
        assert job.stdout is not None
        steps = iter(_faults(played, one, two, cut_s))
        marks = [10, 30, 50, 70]
        for line in job.stdout:
            if marks and line.strip().isdigit() and int(line) >= marks[0]:
                marks.pop(0)
                say(f"{line.strip()} %: {next(steps)}")
        code = job.wait(COMMAND_S)
        assert (code, marks) == (0, []), f"{code}, {marks}: {(played.folder / 'job.err').read_text()[-3000:]}"
    finally:
        job.kill()
        job.wait()
        if job.stdout:
            job.stdout.close()
    say(played.expect("cluster", "down", hosts).stderr)
    wait_until(lambda: not played.left(), played.left)


def play_command(played: Stage, tasks: int, *, say: Callable[[str], object] = lambda line: None) -> None:
    """Give a job by the command, and another one during which the keeper dies.

    Args:
        played: the hosts.
        tasks: of the first job.
        say: told what happens.
    """
    hosts = str(played.file)
    played.list_hosts(0, 1, 3)
    say(played.expect("cluster", "up", hosts).stderr)
    numbers = "\n".join(map(str, range(tasks)))
    out = played.folder / "out.jsonl"
    say(played.expect("run", "chore:square", "--hosts", hosts, "-o", str(out), stdin=numbers).stderr)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted((row["task"], row["value"]) for row in rows) == [(n, n * n) for n in range(tasks)]
    with orphaned(played, hosts):
        os.kill(played.keeper(), signal.SIGKILL)
    wait_until(lambda: not played.left(), played.left, timeout_s=30.0)
    say("nothing is left where the keeper was killed, either")


@contextlib.contextmanager
def orphaned(played: Stage, hosts: str) -> Iterator[None]:
    """Have a command wait for a long task meanwhile: it has to end, and to say why."""
    program = subprocess.Popen(
        played.command("run", "chore:hold", "--show-output", "--hosts", hosts),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=played.folder / "source",
        env=played.environment(),
    )
    try:
        assert program.stdin is not None
        assert program.stderr is not None
        program.stdin.write(b"600\n")
        program.stdin.flush()
        assert any(b"begun" in line for line in iter(program.stderr.readline, b""))
        yield
        _, errors = program.communicate(timeout=60.0)
        assert program.returncode == 4, errors
        assert b"has died; start it with: zmqtasks cluster up" in errors, errors
    finally:
        program.kill()
        program.communicate()


def _faults(played: Stage, one: netns.Host, two: netns.Host, cut_s: float) -> Iterator[str]:
    hosts = str(played.file)
    played.network.part(played.ours, one)
    time.sleep(cut_s)  # the fault takes its time
    played.network.heal()
    yield "one host was cut off and healed"
    played.kill(two.number)
    yield "one was killed"
    played.list_hosts(0, 1, 2, 3)
    played.expect("cluster", "up", hosts)
    yield "one was added"
    played.expect("cluster", "down", hosts, "--host", "h1")
    yield "one was drained"


def main() -> None:
    """Play the long form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--cut", type=float, default=25.0, help="seconds; ssh gives up a silent host after 15")
    parser.add_argument("--tunnel", action="store_true")
    given = parser.parse_args()
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="zmqtasks-stage-") as folder,
        stage(Path(folder), tunnel=given.tunnel) as played,
    ):
        say = lambda line: print(line.rstrip(), flush=True)  # noqa: E731
        play(played, given.tasks, cut_s=given.cut, say=say)
        play_command(played, given.tasks, say=say)
    print(f"every result is right, nothing is left: {2 * given.tasks:,} tasks in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()

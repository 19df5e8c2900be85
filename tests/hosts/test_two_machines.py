"""The section "Two machines in five minutes" of the README, followed word by word on two hosts with a home each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import cluster, netns, sshd
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
HOME = Path("/root")
FOLLOW_S = 50.0


def section() -> list[tuple[str, str]]:
    """Return the blocks of the section, with the languages they are in."""
    text = (ROOT / "README.md").read_text()
    return re.findall(
        r"```(\w+)\n(.*?)```", text.split("\n## Two machines in five minutes\n")[1].split("\n## ")[0], re.S
    )


def at_home(folder: Path, *command: str) -> list[str]:
    """Return what runs a command with a home of its own: what it finds there is ours, what it writes is in `folder`."""
    layers = f"lowerdir={HOME},upperdir={folder}/home,workdir={folder}/rest"
    return ["unshare", "-m", "sh", "-c", f'mount -t overlay overlay -o {layers} {HOME} && exec "$@"', "sh", *command]


def home(folder: Path) -> Path:
    """Make such a home."""
    for name in ("home", "rest"):
        (folder / name).mkdir(parents=True)
    return folder / "home"


def test_the_readme_can_be_followed_word_by_word() -> None:
    if reason := cluster.missing():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="zmqtasks-two-") as name,
        netns.Hosts(2) as network,
        sshd.Servers(Path(name) / "ssh") as servers,
    ):
        folder, (ours, other) = Path(name), network.hosts
        ours_home, other_home = home(folder / "one"), home(folder / "two")
        if (probe := subprocess.run(at_home(folder / "one", "true"), capture_output=True, text=True)).returncode:
            pytest.skip(f"no overlay can be mounted here: {probe.stderr.strip()}")
        mark = f"ZMQTASKS_STAGE={folder.name}"
        (other_home / "work").symlink_to(sys.prefix)
        (room := folder / "tmp").mkdir()

        def on_other(*command: str) -> list[str]:
            return other.command(*at_home(folder / "two", *command))

        servers.start("node2", other.address, 22, on_other, (mark, f"TMPDIR={room}"))
        (ours_home / ".ssh").mkdir()
        (ours_home / ".ssh/config").write_text(servers.config.read_text())
        follow(folder, lambda *command: ours.command(*at_home(folder / "one", *command)))

        def left() -> list[object]:
            return [*sshd.programs_with(mark), *room.iterdir()]

        wait_until(lambda: not left(), left)


def follow(folder: Path, on_ours: Callable[..., list[str]]) -> None:
    """Do what the section says."""
    here = folder / "project"
    here.mkdir()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines: list[str] = []
    for language, block in section():
        if language == "console":
            lines += [line.removeprefix("$ ") for line in block.splitlines()]
        else:
            file = re.match(r"# (\S+)\n", block)
            assert file is not None, block
            (here / file[1]).write_text(block)
    done = subprocess.run(
        on_ours("bash", "-ec", "\n".join(lines)),
        capture_output=True,
        text=True,
        cwd=here,
        env=environment,
        timeout=FOLLOW_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.startswith("12480\n"), done.stdout
    assert re.search(r"node2 +up", done.stdout), done.stdout

"""Private folders: locked while their owner lives, removed by whoever finds them abandoned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until
from zmqtasks.processes.folder import PrivateFolder, remove_if_abandoned

HOLDER = "from zmqtasks.processes.folder import PrivateFolder; f = PrivateFolder(); print(f.path, flush=True); input()"


def test_it_is_private_and_goes_with_its_owner(temporary: Path) -> None:
    folder = PrivateFolder()
    assert folder.path.parent == temporary
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "socket").touch()
    assert not remove_if_abandoned(folder.path)
    folder.close()
    folder.close()
    assert os.listdir(temporary) == []
    assert remove_if_abandoned(folder.path)


def test_what_a_killed_process_left_is_swept(temporary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        ours = PrivateFolder()
        assert theirs.is_dir()
        process.kill()
    other = temporary / "zmqtasks-of-somebody-else"
    other.mkdir()
    PrivateFolder().close()
    wait_until(lambda: not theirs.exists(), lambda: os.listdir(temporary))
    assert ours.path.exists()
    assert other.exists()
    ours.close()


CHURN = """
from zmqtasks.processes.folder import PrivateFolder
for _ in range(200):
    folder = PrivateFolder()
    (folder.path / "socket").touch()
    folder.close()
"""


def test_those_who_sweep_never_take_a_folder_from_its_owner(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    churners = [
        subprocess.Popen([sys.executable, "-c", CHURN], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=50)[1] for process in churners]
    assert [process.returncode for process in churners] == [0, 0, 0], told
    assert os.listdir(temporary) == []

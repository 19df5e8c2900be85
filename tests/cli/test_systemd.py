"""`worker --systemd`: systemd itself accepts the unit, and reads the command line that was given."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import run
from zmqtasks.cli.systemd import quoted


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    given = ("worker", "--bind", "127.0.0.1:0", "--drain-timeout", "30 s", "--preload", "json", "--systemd")
    done = run(tmp_path, *given)
    assert (done.returncode, done.stderr) == (0, "")
    start = f'ExecStart={sys.executable} -m zmqtasks worker --bind 127.0.0.1:0 --drain-timeout "30 s" --preload json\n'
    assert start in done.stdout
    assert f"WorkingDirectory={tmp_path}\n" in done.stdout
    assert "TimeoutStopSec=60s\n" in done.stdout
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: only the text of the unit was looked at")
    (tmp_path / "zmqtasks.service").write_text(done.stdout)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "zmqtasks.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_a_slip_is_told_and_no_unit_is_printed(tmp_path: Path) -> None:
    done = run(tmp_path, "worker", "--bind", "10.0.0.7:7700", "--systemd")
    assert done.returncode == 2
    assert "key" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("word", "shown"),
    [("plain", "plain"), ("30 s", '"30 s"'), ('a"b', '"a\\"b"'), ("50%", "50%%"), ("$HOME", "$$HOME"), ("", '""')],
)
def test_nothing_in_a_word_stands_for_something_else(word: str, shown: str) -> None:
    assert quoted(word) == shown

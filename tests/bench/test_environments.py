"""What `make bench-peers` decides before it installs anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import environments, peers
from bench.peers import KNOWN


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environments, "NICENESS", 0)
    return tmp_path


def test_what_is_there_is_left_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = KNOWN["loky"]
    known.environment.mkdir()
    (known.environment / ".installed").write_text("\n".join((*known.requires, *environments.COMMON)))
    assert environments.main(["loky"]) == 0
    assert capsys.readouterr().out == "bench: loky: is there\n"


def test_one_that_cannot_be_installed_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nowhere = KNOWN["loky"]._replace(requires=(str(folder / "no-such-package"),))
    assert not environments.make(nowhere)
    assert "bench: loky: cannot be installed, and will be skipped" in capfd.readouterr().err
    assert nowhere.python() is None


def test_unknown_peers_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert environments.main(["nobody"]) == 2
    assert "bench: there are pebble_pool, loky" in capsys.readouterr().err

"""The memory that workers and supervisor share."""

from __future__ import annotations

import os

import pytest

from zmqtasks.processes.progress import (
    ATTEMPT,
    CHUNK,
    INDEX,
    PHASE,
    STARTED,
    Progress,
    ProgressTable,
    WorkPhase,
    slot_for_writing,
)


def test_each_slot_is_its_own() -> None:
    table = ProgressTable(3)
    slot = slot_for_writing(table.fd, 1)
    slot[CHUNK], slot[ATTEMPT], slot[INDEX], slot[PHASE], slot[STARTED] = 1, 2**63, 3, 2, 5
    assert table.read(1) == Progress(1, 2**63, 3, WorkPhase.RUNNING, 5)
    assert table.read(0) == table.read(2) == Progress(0, 0, 0, WorkPhase.IDLE, 0)
    slot[PHASE] = 99
    assert table.read(1).phase is WorkPhase.RUNNING
    table.clear(1)
    assert table.read(1) == table.read(0)
    table.close()
    table.close()


def test_without_memfd_nothing_is_left_in_the_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = ProgressTable(1)
    slot_for_writing(table.fd, 0)[INDEX] = 9
    assert table.read(0).index == 9
    assert os.listdir(str(tmp_path)) == []
    table.close()

"""The memory that workers and supervisor share."""

from __future__ import annotations

import os

import pytest

from zmqtasks.processes.progress import (
    ASKED_CHUNK,
    ASKED_INDEX,
    ASKED_WHY,
    ATTEMPT,
    CHUNK,
    DONE,
    INDEX,
    OF_CHUNK,
    OF_INDEX,
    PHASE,
    RENEWED,
    STALLED,
    STARTED,
    TOTAL,
    Progress,
    ProgressTable,
    WorkPhase,
    slot_of,
    slots_for_writing,
)


def test_each_slot_is_its_own() -> None:
    table = ProgressTable(3)
    slot = slot_of(slots_for_writing(table.fd), 1)
    slot[CHUNK], slot[ATTEMPT], slot[INDEX], slot[PHASE], slot[STARTED] = 1, 2**63, 3, 2, 5
    assert table.read(1) == Progress(1, 2**63, 3, WorkPhase.RUNNING, 5)
    assert table.read(0) == table.read(2) == Progress(0, 0, 0, WorkPhase.IDLE, 0)
    slot[PHASE] = 99
    assert table.read(1).phase is WorkPhase.RUNNING
    table.clear(1)
    assert table.read(1) == table.read(0)
    table.close()
    table.close()


def test_what_is_told_of_another_task_is_not_of_this_one() -> None:
    table = ProgressTable(2)
    slot = slot_of(slots_for_writing(table.fd), 1)
    slot[CHUNK], slot[INDEX], slot[PHASE] = 4, 10, 2
    slot[DONE], slot[TOTAL], slot[RENEWED] = 3, 8, 99
    slot[OF_CHUNK], slot[OF_INDEX] = 4, 10
    assert table.read(1) == Progress(4, 0, 10, WorkPhase.RUNNING, 0, 3, 8, 99)
    slot[INDEX] = 11
    assert table.read(1) == Progress(4, 0, 11, WorkPhase.RUNNING, 0)
    slot[CHUNK], slot[INDEX] = 5, 10
    assert table.read(1) == Progress(5, 0, 10, WorkPhase.RUNNING, 0)
    table.close()


def test_who_is_asked_finds_it_in_its_slot() -> None:
    table = ProgressTable(2)
    slot = slot_of(slots_for_writing(table.fd), 1)
    table.ask(1, 4, 10, STALLED)
    assert (slot[ASKED_CHUNK], slot[ASKED_INDEX], slot[ASKED_WHY]) == (4, 10, STALLED)
    table.close()


def test_without_memfd_nothing_is_left_in_the_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = ProgressTable(1)
    slot_of(slots_for_writing(table.fd), 0)[INDEX] = 9
    assert table.read(0).index == 9
    assert os.listdir(str(tmp_path)) == []
    table.close()

"""Seeds: files that change, and names with several addresses, asked for again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.waiting import wait_until_async
from zmqtasks import seeds
from zmqtasks.errors import BindError
from zmqtasks.seeds import Seeds, expand, is_fixed


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "AGAIN_S", 0.01)


def listening(*words: str, names: dict[str, list[str]] | None = None) -> tuple[Seeds, dict[str, Sequence[str]]]:
    said: dict[str, Sequence[str]] = {}

    async def resolve(name: str) -> list[str]:
        assert names is not None
        if name not in names:
            raise OSError(f"no such name: {name}")
        return names[name]

    return Seeds(words, said.__setitem__, lambda: 0.5, resolve), said


def run(asking: Seeds, story: Callable[[], object]) -> None:
    async def play() -> None:
        asking.open()
        try:
            for step in story():  # type: ignore[attr-defined]
                await wait_until_async(step, timeout_s=5.0)
        finally:
            await asking.close()

    asyncio.run(play())


def test_which_seeds_stay_as_they_are() -> None:
    assert all(map(is_fixed, ("tcp://10.0.0.7:7700", "tcp://[fe80::1%eth0]:7700", "tcp://localhost:7700", "unix:///a")))
    assert not any(map(is_fixed, ("tcp://nodes.lan:7700", "file:nodes.txt")))


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "nodes.txt"
    file.write_text("10.0.0.7:7700  # the first\n\ntcp://10.0.0.8:7700\n")
    seed = f"file:{file}"
    asking, said = listening("tcp://10.0.0.1:7700", seed)

    def story() -> object:
        yield lambda: said.get(seed) == ("tcp://10.0.0.7:7700", "tcp://10.0.0.8:7700")
        assert said["tcp://10.0.0.1:7700"] == ("tcp://10.0.0.1:7700",)
        file.write_text("10.0.0.8:7700\n")
        yield lambda: said.get(seed) == ("tcp://10.0.0.8:7700",)

    run(asking, story)


def test_what_a_file_said_last_holds_while_it_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "nodes.txt"
    file.write_text("10.0.0.7:7700\n")
    seed = f"file:{file}"
    asking, said = listening(seed)

    def story() -> object:
        yield lambda: seed in said
        file.unlink()
        yield lambda: "No such file" in caplog.text
        assert said[seed] == ("tcp://10.0.0.7:7700",)

    run(asking, story)


def test_a_name_leads_to_each_of_its_addresses_and_vanished_ones_are_dropped() -> None:
    names = {"nodes.lan": ["10.0.0.8", "10.0.0.7", "fd00::7"]}
    seed = "tcp://nodes.lan:7700"
    asking, said = listening(seed, names=names)

    def story() -> object:
        yield lambda: said.get(seed) == ("tcp://10.0.0.7:7700", "tcp://10.0.0.8:7700", "tcp://[fd00::7]:7700")
        names["nodes.lan"] = ["10.0.0.9"]
        yield lambda: said.get(seed) == ("tcp://10.0.0.9:7700",)
        del names["nodes.lan"]
        yield lambda: True
        assert said[seed] == ("tcp://10.0.0.9:7700",)

    run(asking, story)


def test_the_system_is_asked_for_names() -> None:
    assert set(asyncio.run(seeds._resolve("localhost"))) & {"127.0.0.1", "::1"}  # type: ignore[arg-type]


def test_a_line_that_is_no_address_is_told(tmp_path: Path) -> None:
    file = tmp_path / "nodes.txt"
    file.write_text("# all nodes\nnode 7\n")
    with pytest.raises(BindError, match=r"nodes.txt, line 2: 'node 7' is not an address"):
        expand([f"file:{file}"])
    with pytest.raises(BindError, match=r"cannot read nothing.txt: No such file"):
        expand(["file:nothing.txt"])
    assert expand(["tcp://nodes.lan:7700"]) == ("tcp://nodes.lan:7700",)

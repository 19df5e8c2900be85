"""A folder of keys: who is in it, in which roles, and what changes while it is in use."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from zmqtasks.errors import KeyFileError, NotAuthorised
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.keys import AUTHORIZED, new_pair, read_pair, write_pair


class Folder:
    """A peer's own key, and the folder beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path / AUTHORIZED
        self.path.mkdir()
        self.own = str(path / "own.key")
        write_pair(self.own, new_pair(), ["submit"])

    def add(self, name: str, *roles: str) -> str:
        pair = new_pair()
        public = write_pair(str(self.path / f"{name}.key"), pair, roles)
        assert public == str(self.path / f"{name}.pub")
        return pair.public.hex()

    def keyring(self) -> Keyring:
        return Keyring(*read_pair(self.own))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_who_is_in_the_folder_is_known_by_name_and_roles(folder: Folder) -> None:
    key = folder.add("seven", "node", "sink")
    keyring = folder.keyring()
    member = keyring.member(key)
    assert member is not None
    assert (member.name, sorted(member.roles)) == ("seven", ["node", "sink"])
    assert keyring.member(new_pair().public.hex()) is None
    assert keyring.member(keyring.pair.public.hex()) is None
    assert keyring.own_key == keyring.pair.public.hex()


def test_keys_come_and_go_while_the_folder_is_in_use(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    keyring = folder.keyring()
    assert caplog.messages == [f"no key is known in {folder.path}: nobody can connect"]
    one, other = folder.add("one", "node"), folder.add("other", "submit", "admin")
    assert keyring.reload() == frozenset()
    assert keyring.member(one)
    assert keyring.reload() == frozenset()
    other_file = folder.path / "other.pub"
    other_file.write_text(other_file.read_text().replace('"submit", "admin"', '"admin"'))
    assert keyring.reload() == {other}
    (folder.path / "one.pub").unlink()
    assert keyring.reload() == {one}
    other_file.unlink()
    folder.path.joinpath("one.key").unlink()
    assert keyring.reload() == {other}
    assert keyring.member(other) is None


@pytest.mark.parametrize(
    "text", ["", "public = 7", 'public = "PUBLIC"', 'public = "PUBLIC"\nroles = ["king"]', 'roles = ["node"]', "\x00"]
)
def test_a_file_that_is_no_key_lets_nobody_in(folder: Folder, caplog: pytest.LogCaptureFixture, text: str) -> None:
    caplog.set_level(logging.ERROR)
    key = folder.add("good", "node")
    stranger = new_pair().public.hex()
    (folder.path / "bad.pub").write_text(text.replace("PUBLIC", stranger))
    keyring = folder.keyring()
    assert keyring.member(key)
    assert keyring.member(stranger) is None
    assert [message.startswith(f"the key {folder.path}/bad.pub is left out") for message in caplog.messages] == [True]


def test_whose_key_is_to_be_proved_is_said_by_name_or_clear(folder: Folder) -> None:
    seven, ada = folder.add("seven", "node"), folder.add("ada", "submit")
    keyring = folder.keyring()
    assert keyring.complete("tcp://10.0.0.7:1") == f"tcp://{seven}@10.0.0.7:1"
    assert keyring.server(keyring.complete("tcp://seven@10.0.0.7:1")) == bytes.fromhex(seven)
    assert keyring.complete("unix:///x") == "unix:///x"
    assert keyring.complete(f"tcp://{ada}@10.0.0.7:1") == f"tcp://{ada}@10.0.0.7:1"
    folder.add("store", "sink")
    keyring.reload()
    for endpoint in ("tcp://10.0.0.7:1", "tcp://nobody@10.0.0.7:1"):
        with pytest.raises(NotAuthorised, match=r"Write NAME@HOST:PORT; .* are: seven, store"):
            keyring.complete(endpoint)
    for endpoint in (f"tcp://{'ab' * 32}@10.0.0.7:1", "tcp://10.0.0.7:1"):
        assert keyring.server(endpoint) is None


def test_a_shared_key_knows_nobody_else() -> None:
    keyring = Keyring(new_pair())
    own = keyring.pair.public.hex()
    assert keyring.member(own)
    assert (keyring.own_key, keyring.complete("tcp://h:1")) == ("", "tcp://h:1")
    assert keyring.server("tcp://h:1") == keyring.pair.public
    assert keyring.reload() == frozenset()


def test_a_folder_that_is_no_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    write_pair(str(path), new_pair(), ["node"])
    path.write_text(path.read_text().replace(f'"{AUTHORIZED}"', "7"))
    with pytest.raises(KeyFileError, match="is not a key"):
        read_pair(str(path))

"""The file of a key: who can read it, and what is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zmqtasks.errors import KeyFileError
from zmqtasks.transport.keys import new_pair, read_pair, write_pair


def test_a_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path, pair = str(tmp_path / "mesh.key"), new_pair()
    mask = os.umask(0)
    try:
        write_pair(path, pair)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_pair(path) == (pair, None)
    assert pair.secret.hex() not in repr(pair)


def test_a_key_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path, pair = str(tmp_path / "mesh.key"), new_pair()
    write_pair(path, pair)
    with pytest.raises(KeyFileError, match="exists already"):
        write_pair(path, new_pair())
    assert read_pair(path) == (pair, None)
    with pytest.raises(KeyFileError, match="No such file"):
        write_pair(str(tmp_path / "no" / "mesh.key"), pair)


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    write_pair(str(path), new_pair())
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        read_pair(str(path))
    path.chmod(0o440)  # as a secret is mounted for the group of a container
    read_pair(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a key as zmqtasks keygen writes it"),
        ("\x00\x01", "is not a key"),
        ('public = "PUBLIC"', "is not a key"),
        ('public = "PUBLIC"\nsecret = "00"', "is not a key"),
        ('public = "PUBLIC"\nsecret = "no digits at all"', "is not a key"),
        ('public = "PUBLIC"\nsecret = 7', "is not a key"),
        ('public = "PUBLIC"\nsecret = "OTHER"', "do not belong together"),
        (None, "No such file or directory; make one with: zmqtasks keygen"),
    ],
)
def test_what_is_no_key_is_told(tmp_path: Path, text: str | None, expected: str) -> None:
    path = tmp_path / "mesh.key"
    if text is not None:
        path.write_text(text.replace("PUBLIC", new_pair().public.hex()).replace("OTHER", new_pair().secret.hex()))
        path.chmod(0o600)
    with pytest.raises(KeyFileError, match=expected):
        read_pair(str(path))

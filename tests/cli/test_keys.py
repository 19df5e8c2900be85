"""A mesh with a key, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import program, run
from tests.cli.test_run import lines, numbers

ANY = "127.0.0.1:0"


def test_who_has_the_key_is_a_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mesh.key", "other.key"):
        done = run(tmp_path, "keygen", name)
        assert (done.returncode, done.stderr.startswith(f"zmqtasks: wrote {name}")) == (0, True)
    again = run(tmp_path, "keygen", "mesh.key")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    key = ("--key", "mesh.key")
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1", *key) as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "x.jsonl", *key) as sink,
    ):
        where = ("--node", node.address, "--sink", sink.address)
        done = run(tmp_path, "ventilator", "chores:double", *where, *key, stdin=numbers(100))
        assert (done.returncode, done.stderr) == (0, "")
        assert {n: e["value"] for n, e in lines((tmp_path / "x.jsonl").read_text()).items()} == {
            n: 2 * n for n in range(100)
        }
        monkeypatch.setenv("ZMQTASKS_KEY", str(tmp_path / "mesh.key"))
        assert run(tmp_path, "status", "--node", node.address).returncode == 0
        with zmqtasks.Client(node.address) as client:
            assert client.submit(pow, 2, 10).result() == 1024
        for other in ("other.key", ""):
            refused = run(tmp_path, "status", "--node", node.address, "--timeout", "1 s", "--key", other)
            told = re.search("did not let us in: (whoever is there asks for a key|one side has a key)", refused.stderr)
            assert (refused.returncode, bool(told)) == (4, True), refused
            with pytest.raises(zmqtasks.NotAuthorised, match="all members of a mesh need the same key"):
                zmqtasks.Client(node.address, key=other and tmp_path / other, connect_timeout=1.0)
        with pytest.raises(zmqtasks.KeyFileError, match="No such file"):
            zmqtasks.Client(node.address, key=tmp_path / "absent.key")

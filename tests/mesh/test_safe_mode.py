"""A node that calls registered functions of some modules only, or opens no pickle, and refuses all else alone."""

from __future__ import annotations

import base64
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.cli.programs import program
from tests.mesh import guarded
from tests.waiting import wait_until
from zmqtasks.errors import RemoteProtocolError
from zmqtasks.processes.allowed import Allowed
from zmqtasks.wire import payload

ONLY = Allowed(("tests.mesh.guarded",))


@pytest.fixture(scope="module")
def client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, only=("tests.mesh.guarded",), no_pickle=True) as client:
        client.options(serializer="msgpack").submit(guarded.double, 1).result(20)  # now all its connections stand
        yield client


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return guarded.touch, (str(self.path),)


def test_who_was_refused_and_why_is_in_the_log_once(tmp_path: Path) -> None:
    args = ("--bind", "127.0.0.1:0", "--workers", "2", "--only", "json", "--no-pickle")
    with program(tmp_path, "worker", "worker", *args) as node:
        with zmqtasks.Client(node.address) as client:
            safe = client.options(serializer="msgpack")
            calls = [submit(guarded.double, n) for n in range(20) for submit in (client.submit, safe.submit)]
            reasons = {str(call.exception(20)) for call in calls}
            wait_until(lambda: node.stderr.count("refused ") >= 2, lambda: node.stderr)
            peer = client._registry.embedded.peer.id
        refused = [line.partition("refused ")[2] for line in node.stderr.splitlines() if "refused " in line]
    assert len(reasons) == 2
    assert sorted(refused) == sorted(f"{peer}: {reason}" for reason in reasons)


def test_what_is_refused_is_refused_alone_and_nothing_of_it_runs(client: zmqtasks.Client, tmp_path: Path) -> None:
    safe, canary = client.options(serializer="msgpack"), tmp_path / "touched"
    good = safe.map(guarded.double, range(1000))
    refused = [
        client.submit(guarded.double, 1),
        client.submit(guarded.double, Bomb(canary)),
        client.submit(lambda: canary.touch()),
        client.submit(guarded.double, client.put(Bomb(canary))),
    ]
    for future in refused:
        error = future.exception(20)
        assert "this node opens no pickle (--no-pickle)" in str(error)
        assert isinstance(error, zmqtasks.NotAuthorised)
    assert list(good) == [2 * n for n in range(1000)]
    assert safe.submit(guarded.double, 4).result(20) == 8
    assert client.submit(guarded.Doubler, 4).result(20) == 8
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("os:system", "not of os"),
        ("tests.mesh.functions:pid", "not of tests.mesh.functions"),
        ("tests.mesh.guardedly:double", "not of tests.mesh.guardedly"),
        ("tests.mesh:guarded.double", "not of tests.mesh"),
        ("tests.mesh.guarded:os.system", "not of posix"),
        ("tests.mesh.guarded:touch", "tests.mesh.guarded.touch is not a @task"),
        ("tests.mesh.guarded:Tools.touch", "is not a @task"),
        ("tests.mesh.guarded:Tools", "is not a @task"),
        ("", "not a function that travels by value"),
    ],
)
def test_a_function_that_is_not_registered_here(name: str, why: str) -> None:
    for serializer in ("pickle", "msgpack"):
        with pytest.raises((zmqtasks.NotAuthorised, zmqtasks.SerializationError), match=f"{why}|is not a @task"):
            ONLY.open(payload.pack_name(name), serializer)


def test_a_function_by_value_is_not_opened(tmp_path: Path) -> None:
    canary = tmp_path / "touched"
    with pytest.raises(zmqtasks.NotAuthorised, match="a function that travels by value"):
        ONLY.open(payload.pack_function(lambda: Bomb(canary)), "pickle")
    with pytest.raises(zmqtasks.NotAuthorised, match="opens no pickle"):
        Allowed(pickle=False).open(payload.pack_function(guarded.double), "pickle")
    assert not canary.exists()


def test_what_is_registered_is_opened() -> None:
    packed = payload.pack_function(guarded.double)
    for rules in (Allowed(), ONLY, Allowed(("tests",), pickle=False), Allowed(pickle=False)):
        assert rules.open(packed, "msgpack") is guarded.double
    assert ONLY.open(packed, "pickle") is guarded.double


def test_which_failures_are_worth_a_retry_is_no_way_to_run_code(tmp_path: Path) -> None:
    canary = tmp_path / "touched"
    by_value = payload.pack_retry_on(lambda error: canary.touch())
    canary.unlink()  # made where a limit of time was asked about
    bomb = "TIMEOUT;=" + base64.b64encode(pickle.dumps(Bomb(canary))).decode()
    for rules, serializer in ((ONLY, "pickle"), (Allowed(pickle=False), "pickle"), (Allowed(pickle=False), "msgpack")):
        for text in (by_value, bomb):
            with pytest.raises((zmqtasks.NotAuthorised, RemoteProtocolError)):
                rules.open_judge(text, serializer)
    for name in ("os:system", "tests.mesh.guarded:touch", "tests.mesh.raisers:Odd", "antigravity:geohash"):
        with pytest.raises((zmqtasks.NotAuthorised, zmqtasks.SerializationError)):
            ONLY.open_judge(f";{name}", "msgpack")
    assert "antigravity" not in sys.modules
    assert not canary.exists()
    judge = ONLY.open_judge(";builtins:OSError,zmqtasks.errors:TaskTimeout,tests.mesh.guarded:is_odd", "msgpack")
    assert [judge(error) for error in (OSError(), zmqtasks.TaskTimeout(), ValueError("odd"), ValueError())] == [
        True,
        True,
        True,
        False,
    ]


def test_a_refused_job_has_no_say_in_its_retries(client: zmqtasks.Client, tmp_path: Path) -> None:
    canary = tmp_path / "touched"
    asked = client.options(retries=1, retry_on=lambda error: canary.write_text(str(os.getpid())))
    assert isinstance(asked.submit(guarded.double, 1).exception(20), zmqtasks.NotAuthorised)
    assert canary.read_text() == str(os.getpid()), "asked here only, about limits of time and memory"


def test_one_module_may_be_given_as_a_string() -> None:
    assert zmqtasks.NodeOptions(only="tests").only == ("tests",)

"""Whatever a task raises arrives as a readable error of that task alone, and the run goes on."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import run
from tests.mesh import raisers

THEMSELVES = {
    "slotted": (raisers.Slotted, "slots"),
    "slotted_alone": (raisers.SlottedAlone, "code 8"),
    "cycle": (ValueError, "first"),
    "stop_iteration": (StopIteration, "nothing to iterate"),
    "stop_async_iteration": (StopAsyncIteration, "nothing to iterate"),
    "nested_groups": (ExceptionGroup, "depth 49"),
    "nested_groups_with_a_lock": (ExceptionGroup, "depth 49"),
    "wide_group": (ExceptionGroup, "wide"),
    "wide_group_with_locks": (ExceptionGroup, "wide"),
    "long_chain": (ValueError, "link 999"),
    "odd_notes": (ValueError, "noted"),
    "notes_that_are_no_list": (ValueError, "noted"),
    "recursion": (RecursionError, "maximum recursion depth exceeded"),
    "repr_raises": (raisers.ReprRaises, "its repr raises"),
    "reduce_raises": (raisers.ReduceRaises, "its reduce raises"),
    "init_raises": (raisers.InitRaises, "the first one"),
    "out_of_memory": (MemoryError, ""),
    "warning": (UserWarning, "taken seriously"),
    "syntax_error": (SyntaxError, "invalid syntax"),
    "syntax_error_with_bytes": (SyntaxError, "bad"),
    "surrogates": (UnicodeEncodeError, "surrogates not allowed"),
    "decoding": (UnicodeDecodeError, "invalid start byte"),
}
"""What arrives as itself, and a part of its text."""
IN_WORDS = {
    "own_base": "OwnBase: the user's own",
    "keyboard_interrupt": "KeyboardInterrupt: not from a keyboard",
    "generator_exit": "GeneratorExit: no generator",
    "base_group": "of all kinds (3 sub-exceptions)",
    "fifty_megabytes": "xxx",
    "fifty_megabytes_beside": "small text",
    "unfriendly": "leave me alone",
}
"""What cannot, or may not, be raised in the caller: told by a RemoteError."""
CRASHES = {
    "exit_with_a_string": "sys.exit('\\\\udc80 gone')",
    "exit_with_a_huge_code": f"sys.exit({2**70})",
    "exit_with_true": "sys.exit(1)",
    "exit_with_an_object": "sys.exit(<ReprRaises>)",
    "reduce_exits": "exited with code 9",
}
UNSPEAKABLE = {"str_raises", "str_is_no_string", "repr_of_an_argument_raises"}
"""Arrive as themselves, and raise again when they are shown."""


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(raisers.raise_this, "").result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def error_of(client: zmqtasks.Client, name: str) -> BaseException:
    """Return what arrives, after its neighbours have ended well."""
    before, bad, after = (client.submit(raisers.raise_this, each) for each in ("", name, ""))
    error = bad.exception(30)
    assert (before.result(30), after.result(30)) == ("", "")
    assert error is not None
    return error


@pytest.mark.parametrize("name", THEMSELVES)
def test_it_arrives_as_itself(client: zmqtasks.Client, name: str) -> None:
    cls, text = THEMSELVES[name]
    error = error_of(client, name)
    assert type(error) is cls
    assert text in str(error)
    assert "in raise_this" in str(error.__cause__)


@pytest.mark.parametrize("name", IN_WORDS)
def test_it_arrives_in_words(client: zmqtasks.Client, name: str) -> None:
    error = error_of(client, name)
    assert isinstance(error, zmqtasks.RemoteError)
    assert IN_WORDS[name] in str(error)
    assert "in raise_this" in str(error.__cause__)
    assert len(str(error)) < 2 * 2**20


@pytest.mark.parametrize("name", CRASHES)
def test_it_arrives_as_an_end_of_the_worker(client: zmqtasks.Client, name: str) -> None:
    error = error_of(client, name)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert CRASHES[name] in str(error)


@pytest.mark.parametrize("name", sorted(UNSPEAKABLE))
def test_it_arrives_even_if_it_cannot_be_shown(client: zmqtasks.Client, name: str) -> None:
    error = error_of(client, name)
    assert "in raise_this" in str(error.__cause__)


def test_a_class_that_lies_about_itself(client: zmqtasks.Client) -> None:
    error = error_of(client, "lying_class")
    assert "in raise_this" in str(error.__cause__)


def test_a_class_that_the_task_made(client: zmqtasks.Client) -> None:
    error = error_of(client, "class_of_the_task")
    assert type(error).__name__ == "Here"
    assert str(error) == "made on the spot"


def test_a_class_with_an_odd_name(client: zmqtasks.Client) -> None:
    assert "odd" in str(error_of(client, "odd_name").__cause__)


def test_slots_are_kept(client: zmqtasks.Client) -> None:
    slotted, alone = error_of(client, "slotted"), error_of(client, "slotted_alone")
    assert isinstance(slotted, raisers.Slotted)
    assert isinstance(alone, raisers.SlottedAlone)
    assert (slotted.code, alone.code, alone.args) == (7, 8, ("code 8",))


def test_the_members_of_groups_arrive(client: zmqtasks.Client) -> None:
    for name, kind in (("nested_groups", ValueError), ("nested_groups_with_a_lock", zmqtasks.RemoteError)):
        error, depth = error_of(client, name), 0
        while isinstance(error, ExceptionGroup):
            error, depth = error.exceptions[0], depth + 1
        assert (depth, type(error)) == (50, kind)
        assert "the core" in str(error)
    wide = error_of(client, "wide_group_with_locks")
    assert isinstance(wide, ExceptionGroup)
    assert len(wide.exceptions) == 10_000


@pytest.mark.parametrize("name", ["reduce_exits", "lying_class", "keyboard_interrupt", "fifty_megabytes"])
def test_neighbours_in_the_same_chunk_finish(client: zmqtasks.Client, name: str) -> None:
    futures = [client.submit(raisers.raise_in_the_middle, i, name, 70) for i in range(100)]
    failed = [i for i, future in enumerate(futures) if future.exception(30) is not None]
    assert failed == [70]


def test_map_tells_a_stop_iteration(client: zmqtasks.Client) -> None:
    results = client.map(raisers.raise_this, ["", "stop_iteration", ""])
    assert next(results) == ""
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        next(results)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_asyncio_hears_of_a_stop_iteration() -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=1) as client:
            with pytest.raises(RuntimeError, match="the task raised StopIteration") as caught:
                await asyncio.wait_for(client.submit(raisers.raise_this, "stop_iteration"), 30)
            assert isinstance(caught.value.__cause__, StopIteration)
            assert await client.submit(raisers.raise_this, "") == ""

    asyncio.run(main())


NAMES = sorted(raisers.RAISERS.keys() - {"str_never_ends", "reduce_never_ends"})


LINES = "".join(json.dumps(name) + "\n" for name in ["", *NAMES])


def check_reports(found: dict[str, tuple[str, str, str, str]]) -> None:
    """Check status, class, message and traceback of each."""
    assert found.keys() == {*NAMES, ""}
    assert found.pop("")[0] == "ok"
    for name, (status, kind, message, traceback) in found.items():
        assert status == ("crashed" if name == "reduce_exits" else "error"), name
        assert kind, name
        assert isinstance(message, str), name
        assert name == "reduce_exits" or "in raise_this" in traceback, (name, traceback)
    for name, (cls, text) in THEMSELVES.items():
        assert found[name][1].endswith(cls.__name__)
        assert text in found[name][2]
    assert found["own_base"][1].endswith("OwnBase")
    assert "its __str__ raised ZeroDivisionError" in found["str_raises"][2]


def test_the_command_writes_them_to_json_lines(temporary: Path) -> None:
    done = run(temporary, "run", "tests.mesh.raisers:raise_this", "-", "--workers", "2", stdin=LINES)
    assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    found = {}
    for record in records:
        told = record.get("error", {"kind": "ok"})
        parts = tuple(told.get(key, "") for key in ("kind", "type", "message", "traceback"))
        found[json.loads(record["input"])] = parts
    check_reports(found)


def test_the_command_writes_them_to_sqlite(temporary: Path) -> None:
    done = run(
        temporary, "run", "tests.mesh.raisers:raise_this", "-", "-o", "out.db", "--workers", "2",
        stdin=LINES,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    with sqlite3.connect(temporary / "out.db") as database:
        rows = database.execute("SELECT input, status, error_type, error, traceback FROM results").fetchall()
    database.close()
    check_reports({json.loads(text): tuple(rest) for text, *rest in rows})
